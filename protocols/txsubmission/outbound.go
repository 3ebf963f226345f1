package txsubmission

import (
	"context"
	"errors"
	"fmt"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
)

// initiatorBytes is what the side that owns transactions takes unread: only requests come.
const initiatorBytes = 128 << 10

func define() *protocols.MiniProtocol {
	return &protocols.MiniProtocol{
		Spec: Spec(), Number: Number, Bundle: protocols.Hot, Start: mux.OnDemand,
		Ingress: [2]int{initiatorBytes, IngressLimit},
		Enabled: func(n protocols.Negotiated) bool { return !n.NodeToClient },
	}
}

// The rules that a peer that asks can break (wire §8). They come wrapped in a [*protocols.Error].
var (
	ErrAckedTooMany     = errors.New("acknowledged more than is outstanding")
	ErrRequestedTooMany = errors.New("asked for more than the window")
	ErrRequestedNothing = errors.New("asked for nothing")
	ErrShouldBlock      = errors.New("nothing is outstanding: should have been blocking")
	ErrShouldNotBlock   = errors.New("something is outstanding: should have been non-blocking")
	ErrUnavailable      = errors.New("asked for a transaction that is not outstanding")
	ErrRequestedTwice   = errors.New("asked for a transaction twice")
)

// outbox is what one peer was told of and has not acknowledged: the rules of the side that owns transactions, pure.
type outbox struct {
	fifo []announced // at most Window
}

type announced struct {
	id        string
	requested bool
}

// acknowledge applies a request for ids, and says what is wrong with it.
func (o *outbox) acknowledge(blocking bool, ack, req uint16) error {
	n := len(o.fifo)
	left := n - int(ack)
	switch {
	case left < 0:
		return fmt.Errorf("%w: %d of %d", ErrAckedTooMany, ack, n)
	case left+int(req) > Window:
		return fmt.Errorf("%w of %d: %d outstanding, %d more", ErrRequestedTooMany, Window, left, req)
	case blocking && req == 0, !blocking && ack+req == 0:
		return ErrRequestedNothing
	case blocking && left > 0:
		return fmt.Errorf("%w: %d", ErrShouldNotBlock, left)
	case !blocking && left == 0:
		return ErrShouldBlock
	}
	o.fifo = o.fifo[:copy(o.fifo, o.fifo[ack:])]
	return nil
}

func (o *outbox) announce(id []byte) { o.fifo = append(o.fifo, announced{id: string(id)}) }

// request notes that the transactions with these ids are asked for.
func (o *outbox) request(ids [][]byte) error {
	for _, id := range ids {
		found := false
		for i := range o.fifo {
			if a := &o.fifo[i]; a.id == string(id) {
				if found = !a.requested; found {
					a.requested = true
					break
				}
			}
		}
		if found {
			continue
		}
		for _, a := range o.fifo {
			if a.id == string(id) {
				return fmt.Errorf("%w: %x", ErrRequestedTwice, id)
			}
		}
		return fmt.Errorf("%w: %x", ErrUnavailable, id)
	}
	return nil
}

// Initiator returns a mini-protocol that offers the transactions of pool to every peer that asks, each one once, until its owner tells
// it to terminate. Hosts start it on promotion of a peer; [Offer] is for a single connection.
func Initiator(pool Mempool) *protocols.MiniProtocol {
	mp := define()
	mp.Initiate = func(ctx context.Context, s *protocols.Session) error { return offer(ctx, s, pool) }
	return mp
}

// Offer offers the transactions of pool to the other end of one connection until ctx or the connection ends.
func Offer(ctx context.Context, o protocols.Opener, pool Mempool) error {
	mp := Initiator(pool)
	s, err := o.Open(mp, mux.Initiator)
	if err != nil {
		return err
	}
	return s.Run(ctx, mp.Initiate)
}

// offering is one run of the side that owns transactions.
type offering struct {
	s      *protocols.Session
	pool   Mempool
	box    outbox
	ticket uint64 // of the last one announced
	buf    []byte
}

func offer(ctx context.Context, s *protocols.Session, pool Mempool) error {
	o := &offering{s: s, pool: pool}
	if err := s.Send(ctx, AppendInit(nil)); err != nil {
		return err
	}
	var ids [][]byte
	for {
		m, err := s.Recv(ctx)
		if err != nil {
			return err
		}
		if m.Tag == TagRequestTxIDs {
			if done, err := o.ids(ctx, m.Raw); done || err != nil {
				return err
			}
			continue
		}
		if ids, err = DecodeRequestTxs(ids[:0], m.Raw, Window); err == nil {
			err = o.box.request(ids)
		}
		if err != nil {
			return s.Fail(err)
		}
		var txs [][]byte
		for _, id := range ids {
			if tx := pool.Tx(id); tx != nil {
				txs = append(txs, tx)
			}
		}
		o.buf = AppendReplyTxs(o.buf[:0], txs)
		if err := s.Send(ctx, o.buf); err != nil {
			return err
		}
	}
}

// ids answers a request for ids; done says that it was answered with Done.
func (o *offering) ids(ctx context.Context, msg []byte) (done bool, err error) {
	blocking, ack, req, err := DecodeRequestTxIDs(msg)
	if err == nil {
		err = o.box.acknowledge(blocking, ack, req)
	}
	if err != nil {
		return false, o.s.Fail(err)
	}
	var reply []IDAndSize
	for {
		changed := o.pool.Changed()
		control, controlled := o.s.Control()
		if blocking && control == protocols.Terminate {
			return true, o.s.Send(ctx, AppendDone(nil))
		}
		for len(reply) < int(req) {
			e, ok := o.pool.Next(o.ticket)
			if !ok {
				break
			}
			o.ticket = e.Ticket
			o.box.announce(e.ID)
			reply = append(reply, IDAndSize{e.ID, uint32(e.Size)})
		}
		if len(reply) > 0 || !blocking {
			o.buf = AppendReplyTxIDs(o.buf[:0], reply)
			return false, o.s.Send(ctx, o.buf)
		}
		select {
		case <-changed:
		case <-controlled:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-o.s.Done():
			return false, mux.ErrStopped
		}
	}
}
