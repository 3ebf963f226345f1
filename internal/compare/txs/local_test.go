package txs

import (
	"context"
	"crypto/sha256"
	"errors"
	"math/big"
	"net"
	"net/netip"
	"testing"
	"time"

	ouroboros "github.com/blinklabs-io/gouroboros"
	gquery "github.com/blinklabs-io/gouroboros/protocol/localstatequery"
	gmonitor "github.com/blinklabs-io/gouroboros/protocol/localtxmonitor"
	gsubmit "github.com/blinklabs-io/gouroboros/protocol/localtxsubmission"
	gsharing "github.com/blinklabs-io/gouroboros/protocol/peersharing"
	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/protocols/localstatequery"
	"github.com/hearthnet/hearth/protocols/localtxmonitor"
	"github.com/hearthnet/hearth/protocols/localtxsubmission"
	"github.com/hearthnet/hearth/protocols/peersharing"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

type peers []netip.AddrPort

func (p peers) Shareable(n int) []netip.AddrPort { return p[:min(n, len(p))] }

var (
	v4 = netip.MustParseAddrPort("192.0.2.1:3001")
	v6 = netip.MustParseAddrPort("[2001:db8::1]:3002")
	// swapped is v6 as an implementation sees it that reads its words little-endian (wire §15).
	swapped = netip.MustParseAddrPort("[b80d:120:0:0:0:0:100:0]:3002")
)

// TestPeerSharing: IPv4 agrees both ways. gouroboros swaps the bytes of IPv6 words (wire §15): both ways the address is another one.
func TestPeerSharing(t *testing.T) {
	t.Run("they ask", func(t *testing.T) {
		their, _ := serveOurs(t, false, []connmgr.Option{connmgr.WithPeerSharing(), connmgr.Serve(peersharing.Responder(peers{v4, v6}))},
			ouroboros.WithPeerSharing(true))
		got, err := their.PeerSharing().Client.GetPeers(5)
		require.NoError(t, err)
		require.Len(t, got, 2)
		require.Equal(t, v4.Addr().AsSlice(), []byte(got[0].IP.To4()))
		require.Equal(t, v4.Port(), got[0].Port)
		require.Equal(t, swapped.Addr().AsSlice(), []byte(got[1].IP))
	})
	t.Run("we ask", func(t *testing.T) {
		c, _ := dialTheirs(t, false, []connmgr.Option{connmgr.WithPeerSharing()}, ouroboros.WithPeerSharing(true),
			ouroboros.WithPeerSharingConfig(gsharing.NewConfig(gsharing.WithShareRequestFunc(func(_ gsharing.CallbackContext, n int) ([]gsharing.PeerAddress, error) {
				return []gsharing.PeerAddress{{IP: net.IP(v4.Addr().AsSlice()), Port: v4.Port()}, {IP: net.IP(v6.Addr().AsSlice()), Port: v6.Port()}}, nil
			}))))
		got, err := peersharing.NewClient(c).Ask(testContext(t), 5)
		require.NoError(t, err)
		require.Equal(t, []netip.AddrPort{v4, swapped}, got)
	})
}

// acceptor accepts what is longer than a byte.
type acceptor struct{ got chan []byte }

func (a acceptor) Submit(_ context.Context, tx []byte) error {
	parsed, err := txsubmission.ParseTx(tx)
	if err != nil || parsed.Era != txEra || len(parsed.Bytes) == 1 {
		// Wrong era, as a node puts it: [[1, "Shelley"], [0, "Byron"]] (wire §12.2).
		return &localtxsubmission.Rejection{Reason: []byte("\x82\x82\x01\x67Shelley\x82\x00\x65Byron")}
	}
	a.got <- append([]byte(nil), parsed.Bytes...)
	return nil
}

func TestLocalTxSubmission(t *testing.T) {
	tx := makeTx(3)
	t.Run("they submit", func(t *testing.T) {
		a := acceptor{make(chan []byte, 1)}
		their, ours := serveOurs(t, true, []connmgr.Option{connmgr.Serve(localtxsubmission.Responder(a))})
		require.NoError(t, their.LocalTxSubmission().Client.SubmitTx(txEra, tx))
		require.Equal(t, tx, <-a.got)
		require.Error(t, their.LocalTxSubmission().Client.SubmitTx(txEra, []byte{0}))
		require.NoError(t, their.LocalTxSubmission().Client.SubmitTx(txEra, tx), "and goes on")
		require.NoError(t, ours.Err())
	})
	t.Run("we submit", func(t *testing.T) {
		var got []byte
		c, _ := dialTheirs(t, true, nil, ouroboros.WithLocalTxSubmissionConfig(gsubmit.NewConfig(
			gsubmit.WithSubmitTxFunc(func(_ gsubmit.CallbackContext, tx gsubmit.MsgSubmitTxTransaction) error {
				b, ok := tx.Raw.Content.([]byte)
				if !ok || len(b) == 1 || tx.EraId != txEra {
					return errors.New("no")
				}
				got = b
				return nil
			}))))
		client, ctx := localtxsubmission.NewClient(c), testContext(t)
		submit := func(b []byte) error {
			return client.Submit(ctx, txsubmission.AppendTx(nil, txsubmission.Tx{Era: txEra, Bytes: b}))
		}
		require.NoError(t, submit(tx))
		require.Equal(t, tx, got)
		var rejected *localtxsubmission.Rejection
		require.ErrorAs(t, submit([]byte{0}), &rejected)
		require.NotEmpty(t, rejected.Reason)
		require.NoError(t, submit(tx))
	})
}

// ledger answers the one question of the test.
type ledger struct{}

func (ledger) Acquire(_ context.Context, t localstatequery.Target) (localstatequery.State, error) {
	if t.Kind == localstatequery.AtPoint {
		return nil, localstatequery.PointNotOnChain
	}
	return ledger{}, nil
}
func (ledger) Release() {}
func (ledger) Query(_ context.Context, query []byte) ([]byte, error) {
	if string(query) != "\x81\x02" { // chain block number (wire §12.5)
		return nil, errors.New("another question")
	}
	return []byte{0x82, 1, 0x18, 42}, nil
}

func TestLocalStateQuery(t *testing.T) {
	t.Run("they ask", func(t *testing.T) {
		their, ours := serveOurs(t, true, []connmgr.Option{connmgr.Serve(localstatequery.Responder(ledger{}))})
		client := their.LocalStateQuery().Client
		require.NoError(t, client.AcquireVolatileTip())
		n, err := client.GetChainBlockNo()
		require.NoError(t, err)
		require.Equal(t, int64(42), n)
		require.NoError(t, client.AcquireImmutableTip(), "ReAcquire")
		require.NoError(t, client.Release())
		require.NoError(t, ours.Err())
	})
	t.Run("we ask", func(t *testing.T) {
		released := make(chan struct{}, 1)
		c, _ := dialTheirs(t, true, nil, ouroboros.WithLocalStateQueryConfig(gquery.NewConfig(
			gquery.WithAcquireFunc(func(_ gquery.CallbackContext, target gquery.AcquireTarget, _ bool) error { return nil }),
			gquery.WithQueryFunc(func(_ gquery.CallbackContext, q gquery.QueryWrapper) (any, error) { return []any{1, 42}, nil }),
			gquery.WithReleaseFunc(func(gquery.CallbackContext) error { released <- struct{}{}; return nil }),
		)))
		client, ctx := localstatequery.NewClient(c), testContext(t)
		require.NoError(t, client.Acquire(ctx, localstatequery.Target{}))
		got, err := client.Query(ctx, []byte{0x81, 2})
		require.NoError(t, err)
		require.Equal(t, []byte{0x82, 1, 0x18, 42}, got)
		require.NoError(t, client.Release(ctx))
		<-released
		require.NoError(t, client.Acquire(ctx, localstatequery.Target{}))
		// Its server takes a ReAcquire and never answers it, beyond what wire §15 lists.
		soon, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, client.Acquire(soon, localstatequery.Target{}), context.DeadlineExceeded)
	})
	t.Run("we ask for the immutable tip", func(t *testing.T) {
		c, _ := dialTheirs(t, true, nil, ouroboros.WithLocalStateQueryConfig(gquery.NewConfig(
			gquery.WithAcquireFunc(func(gquery.CallbackContext, gquery.AcquireTarget, bool) error { return nil }))))
		client, ctx := localstatequery.NewClient(c), testContext(t)
		// Its server knows the messages for the immutable tip (wire §12.4) but not what to do with them: it hangs up.
		require.Error(t, client.Acquire(ctx, localstatequery.Target{Kind: localstatequery.Immutable}))
	})
}

