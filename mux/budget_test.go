package mux

import (
	"bytes"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBudgetClosesTheLargestOffenderOnly has a reader that never reads on every connection; one of them holds more than the
// others.
func TestBudgetClosesTheLargestOffenderOnly(t *testing.T) {
	const limit = 100_000
	budget := NewBudget(limit)
	muxes := make([]*Mux, 5)
	peers := make([]net.Conn, len(muxes))
	for i := range muxes {
		var x net.Conn
		x, peers[i] = tcpPair(t)
		m := New(x, Config{Budget: budget})
		for n := range uint16(3) {
			_, err := m.Register(StreamConfig{Number: n, Role: Responder, IngressLimit: 1 << 20})
			require.NoError(t, err)
		}
		m.Start()
		t.Cleanup(func() { m.Close() })
		muxes[i] = m
	}
	hold := func(i int, number uint16, n int) {
		before := muxes[i].Unread()
		mustWrite(t, peers[i], sdu(number, Initiator, n, make([]byte, n)))
		waitFor(t, func() bool { return muxes[i].Unread() == before+n || muxes[i].Err() != nil })
	}
	for i := range muxes {
		hold(i, 0, 10_000)
	}
	hold(3, 2, 35_000) // 85,000 in all
	require.Equal(t, 85_000, budget.Used())
	hold(1, 1, 15_001) // one byte too many; connection 3 holds most

	<-muxes[3].Done()
	var e *Error
	require.ErrorAs(t, muxes[3].Err(), &e)
	require.Equal(t, &Error{Kind: OverBudget, Protocol: 2, Role: Responder, Size: 100_001, Queued: 45_000, Limit: limit}, e)
	require.Equal(t, "benign", e.Fault())
	require.Contains(t, e.Error(), "45000 bytes unread on this connection")
	for i, m := range muxes {
		if i != 3 {
			require.NoError(t, m.Err(), "connection %d", i)
		}
	}
	require.Equal(t, 55_001, budget.Used())
	for _, m := range muxes {
		m.Abort(nil)
	}
	require.Zero(t, budget.Used())
	require.Empty(t, budget.muxes)
}

// slowCloser is a bearer whose Close blocks, as that of TLS may.
type slowCloser struct {
	net.Conn
	closing sync.Once
	began   chan struct{}
	release chan struct{}
}

func (c *slowCloser) Close() error {
	c.closing.Do(func() { close(c.began) })
	<-c.release
	return c.Conn.Close()
}

// TestBudgetEvictionBlocksNobody: a victim whose bearer takes its time to close does not hold up the connection that hit the
// limit, and while it goes nobody else has to.
func TestBudgetEvictionBlocksNobody(t *testing.T) {
	budget := NewBudget(50_000)
	slow := &slowCloser{began: make(chan struct{}), release: make(chan struct{})}
	muxes, peers := make([]*Mux, 2), make([]net.Conn, 2)
	for i := range muxes {
		x, y := tcpPair(t)
		if i == 0 {
			slow.Conn = x
			x = slow
		}
		m := New(x, Config{Budget: budget})
		_, err := m.Register(StreamConfig{Number: 1, Role: Responder, IngressLimit: 1 << 20})
		require.NoError(t, err)
		m.Start()
		muxes[i], peers[i] = m, y
	}
	mustWrite(t, peers[0], sdu(1, Initiator, 40_000, make([]byte, 40_000)))
	waitFor(t, func() bool { return budget.Used() == 40_000 })
	ctx := background(t)
	s := muxes[1].Stream(1, Responder)
	got := 0
	for range 3 { // 60,000 bytes, read one SDU behind: within the budget but for the first connection
		mustWrite(t, peers[1], sdu(1, Initiator, 20_000, make([]byte, 20_000)))
		p, err := s.Wait(ctx, 0)
		require.NoError(t, err)
		got += len(p)
		s.Discard(len(p))
		for got%20_000 != 0 {
			p, err = s.Wait(ctx, 0)
			require.NoError(t, err)
			got += len(p)
			s.Discard(len(p))
		}
	}
	select {
	case <-slow.began: // read at once: the arrivals may never have added up
	default:
		mustWrite(t, peers[1], sdu(1, Initiator, 20_000, make([]byte, 20_000)))
		<-slow.began
	}
	mustWrite(t, peers[1], bytes.Repeat(sdu(1, Initiator, 1000, make([]byte, 1000)), 10))
	waitFor(t, func() bool { return muxes[1].Unread() >= 10_000 })
	require.NoError(t, muxes[1].Err())
	select {
	case <-muxes[0].Done():
		t.Fatal("done before its bearer was closed")
	default:
	}
	require.Equal(t, OverBudget, muxErr(muxes[0]).Kind)
	require.Equal(t, 40_000, muxErr(muxes[0]).Queued)
	closed := make(chan struct{})
	go func() { muxes[0].Close(); close(closed) }()
	close(slow.release)
	<-closed
	require.NoError(t, muxes[1].Err())
	muxes[1].Abort(nil)
	muxes[1].Close()
	require.Zero(t, budget.Used())
}

func muxErr(m *Mux) *Error {
	e, _ := m.Err().(*Error)
	return e
}

// TestBudgetUnderConcurrentArrivals: many connections exceed the limit at once; the one that holds most goes, alone.
func TestBudgetUnderConcurrentArrivals(t *testing.T) {
	for range 10 {
		const others = 7
		budget := NewBudget(100_000)
		start := func() (*Mux, net.Conn) {
			x, y := memPair(1 << 20)
			m := New(x, Config{Budget: budget})
			_, err := m.Register(StreamConfig{Number: 1, Role: Responder, IngressLimit: 1 << 20})
			require.NoError(t, err)
			m.Start()
			return m, y
		}
		hog, peer := start()
		mustWrite(t, peer, sdu(1, Initiator, 65_000, make([]byte, 65_000)))
		mustWrite(t, peer, sdu(1, Initiator, 30_000, make([]byte, 30_000)))
		waitFor(t, func() bool { return hog.Unread() == 95_000 })
		muxes := make([]*Mux, others)
		var wg sync.WaitGroup
		for i := range muxes {
			var y net.Conn
			muxes[i], y = start()
			wg.Go(func() {
				for range 10 {
					_, _ = y.Write(sdu(1, Initiator, 1000, make([]byte, 1000)))
				}
			})
		}
		wg.Wait()
		<-hog.Done()
		for _, m := range muxes {
			waitFor(t, func() bool { return m.Unread() == 10_000 })
			require.NoError(t, m.Err())
		}
		require.Equal(t, others*10_000, budget.Used())
		require.Equal(t, OverBudget, muxErr(hog).Kind)
		for _, m := range append(muxes, hog) {
			m.Abort(nil)
			m.Close()
		}
		require.Zero(t, budget.Used())
	}
}
