package txsubmission_test

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/internal/rawpeer"
	"github.com/hearthnet/hearth/protocols/internal/rig"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

// asking runs the side that asks against a script, in virtual time.
func asking(t *testing.T, l txsubmission.Limits, script func(p *rawpeer.Peer, pool *txsubmission.Memory, e *rig.End)) {
	synctest.Test(t, func(t *testing.T) {
		a, b := rig.Conns(t, memnet.Link{})
		pool := newPool(1 << 20)
		mp := txsubmission.NewInbound(pool, l).Responder()
		e := rig.Attach(t, a, protocols.Negotiated{Version: 15}, mp)
		s, err := e.Open(mp, mux.Responder)
		require.NoError(t, err)
		ended := make(chan error, 1)
		go func() { ended <- s.Run(context.Background(), mp.Respond) }()
		script(&rawpeer.Peer{TB: t, Conn: b, Number: txsubmission.Number, Role: mux.Initiator}, pool, e)
		e.Close()
		b.Close()
		<-ended
		synctest.Wait()
	})
}

// timedOut checks that the connection ends after exactly d with the time limit of a state.
func timedOut(t testing.TB, e *rig.End, state string, d time.Duration) {
	t.Helper()
	began := time.Now()
	pe, err := e.Err()
	require.NoError(t, err)
	require.Equal(t, protocols.TimedOut, pe.Kind)
	require.Equal(t, state, pe.State)
	require.Equal(t, d, time.Since(began))
}

func TestTimeLimitsOfOwners(t *testing.T) {
	id, tx := makeTx(1, 100)
	one := txsubmission.AppendReplyTxIDs(nil, []txsubmission.IDAndSize{{ID: id, Size: uint32(len(tx))}})
	t.Run("Init and a blocking wait have none", func(t *testing.T) {
		asking(t, txsubmission.Limits{}, func(p *rawpeer.Peer, pool *txsubmission.Memory, e *rig.End) {
			time.Sleep(100 * time.Hour)
			p.Say(txsubmission.AppendInit(nil))
			p.Hear()
			time.Sleep(100 * time.Hour)
			p.Say(one)
			require.NotNil(t, p.Hear())
		})
	})
	t.Run("transactions", func(t *testing.T) {
		asking(t, txsubmission.Limits{}, func(p *rawpeer.Peer, pool *txsubmission.Memory, e *rig.End) {
			p.Say(txsubmission.AppendInit(nil))
			p.Hear()
			p.Say(one)
			timedOut(t, e, "Txs", 10*time.Second)
		})
	})
	t.Run("non-blocking ids", func(t *testing.T) {
		asking(t, txsubmission.Limits{}, func(p *rawpeer.Peer, pool *txsubmission.Memory, e *rig.End) {
			p.Say(txsubmission.AppendInit(nil))
			p.Hear()
			p.Say(one)
			require.Equal(t, byte(txsubmission.TagRequestTxs), p.Hear()[1])
			require.Equal(t, txsubmission.AppendRequestTxIDs(nil, false, 0, 9), p.Hear(), "pipelined, one id stays unacknowledged")
			p.Say(txsubmission.AppendReplyTxs(nil, [][]byte{tx}))
			synctest.Wait()
			timedOut(t, e, "TxIds/non-block", 10*time.Second)
		})
	})
}

// TestDelay: the first request comes when it is due.
func TestDelay(t *testing.T) {
	asking(t, txsubmission.Limits{Delay: time.Minute}, func(p *rawpeer.Peer, pool *txsubmission.Memory, e *rig.End) {
		began := time.Now()
		p.Say(txsubmission.AppendInit(nil))
		require.Equal(t, txsubmission.AppendRequestTxIDs(nil, true, 0, 10), p.Hear())
		require.Equal(t, time.Minute, time.Since(began))
	})
}

// TestEmptyAnswerIsNotAskedAgainAtOnce: a peer that has announced all it has is not asked in a circle while its transaction is on
// its way.
func TestEmptyAnswerIsNotAskedAgainAtOnce(t *testing.T) {
	id, tx := makeTx(1, 100)
	asking(t, txsubmission.Limits{}, func(p *rawpeer.Peer, pool *txsubmission.Memory, e *rig.End) {
		p.Say(txsubmission.AppendInit(nil))
		p.Hear()
		p.Say(txsubmission.AppendReplyTxIDs(nil, []txsubmission.IDAndSize{{ID: id, Size: uint32(len(tx))}}))
		p.Hear() // its transaction
		p.Hear() // ids
		// Answered in order: the transaction comes first, so what follows acknowledges it.
		p.Say(txsubmission.AppendReplyTxs(nil, [][]byte{tx}), txsubmission.AppendReplyTxIDs(nil, nil))
		require.Equal(t, txsubmission.AppendRequestTxIDs(nil, true, 1, 10), p.Hear())
		require.True(t, pool.Has(id))
		synctest.Wait()
	})
}

// TestPaceOfAMempool: after a reconnect a full mempool is offered nine ids a round trip, as many as the window allows.
func TestPaceOfAMempool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const roundTrip = 250 * time.Millisecond
		a, b := rig.Conns(t, memnet.Link{Latency: roundTrip / 2})
		ours, theirs := newPool(1<<20), newPool(1<<20)
		fill(t, ours, 0, 451)
		began := time.Now()
		var ends []*rig.End
		ended := make(chan error, 2)
		for conn, mp := range map[net.Conn]*protocols.MiniProtocol{a: txsubmission.Initiator(ours), b: txsubmission.NewInbound(theirs, txsubmission.Limits{}).Responder()} {
			role, run := mux.Initiator, mp.Initiate
			if run == nil {
				role, run = mux.Responder, mp.Respond
			}
			e := rig.Attach(t, conn, protocols.Negotiated{Version: 15}, mp)
			s, err := e.Open(mp, role)
			require.NoError(t, err)
			go func() { ended <- s.Run(context.Background(), run) }()
			ends = append(ends, e)
		}
		until(t, theirs, 451)
		require.InDelta(t, (451/9+2)*roundTrip, time.Since(began), float64(roundTrip))
		for _, e := range ends {
			e.Close()
			<-ended
		}
		synctest.Wait()
	})
}
