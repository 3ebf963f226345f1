package main

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/mux"
)

// verdict of a rewriting.
type rewrite struct {
	out   [][]byte // what is passed on instead of the message
	close bool     // the connection ends instead
}

func as(out ...[]byte) rewrite { return rewrite{out: out} }

var hangUp = rewrite{close: true}

// defect is what a proxy makes of a right node. Functions that are nil pass on what comes.
type defect struct {
	neverCloses bool                                                  // the node's end of a connection is not passed on
	atOnce      bool                                                  // every connection ends as soon as it is there
	sdu         func(s *session, h mux.Header, payload []byte) bool   // looks at what comes from the checker; false ends the connection
	toChecker   func(s *session, k stream, msg []byte) rewrite        // messages of the node
	toNode      func(s *session, k stream, msg []byte) rewrite        // messages of the checker
	stamp       func(s *session, h *mux.Header)                       // headers of the node's SDUs
	extra       func(s *session, h mux.Header, payload []byte) []byte // sent to the checker behind an SDU of the node
}

// session is one connection through a proxy.
type session struct {
	seen map[stream]int
	mu   sync.Mutex
}

// count counts calls for a stream, from 1.
func (s *session) count(k stream) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[k]++
	return s.seen[k]
}

// proxy stands before a node and gives it a defect.
func proxy(t *testing.T, node string, d defect) (addr string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	closed := false
	keep := func(c net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		open[c] = true
		if closed {
			c.Close()
		}
	}
	drop := func(c net.Conn) {
		c.Close()
		mu.Lock()
		defer mu.Unlock()
		delete(open, c)
	}
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if d.atOnce {
				c.Close()
				continue
			}
			keep(c)
			all.Go(func() {
				defer drop(c)
				up, err := net.Dial("tcp", node)
				if err != nil {
					return
				}
				keep(up)
				defer drop(up)
				d.relay(c, up)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		closed = true
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return ln.Addr().String()
}

// relay passes SDUs both ways until an end is reached.
func (d defect) relay(checker, node net.Conn) {
	s := &session{seen: map[stream]int{}}
	var both sync.WaitGroup
	both.Go(func() {
		defer func() { checker.Close(); node.Close() }()
		pump(checker, func(h mux.Header, payload []byte) bool {
			if d.sdu != nil && !d.sdu(s, h, payload) {
				return false
			}
			_, err := node.Write(sduOf(h, payload))
			return err == nil || d.neverCloses
		}, s, d.toNode, func(b []byte) error { _, err := node.Write(b); return err })
	})
	both.Go(func() {
		defer func() {
			if !d.neverCloses {
				checker.Close()
				node.Close()
			}
		}()
		pump(node, func(h mux.Header, payload []byte) bool {
			if d.stamp != nil {
				d.stamp(s, &h)
			}
			b := sduOf(h, payload)
			if d.extra != nil {
				b = append(b, d.extra(s, h, payload)...)
			}
			_, err := checker.Write(b)
			return err == nil
		}, s, d.toChecker, func(b []byte) error { _, err := checker.Write(b); return err })
	})
	both.Wait()
}

// pump hands on the SDUs that are read: as they are or, with a function to rewrite them, message by message.
func pump(from io.Reader, whole func(mux.Header, []byte) bool, s *session, change func(*session, stream, []byte) rewrite, write func([]byte) error) {
	pending := map[stream][]byte{}
	for {
		h, payload, ok := readAny(from)
		if !ok {
			return
		}
		k := stream{h.Number, h.From}
		if change == nil || len(payload) == 0 {
			if !whole(h, payload) {
				return
			}
			continue
		}
		pending[k] = append(pending[k], payload...)
		for len(pending[k]) > 0 {
			n, err := cbor.Item(pending[k])
			if err != nil {
				break // cut short: the rest is to come
			}
			r := change(s, k, slices.Clone(pending[k][:n]))
			pending[k] = pending[k][n:]
			for _, msg := range r.out {
				if write(segments(k.number, k.from, msg, sduSize)) != nil {
					return
				}
			}
			if r.close {
				return
			}
		}
	}
}

// readAny reads an SDU, be it one without payload.
func readAny(r io.Reader) (h mux.Header, payload []byte, ok bool) {
	var b [mux.HeaderSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return h, nil, false
	}
	h, _ = mux.ParseHeader(b[:]) // length 0 is for the other end to refuse
	payload = make([]byte, binary.BigEndian.Uint16(b[6:]))
	_, err := io.ReadFull(r, payload)
	return h, payload, err == nil
}

func sduOf(h mux.Header, payload []byte) []byte {
	b := make([]byte, mux.HeaderSize, mux.HeaderSize+len(payload))
	h.Length = uint16(len(payload))
	h.Put(b)
	return append(b, payload...)
}
