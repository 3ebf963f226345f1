package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/protocols/handshake"
	"github.com/hearthnet/hearth/protocols/keepalive"
)

// patience is how long things are waited for.
type patience struct {
	answer time.Duration // for an answer that is due
	end    time.Duration // for the end of the connection after a violation
	quiet  time.Duration // for something that must not come
	opens  time.Duration // for the node's initiators on a duplex connection
}

var patient = patience{answer: 10 * time.Second, end: 5 * time.Second, quiet: 1500 * time.Millisecond, opens: 5 * time.Second}

// node is the node under examination, and what the checks have found out about it in common.
type node struct {
	addr  string
	magic uint32
	slow  bool
	wait  patience

	table  fact[[]uint16]
	sample fact[sample]
	opened fact[map[uint16]bool]
	serial atomic.Uint64 // makes transactions and blocks different
}

func newNode(addr string, magic uint32, slow bool, wait patience) *node {
	n := &node{addr: addr, magic: magic, slow: slow, wait: wait}
	n.serial.Store(rand.Uint64() >> 1) // different from those of earlier examinations, too
	return n
}

// fact is something that is found out once, by whoever needs it first.
type fact[T any] struct {
	mu   sync.Mutex
	done bool
	v    T
	err  error
}

func (f *fact[T]) get(find func() (T, error)) (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.done {
		f.v, f.err = find()
		f.done = true
	}
	return f.v, f.err
}

// reachable fails when nobody listens at all.
func (n *node) reachable(ctx context.Context) error {
	c, err := n.dial(ctx)
	if err != nil {
		return err
	}
	return c.Close()
}

// recovered does a fresh handshake.
func (n *node) recovered(ctx context.Context) error {
	l, err := n.connect(ctx, handshake.Data{InitiatorOnly: true})
	if err != nil {
		return err
	}
	l.close()
	return nil
}

// dial opens a bearer that ends with ctx.
func (n *node) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: n.wait.answer}
	c, err := d.DialContext(ctx, "tcp", n.addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	return &bearer{c, stop}, nil
}

// bearer is a connection whose context forgets it when it is closed.
type bearer struct {
	net.Conn
	stop func() bool
}

// Close closes the connection.
func (b *bearer) Close() error {
	b.stop()
	return b.Conn.Close()
}

// proposal is what is offered under each version.
func (n *node) proposal(d handshake.Data, versions ...uint16) handshake.Proposal {
	d.Magic = n.magic
	if versions == nil {
		versions = []uint16{14, 15}
	}
	return handshake.Proposal{Versions: versions, Data: d}
}

// connect does a handshake, by which the node must accept, and starts to read.
func (n *node) connect(ctx context.Context, d handshake.Data) (*link, error) {
	p := n.proposal(d)
	s, err := n.shake(ctx, p.Append(nil))
	if err != nil {
		return nil, err
	}
	res, err := handshake.Confirm(p, s.reply)
	if err == nil && res.Supported != nil {
		err = fmt.Errorf("the node answers a proposal as if it were a query")
	}
	if err != nil {
		s.conn.Close()
		return nil, err
	}
	return newLink(s.conn, n.wait, res.Negotiated), nil
}

// initiate connects for checks of responders: the node may not open initiators. Keep-alive runs, so that the node does not take the
// connection for an idle one, which it may close after 5 s.
func (n *node) initiate(ctx context.Context) (*link, error) {
	return n.initiateWith(ctx, handshake.Data{InitiatorOnly: true, PeerSharing: true})
}

func (n *node) initiateWith(ctx context.Context, d handshake.Data) (*link, error) {
	l, err := n.connect(ctx, d)
	if err != nil {
		return nil, err
	}
	l.send(keepalive.Number, keepalive.AppendKeepAlive(nil, 0x5eed)) // whether the answer is right is for other checks
	return l, nil
}

