package artifact

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Receive check: what is validated, or was found invalid, is not fetched again; what was purged is, if it is wanted.
func TestReceiveCheck(t *testing.T) {
	w := smallWorld(t)
	x, y := w.peer(true, true), w.peer(true, true)
	e := offerOf(0, 1, []byte("x"))
	x.offers(e)
	x.serve(BulkOut, x.fetches(BulkOut)[0], []byte("x"))
	w.accept()
	y.offers(e)
	require.Equal(t, Have, y.verdicts()[0])
	w.core.Remove(w.now, e.id)
	w.settle()
	w.bouncer = func(uint32, ID, []byte) Interest { return NotWanted }
	y.offers(offerOf(1, 2, []byte("x")))
	require.Equal(t, Unwanted, y.verdicts()[1])
	w.bouncer = func(uint32, ID, []byte) Interest { return Wants(Normal) }
	y.offers(offerOf(2, 3, []byte("x")))
	require.Len(t, y.fetches(BulkOut), 1)
}

// Named after the receiver tests of artifact §7.1.
func TestTwoPeersAdvertiseTheSame(t *testing.T) {
	w := smallWorld(t)
	x, y := w.peer(true, true), w.peer(true, true)
	x.offers(offerOf(0, 1, []byte("x")), offerOf(1, 2, []byte("x"))) // twice, in two slots
	y.offers(offerOf(5, 1, []byte("x")))
	require.Len(t, w.core.con.downs, 1)
	require.Equal(t, 1, len(x.fetches(BulkOut))+len(y.fetches(BulkOut)))
	x.offers(entry{tag: entryWithdraw, slot: 0})
	require.Len(t, w.core.con.downs, 1, "the other slot still shows it")
	x.offers(entry{tag: entryWithdraw, slot: 1})
	require.Len(t, y.fetches(BulkOut), 1)
	y.offers(entry{tag: entryWithdraw, slot: 5})
	require.Empty(t, w.core.con.downs, "nobody has it any more")
}

func TestOverwriteSlot(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	x.offers(offerOf(0, 1, []byte("x")))
	x.offers(offerOf(0, 2, []byte("y")))
	require.Len(t, w.core.con.downs, 1)
	require.NotNil(t, w.core.con.downs[BodyID(1, []byte("y"))])
	require.Len(t, x.p.con.held, 1)
}

func TestPeerLeavesWhileItsBodyIsJudged(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	x.offers(offerOf(0, 1, []byte("x")))
	x.serve(BulkOut, x.fetches(BulkOut)[0], []byte("x"))
	w.core.RemovePeer(w.now, x.id)
	w.settle()
	w.accept()
	require.NotNil(t, w.core.Get(BodyID(1, []byte("x"))))
	require.Zero(t, w.core.con.quota.total)
}

func TestPartialDownloadsKeepTheirChunksForAMinute(t *testing.T) {
	for _, wait := range []time.Duration{50 * time.Second, 70 * time.Second} {
		w := smallWorld(t)
		x := w.peer(true, true)
		body := randomBody(rand.New(rand.NewPCG(1, 1)), 20*4096, Normal)
		x.offers(offerOf(0, 1, body))
		m := x.fetches(BulkOut)[0]
		i := m.chunks[0].first
		x.send(BulkOut, append(appendPieceHead(nil, tagChunk, m.id, i, 4096), body[i*4096:(i+1)*4096]...))
		w.core.RemovePeer(w.now, x.id)
		w.settle()
		w.wait(wait)
		y := w.peer(true, true)
		y.p.net.window = 1 << 20
		y.offers(offerOf(0, 1, body))
		asked := map[uint64]bool{}
		for range 50 {
			for _, m := range y.fetches(BulkOut) {
				for _, sp := range m.chunks {
					for j := range sp.count {
						asked[sp.first+j] = true
					}
				}
				y.serve(BulkOut, m, body)
			}
		}
		require.Equal(t, wait > time.Minute, asked[i], "after %v", wait)
		w.accept()
		require.Equal(t, Delivered, y.verdicts()[0])
	}
}
