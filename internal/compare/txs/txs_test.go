package txs

import (
	"context"
	"crypto/sha256"
	"sync"
	"testing"

	ouroboros "github.com/blinklabs-io/gouroboros"
	gtxs "github.com/blinklabs-io/gouroboros/protocol/txsubmission"
	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

const transactions = 500

// TestWeOffer: their server takes all our transactions, each once; ids match bodies.
func TestWeOffer(t *testing.T) {
	pool := txsubmission.NewMemory(1<<30, identify)
	for i := range transactions {
		tx := txsubmission.AppendTx(nil, txsubmission.Tx{Era: txEra, Bytes: makeTx(i)})
		id, err := identify(tx)
		require.NoError(t, err)
		require.NoError(t, pool.Add(id, tx))
	}
	got := make(chan []byte, transactions)
	asking := make(chan error, 1)
	c, _ := dialTheirs(t, false, nil, ouroboros.WithTxSubmissionConfig(gtxs.NewConfig(
		// After Done its server starts anew while the old run still reads the same fields: a data race of its own. This ends the
		// connection instead.
		gtxs.WithDoneFunc(func(gtxs.CallbackContext) error { return gtxs.ErrStopServerProcess }),
		gtxs.WithInitFunc(func(ctx gtxs.CallbackContext) error {
			go func() {
				for {
					// It acknowledges all of its previous answer each time, so every request is a blocking one.
					ids, err := ctx.Server.RequestTxIds(true, 10)
					if err != nil {
						asking <- nil // Done, or the end of the connection
						return
					}
					var want []gtxs.TxId
					for _, id := range ids {
						want = append(want, id.TxId)
					}
					bodies, err := ctx.Server.RequestTxs(want)
					if err != nil || len(bodies) != len(ids) {
						asking <- err
						return
					}
					for i, b := range bodies {
						sum := sha256.Sum256(b.TxBody)
						wire := txsubmission.WireSize(txsubmission.Tx{Era: txEra, Bytes: b.TxBody})
						if sum != ids[i].TxId.TxId || int(ids[i].Size) != wire {
							b.TxBody = nil // found out below
						}
						got <- b.TxBody
					}
				}
			}()
			return nil
		}))))
	taken, err := txsubmission.Submit(testContext(t), c, pool)
	require.NoError(t, err)
	require.Equal(t, transactions, taken, "none twice, none left out")
	require.NoError(t, <-asking)
	for i := range transactions {
		require.Equal(t, makeTx(i), <-got)
	}
	require.Empty(t, got)
}

// TestWeAsk: we take all transactions of their client; it is asked for each one once, and only for what it has announced and we have not
// acknowledged, which it does not check by itself (wire §15).
func TestWeAsk(t *testing.T) {
	pool := txsubmission.NewMemory(1<<30, identify)
	in := txsubmission.NewInbound(pool, txsubmission.Limits{})
	var mu sync.Mutex
	var next, outstanding int
	var wrong []string
	asked := map[[32]byte]int{}
	byID := map[[32]byte][]byte{}
	requestIDs := func(ctx gtxs.CallbackContext, blocking bool, ack, req uint16) (out []gtxs.TxIdAndSize, err error) {
		mu.Lock()
		defer mu.Unlock()
		outstanding -= int(ack)
		if outstanding < 0 || outstanding+int(req) > txsubmission.Window || blocking != (outstanding == 0) || blocking && req == 0 {
			wrong = append(wrong, "request breaks a rule of the window")
		}
		for ; next < transactions && len(out) < int(req); next++ {
			tx := makeTx(next)
			id := sha256.Sum256(tx)
			byID[id] = tx
			out = append(out, gtxs.TxIdAndSize{TxId: gtxs.TxId{EraId: txEra, TxId: id}, Size: uint32(txsubmission.WireSize(txsubmission.Tx{Era: txEra, Bytes: tx}))})
		}
		outstanding += len(out)
		if len(out) == 0 && blocking {
			return nil, gtxs.ErrStopServerProcess // Done
		}
		return out, nil
	}
	requestTxs := func(_ gtxs.CallbackContext, ids []gtxs.TxId) (out []gtxs.TxBody, err error) {
		mu.Lock()
		defer mu.Unlock()
		for _, id := range ids {
			asked[id.TxId]++
			if tx := byID[id.TxId]; tx != nil {
				out = append(out, gtxs.TxBody{EraId: id.EraId, TxBody: tx})
			}
		}
		return out, nil
	}
	their, _ := serveOurs(t, false, []connmgr.Option{connmgr.Serve(in.Responder())},
		ouroboros.WithTxSubmissionConfig(gtxs.NewConfig(gtxs.WithRequestTxIdsFunc(requestIDs), gtxs.WithRequestTxsFunc(requestTxs))))
	their.TxSubmission().Client.Init()
	ctx := testContext(t)
	for {
		changed := pool.Changed()
		if n, _ := pool.Len(); n == transactions {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			n, _ := pool.Len()
			t.Fatalf("%d of %d: %v", n, transactions, context.Cause(ctx))
		}
	}
	mu.Lock()
	defer mu.Unlock()
	require.Empty(t, wrong)
	require.Len(t, asked, transactions)
	for id, n := range asked {
		require.Equal(t, 1, n)
		tx := txsubmission.AppendTx(nil, txsubmission.Tx{Era: txEra, Bytes: byID[id]})
		enveloped, err := identify(tx)
		require.NoError(t, err)
		require.Equal(t, tx, pool.Tx(enveloped))
	}
}