// beat sends one keep-alive request and takes the answer.
func (l *link) beat(cookie uint16) error {
	l.send(keepalive.Number, keepalive.AppendKeepAlive(nil, cookie))
	msg, err := l.recv(keepalive.Number)
	if err != nil {
		return fmt.Errorf("keep-alive: %w", err)
	}
	got, err := keepalive.DecodeResponse(msg)
	if err == nil && got != cookie {
		err = fmt.Errorf("keep-alive: sent cookie %d, got %d", cookie, got)
	}
	return err
}

// versions finds out which versions the node supports by offering each by itself, ascending.
func (n *node) versions(ctx context.Context) ([]uint16, error) {
	return n.table.get(func() (table []uint16, err error) {
		for _, v := range handshake.NodeToNodeVersions() {
			s, failed := n.shake(ctx, n.proposal(handshake.Data{InitiatorOnly: true}, v).Append(nil))
			if failed != nil {
				err = failed
				continue
			}
			s.conn.Close()
			m, failed := handshake.Decode(handshake.StateConfirm, s.reply, false)
			if failed != nil {
				err = failed
			}
			if a, ok := m.(handshake.MsgAccept); ok && a.Version == v {
				table = append(table, v)
			}
		}
		switch {
		case len(table) > 0:
			return table, nil
		case err == nil:
			err = fmt.Errorf("the node supports none of %v", handshake.NodeToNodeVersions())
		}
		return nil, err
	})
}

// greatest returns the greatest version that the node supports and that has four fields.
func (n *node) greatest(ctx context.Context) (uint16, error) {
	table, err := n.versions(ctx)
	if err != nil {
		return 0, err
	}
	for _, v := range slices.Backward(table) {
		if v < 16 {
			return v, nil
		}
	}
	return 0, fmt.Errorf("the node supports neither 14 nor 15")
}

// sample is the beginning of the node's chain.
type sample struct {
	headers []chain.Header
	tip     chainsync.Tip
}

const sampleSize = 12

// chain fetches the first headers of the node's chain, at least want of them.
func (n *node) chain(ctx context.Context, want int) (sample, error) {
	s, err := n.sample.get(func() (s sample, err error) {
		l, err := n.initiate(ctx)
		if err != nil {
			return s, err
		}
		defer l.close()
		for len(s.headers) < sampleSize {
			a, err := l.next()
			if err != nil {
				return s, err
			}
			if a.kind == chainsync.TagAwaitReply {
				break
			}
			s.tip = a.tip
			if a.kind == chainsync.TagRollForward {
				s.headers = append(s.headers, a.header)
			}
		}
		return s, nil
	})
	if err == nil && len(s.headers) < want {
		err = skipf("the node's chain has only %d blocks, %d are needed", len(s.headers), want)
	}
	return s, err
}

// opens tells which initiators the node opens on a duplex connection in time.
func (n *node) opens(ctx context.Context, number uint16) error {
	opened, err := n.opened.get(func() (map[uint16]bool, error) {
		l, err := n.connect(ctx, handshake.Data{PeerSharing: true})
		if err != nil {
			return nil, err
		}
		defer l.close()
		if !l.neg.Duplex() {
			return nil, skipf("the node is initiator-only: the connection is not duplex")
		}
		l.send(keepalive.Number, keepalive.AppendKeepAlive(nil, 1))
		seen := map[uint16]bool{}
		deadline := time.NewTimer(n.wait.opens)
		defer deadline.Stop()
		for {
			for _, number := range [...]uint16{2, 4, 8} {
				seen[number] = l.bytesOf(stream{number, mux.Initiator}) > 0
			}
			if seen[2] && seen[4] && seen[8] {
				return seen, nil
			}
			select {
			case <-l.changes():
			case <-l.done:
				return seen, nil
			case <-deadline.C:
				return seen, nil
			}
		}
	})
	if err != nil {
		return err
	}
	if !opened[number] {
		return skipf("the node opens no initiator of number %d on our connection within %v", number, n.wait.opens)
	}
	return nil
}
