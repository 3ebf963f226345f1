package artifact

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRowNotFound(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	x.offers(offerOf(0, 1, []byte("x")), offerOf(1, 2, []byte("y")))
	for _, m := range x.fetches(BulkOut) {
		x.send(BulkOut, appendFetchDone(nil, m.id, statusNotFound, 0))
	}
	x.offers(entry{tag: entryWithdraw, slot: 1, commit: 2})
	for range 8 {
		w.wait(time.Second)
		for _, m := range x.fetches(BulkOut) {
			x.send(BulkOut, appendFetchDone(nil, m.id, statusNotFound, 0))
		}
	}
	require.Zero(t, x.score, "fetch and withdraw may cross")
	for range 5 {
		w.wait(time.Second)
		for _, m := range x.fetches(BulkOut) {
			x.send(BulkOut, appendFetchDone(nil, m.id, statusNotFound, 0))
		}
	}
	require.Equal(t, -5, x.score, "one of the two was not withdrawn")
}

func TestRowTimeout(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	x.p.net.window = 1 << 20
	x.offers(offerOf(0, 1, []byte("x")))
	require.Len(t, x.fetches(BulkOut), 1)
	w.wait(3 * time.Second)
	require.Zero(t, x.score, "first measurement assumes 1 s")
	w.wait(2 * time.Second)
	require.Equal(t, -1, x.score)
	require.EqualValues(t, 1<<19, x.p.net.window)
	cancelled := false
	for _, m := range x.controls() {
		cancelled = cancelled || m.tag == tagCancel
	}
	require.True(t, cancelled)
	// what comes late is used
	x.send(BulkOut, append(appendPieceHead(nil, tagChunk, 0, 0, 1), 'x'))
	x.send(BulkOut, appendFetchDone(nil, 0, statusCancelled, 0))
	w.accept()
	require.Equal(t, Delivered, x.verdicts()[0])
	require.False(t, x.closed)
}

// Time-outs are a weak sign: a peer that is late for half an hour, because its line or its machine is, is demoted, never banned.
func TestRowTimeoutsAloneBanNobody(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	for n := range 300 {
		x.offers(offerOf(uint32(n%128), uint64(n+1), append(make([]byte, 1500), byte(n), byte(n>>8))))
		w.wait(16 * time.Second)
		for _, m := range x.fetches(BulkOut) {
			x.send(BulkOut, appendFetchDone(nil, m.id, statusLate, 0))
		}
		x.offers(entry{tag: entryWithdraw, slot: uint32(n % 128), commit: uint64(n + 1)})
		for _, m := range x.fetches(BulkOut) {
			x.send(BulkOut, appendFetchDone(nil, m.id, statusNotFound, 0))
		}
		x.controls()
		require.False(t, x.closed, "after %v", w.now)
	}
	require.Greater(t, w.core.Counters().Timeouts, uint64(250))
}

// Half of the requests of a minute timed out: the judge is told, without a score, so that a governor may demote the peer.
func TestRowHalfOfAMinuteTimedOut(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	said := func() (n int) {
		for _, err := range x.causes {
			if e := new(SlowError); errors.As(err, &e) {
				require.Equal(t, x.id, e.Peer)
				require.GreaterOrEqual(t, 2*e.TimedOut, e.Asked)
				n++
			}
		}
		return n
	}
	round := func(n int, silent bool) {
		e := offerOf(uint32(n%128), uint64(n+1), append(make([]byte, 1500), byte(n), byte(n>>8)))
		x.offers(e)
		ms := x.fetches(BulkOut)
		require.NotEmpty(t, ms)
		for _, m := range ms {
			if silent {
				continue
			}
			x.serve(BulkOut, m, append(make([]byte, 1500), byte(n), byte(n>>8)))
		}
		w.wait(5 * time.Second)
		if silent { // cancelled by now
			x.send(BulkOut, appendFetchDone(nil, ms[0].id, statusCancelled, 0))
			x.offers(entry{tag: entryWithdraw, slot: uint32(n % 128), commit: uint64(n + 1)})
			for _, m := range x.fetches(BulkOut) {
				x.send(BulkOut, appendFetchDone(nil, m.id, statusNotFound, 0))
			}
		}
		x.controls()
	}
	for n := range 30 {
		round(n, n%3 == 0)
	}
	require.Zero(t, said(), "a third is not enough")
	score := x.score
	for n := 30; n < 60; n++ {
		round(n, true)
	}
	require.InDelta(t, 2, said(), 1, "once a minute")
	require.False(t, x.closed)
	require.Less(t, x.score, score)
	require.Greater(t, x.score, score-100, "one step a time-out, no more")
}

// id squatting: asked first, answers nothing; never asked twice in a round, and the next advertiser is asked at once.
func TestRowSquatter(t *testing.T) {
	w := smallWorld(t)
	x, y := w.peer(true, true), w.peer(true, true)
	e := offerOf(0, 1, []byte("x"))
	x.offers(e)
	require.Len(t, x.fetches(BulkOut), 1)
	y.offers(e)
	require.Empty(t, y.fetches(BulkOut), "duplicity is 1")
	w.wait(4001 * time.Millisecond)
	require.Len(t, y.fetches(BulkOut), 1, "at the deadline")
	require.Empty(t, x.fetches(BulkOut))
}