// pool is a mempool of two transactions.
type pool struct{ txs [][]byte }

func (p pool) Snapshot() localtxmonitor.Snapshot { return p }
func (pool) Slot() uint64                        { return 7 }
func (p pool) Tx(i int) ([]byte, bool) {
	if i >= len(p.txs) {
		return nil, false
	}
	return txsubmission.AppendTx(nil, txsubmission.Tx{Era: txEra, Bytes: p.txs[i]}), true
}
func (p pool) Has(id []byte) bool {
	want, err := identify(txsubmission.AppendTx(nil, txsubmission.Tx{Era: txEra, Bytes: p.txs[0]}))
	return err == nil && string(id) == string(want)
}
func (pool) Sizes() localtxmonitor.Sizes { return localtxmonitor.Sizes{Capacity: 9, Size: 5, Count: 2} }
func (pool) Measures() (uint32, []localtxmonitor.Measure) {
	return 2, []localtxmonitor.Measure{{Name: "transaction_bytes", Size: big.NewInt(5), Capacity: big.NewInt(9)}}
}
func (pool) Wait(ctx context.Context) error { return nil }

// TestLocalTxMonitor: all but HasTx agrees. gouroboros sends a bare hash where the reference wants [era, hash], and knows no measures
// (wire §15).
func TestLocalTxMonitor(t *testing.T) {
	p := pool{[][]byte{makeTx(1), makeTx(2)}}
	t.Run("they ask", func(t *testing.T) {
		their, ours := serveOurs(t, true, []connmgr.Option{connmgr.Serve(localtxmonitor.Responder(p))})
		client := their.LocalTxMonitor().Client
		require.NoError(t, client.Acquire())
		for _, want := range p.txs {
			got, err := client.NextTx()
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		got, err := client.NextTx()
		require.NoError(t, err)
		require.Empty(t, got)
		sum := sha256.Sum256(p.txs[0])
		has, err := client.HasTx(sum[:])
		require.NoError(t, err)
		require.False(t, has, "a bare hash is the id of nothing")
		capacity, size, count, err := client.GetSizes()
		require.NoError(t, err)
		require.Equal(t, []uint32{9, 5, 2}, []uint32{capacity, size, count})
		require.NoError(t, client.Release())
		require.NoError(t, ours.Err())
	})
	t.Run("we ask", func(t *testing.T) {
		c, _ := dialTheirs(t, true, nil, ouroboros.WithLocalTxMonitorConfig(gmonitor.NewConfig(
			gmonitor.WithGetMempoolFunc(func(gmonitor.CallbackContext) (uint64, uint32, []gmonitor.TxAndEraId, error) {
				return 7, 9, nil, nil
			}))))
		client, ctx := localtxmonitor.NewClient(c), testContext(t)
		slot, err := client.Acquire(ctx)
		require.NoError(t, err)
		require.Equal(t, uint64(7), slot)
		tx, err := client.NextTx(ctx)
		require.NoError(t, err)
		require.Nil(t, tx)
		sizes, err := client.Sizes(ctx)
		require.NoError(t, err)
		require.Equal(t, localtxmonitor.Sizes{Capacity: 9}, sizes)
		require.NoError(t, client.Release(ctx))
		require.NoError(t, c.Err())
		_, err = client.Acquire(ctx)
		require.NoError(t, err)
		require.Equal(t, uint16(21), c.Negotiated().Version)
		_, _, err = client.Measures(ctx) // a question that it should know from version 20 on: it hangs up
		require.Error(t, err)
		require.Error(t, c.Wait(ctx))
	})
}
