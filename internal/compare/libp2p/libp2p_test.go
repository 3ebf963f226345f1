package libp2p

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestDelivery: every body, byte for byte, at every node once, in both swarms: what is measured must at least be right.
func TestDelivery(t *testing.T) {
	for _, im := range implementations {
		t.Run(im.name, func(t *testing.T) {
			l, err := newLoad(im)
			require.NoError(t, err)
			l.exact = true
			small, large := l.newFlow(0, 256, 64, false, false), l.newFlow(1, bulkSize, 4, true, true)
			for i := range 128 {
				require.NoError(t, small.send(i%nodes))
				if i%16 == 0 {
					require.NoError(t, large.send(i/16))
				}
			}
			require.NoError(t, small.drain())
			require.NoError(t, large.drain())
			require.EqualValues(t, 128*(nodes-1), small.arrived.Load())
			require.EqualValues(t, 8*(nodes-1), large.arrived.Load())
			require.Len(t, large.took, 8*(nodes-1))
			bytes, bodies := l.s.received()
			require.GreaterOrEqual(t, bodies, uint64((128+8)*(nodes-1)))
			require.Greater(t, bytes, uint64(8*(nodes-1)*bulkSize))
			require.NoError(t, l.close())
		})
	}
}

// TestWrongDeliveries: the load notices what a swarm should not do.
func TestWrongDeliveries(t *testing.T) {
	l := &load{}
	f := l.newFlow(0, 64, 1, false, false)
	p := &f.places[<-f.free]
	p.set = make(chan struct{})
	close(p.set)
	p.id, p.body = id{1}, make([]byte, 64)
	p.left.Store(nodes - 1)
	p.seen.Store(1)
	l.exact = true
	body := make([]byte, 64)
	require.NoError(t, l.take(delivery{node: 1, id: id{1}, body: body}))
	require.ErrorContains(t, l.take(delivery{node: 1, id: id{1}, body: body}), "twice")
	require.ErrorContains(t, l.take(delivery{node: 0, id: id{1}, body: body}), "twice", "its publisher")
	require.ErrorContains(t, l.take(delivery{node: 2, id: id{2}, body: body}), "with the id")
	require.ErrorContains(t, l.take(delivery{node: 2, id: id{1}, body: body[:63]}), "nobody has published")
	spoilt := append([]byte(nil), body...)
	spoilt[63]++
	require.ErrorContains(t, l.take(delivery{node: 2, id: id{1}, body: spoilt}), "another body")
}

// TestRows runs everything that is measured once, shortly.
func TestRows(t *testing.T) {
	for _, r := range Rows() {
		t.Run(r.Name, func(t *testing.T) {
			lines, err := Measure(r, 1, 400*time.Millisecond)
			require.NoError(t, err)
			require.Len(t, lines, 2)
			for _, l := range lines {
				require.Positive(t, l.Rate, l.Subject)
			}
			require.NoError(t, Print(testWriter{t}, r, lines))
		})
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(string(p))
	return len(p), nil
}
