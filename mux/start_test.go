package mux

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// startPeer is a multiplexer with responders that are armed with the given strategies, and the bearer's other end.
func startPeer(t *testing.T, strategies ...Start) (m *Mux, peer *memConn, started func() []uint16) {
	x, peer := memPair(1 << 16)
	m = New(x, Config{})
	var ran []uint16
	for i, st := range strategies {
		n := uint16(i)
		s, err := m.Register(StreamConfig{Number: n, Role: Responder})
		require.NoError(t, err)
		s.Arm(st, func() { ran = append(ran, n) })
	}
	m.Start()
	return m, peer, func() []uint16 {
		synctest.Wait()
		r := ran
		ran = nil
		return r
	}
}

// TestStart is prop_mux_start: the rule of wire §2.8 for each strategy.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, peer, started := startPeer(t, Eager, OnDemand, OnDemand, OnDemandAny, OnDemandAny)
		require.Equal(t, []uint16{0}, started(), "eager ones start by themselves, only they do")
		mustWrite(t, peer, sdu(0, Initiator, 1, []byte{1}))
		require.Empty(t, started(), "bytes for a stream that runs start nobody")
		mustWrite(t, peer, sdu(2, Initiator, 1, []byte{1}))
		require.Equal(t, []uint16{2, 3, 4}, started(), "on-demand: that one and every on-demand-any")
		mustWrite(t, peer, sdu(2, Initiator, 1, []byte{1}))
		mustWrite(t, peer, sdu(3, Initiator, 1, []byte{1}))
		require.Empty(t, started(), "nobody starts twice")
		mustWrite(t, peer, sdu(1, Initiator, 1, []byte{1}))
		require.Equal(t, []uint16{1}, started())
		m.Abort(nil)
		m.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		m, peer, started := startPeer(t, OnDemand, OnDemandAny, OnDemandAny)
		mustWrite(t, peer, sdu(2, Initiator, 1, []byte{1}))
		require.Equal(t, []uint16{1, 2}, started(), "on-demand-any starts all of its kind and no plain on-demand one")
		m.Abort(nil)
		m.Close()
	})
}

// TestStartByWaitingBytes: arming a stream that already holds bytes is an arrival like any other.
func TestStartByWaitingBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, peer, started := startPeer(t, Eager, OnDemandAny, OnDemand)
		require.Equal(t, []uint16{0}, started())
		mustWrite(t, peer, sdu(0, Initiator, 3, []byte("abc")))
		require.Empty(t, started())
		again := 0
		m.Stream(0, Responder).Arm(OnDemand, func() { again++ })
		require.Equal(t, 1, again)
		require.Equal(t, []uint16{1}, started())
		m.Abort(nil)
		m.Close()
	})
}

// TestStartDisarmed: nil disarms, and so does the end of the connection.
func TestStartDisarmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, peer, started := startPeer(t, OnDemand, OnDemand)
		m.Stream(0, Responder).Arm(OnDemand, nil)
		mustWrite(t, peer, sdu(0, Initiator, 1, []byte{1}))
		require.Empty(t, started())
		m.Abort(nil)
		m.Close()
		require.Empty(t, started())
		require.False(t, m.Stream(1, Responder).armed.Load())
	})
}

// TestNothingLeavesBeforeStart: what is sent before waits for it.
func TestNothingLeavesBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, peer := memPair(1 << 16)
		m := New(x, Config{})
		s, err := m.Register(StreamConfig{Number: 7, Role: Initiator})
		require.NoError(t, err)
		require.NoError(t, s.Send(t.Context(), []byte("early")))
		synctest.Wait()
		require.Empty(t, peer.in.buf)
		m.Start()
		h, p, err := ReadSDU(peer, MaxPayload)
		require.NoError(t, err)
		require.Equal(t, "early", string(p))
		require.Equal(t, uint16(7), h.Number)
		m.Abort(nil)
		m.Close()
	})
}

// TestCloseUnstarted: a multiplexer that never started ends all the same.
func TestCloseUnstarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, _ := memPair(1 << 16)
		m := New(x, Config{})
		s, err := m.Register(StreamConfig{Number: 7, Role: Initiator})
		require.NoError(t, err)
		require.NoError(t, s.Send(t.Context(), []byte("early")))
		began := time.Now()
		require.NoError(t, m.Close())
		require.Zero(t, time.Since(began))
		require.ErrorIs(t, m.Err(), ErrStopped)
		require.ErrorIs(t, s.Send(t.Context(), []byte("late")), ErrStopped)
		_, err = m.Register(StreamConfig{Number: 8})
		require.ErrorIs(t, err, ErrStopped)
	})
}

// TestRestart is prop_mux_restart: a finished mini-protocol runs again on the same number, in both start strategies.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := memPair(1 << 16)
		p := muxPair(t, x, y, Config{}, 2)
		ctx := t.Context()
		client, server := p.a.Stream(2, Initiator), p.b.Stream(2, Responder)
		runs := 0
		for range 5 {
			finished := make(chan error, 1)
			server.Arm(OnDemand, func() {
				go func() { // one run: echo until an empty line
					runs++
					for {
						q, err := server.Wait(ctx, 0)
						if err == nil {
							err = server.Send(ctx, q[:1])
						}
						done := err == nil && q[0] == '.'
						if err == nil {
							server.Discard(1)
						}
						if err != nil || done {
							finished <- err
							return
						}
					}
				}()
			})
			require.NoError(t, client.Send(ctx, []byte("abc.")))
			got, err := readFull(ctx, client, 4)
			require.NoError(t, err)
			require.Equal(t, "abc.", string(got))
			require.NoError(t, <-finished)
		}
		require.Equal(t, 5, runs)
	})
}

// TestTrailingBytes is prop_mux_trailing_bytes: what follows the last message of one run is what the next run reads first, and
// it starts it.
func TestTrailingBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := memPair(1 << 16)
		p := muxPair(t, x, y, Config{}, 2)
		ctx := t.Context()
		client, server := p.a.Stream(2, Initiator), p.b.Stream(2, Responder)
		require.NoError(t, client.Send(ctx, []byte("first.second.thi")))
		var runs []string
		for range 2 {
			synctest.Wait()
			ran := make(chan struct{})
			server.Arm(OnDemand, func() { close(ran) })
			<-ran
			q, err := server.Wait(ctx, 0)
			require.NoError(t, err)
			n := 0
			for q[n] != '.' {
				n++
			}
			runs = append(runs, string(q[:n+1]))
			server.Discard(n + 1)
		}
		require.Equal(t, []string{"first.", "second."}, runs)
		require.NoError(t, client.Send(ctx, []byte("rd.")))
		q, err := server.Wait(ctx, 3)
		require.NoError(t, err)
		require.Equal(t, "third.", string(q))
		server.Discard(len(q))
	})
}
