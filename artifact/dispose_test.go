package artifact

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Dispositions wait for company, but not until they are an eighth of the window, or of the provider's table where that is smaller: its
// registers are not free before.
func TestDispositionsShareMessages(t *testing.T) {
	for _, v := range []struct{ slots, window, least int }{{4096, 256, 32}, {64, 256, 8}, {4096, 64, 8}, {65536, 2048, 240}} {
		w := newWorld(t, Config{Slots: 65536, Window: v.window, Kinds: []KindConfig{{ID: 1, MaxSize: 1 << 20}, {ID: 2, MaxSize: 1000}}})
		w.bouncer = func(uint32, ID, []byte) Interest { return NotWanted }
		x := &puppet{t: t, w: w, id: PeerID{1}, epoch: [8]byte{1}, slots: v.slots}
		w.puppets = []*puppet{x}
		x.attach(true)
		x.session()
		offered := uint32(0)
		disposed := func() (n []int) {
			for _, m := range x.controls() {
				n = append(n, len(m.dispose))
			}
			return n
		}
		offer := func() {
			x.offers(offerOf(offered%uint32(v.slots), uint64(offered+1), []byte{byte(offered), byte(offered >> 8)}))
			offered++
		}
		for range v.least - 1 {
			offer()
			w.wait(time.Millisecond)
		}
		require.Empty(t, disposed(), "%+v", v)
		offer()
		require.Equal(t, []int{v.least}, disposed(), "%+v", v)
		offer()
		w.wait(disposeDelay - time.Millisecond)
		require.Empty(t, disposed())
		w.wait(tailGrid + time.Millisecond)
		require.Equal(t, []int{1}, disposed())
		require.False(t, x.closed)
	}
}
