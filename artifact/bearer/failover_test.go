package bearer

import (
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/mux"
)

// asked is one fetch that the consumer of a pair has sent.
type asked struct {
	supplier int
	at       time.Time
	deadline time.Duration
}

// pair is a consumer on loopback TCP and two suppliers that can be made to answer nothing.
type pair struct {
	t         testing.TB
	consumer  *testNode
	suppliers [2]*testNode
	silent    [2]atomic.Pointer[chan struct{}] // what answers wait for; nil: they go out
	fetches   chan asked
	seed      uint64
}

func isLane(h mux.Header) bool { return h.Number == artifact.NumBulk || h.Number == artifact.NumUrgent }

func newPair(t testing.TB) *pair {
	p := &pair{t: t, fetches: make(chan asked, 4096)}
	at := map[string]int{}
	cfg := Config{RedialMin: 20 * time.Millisecond, RedialMax: 100 * time.Millisecond}
	for i := range p.suppliers {
		ln := listen(t, "127.0.0.1:0", func(c net.Conn) net.Conn {
			return &sduConn{Conn: c, see: func(h mux.Header, _ []byte) {
				if wait := p.silent[i].Load(); wait != nil && isLane(h) && h.From == mux.Responder {
					<-*wait
				}
			}}
		})
		p.suppliers[i] = newTestNode(t, byte(i+2), artifact.Config{}, Config{Listener: ln}, twoKinds()...)
		at[p.suppliers[i].at] = i
		cfg.Peers = append(cfg.Peers, p.suppliers[i].at)
	}
	cfg.Dial = wrappedDial(func(c net.Conn) net.Conn {
		i := at[c.RemoteAddr().String()]
		return &sduConn{Conn: c, see: func(h mux.Header, b []byte) {
			if isLane(h) && h.From == mux.Initiator && len(b) > 40 {
				p.fetches <- asked{i, time.Now(), deadlineOf(b)}
			}
		}}
	})
	p.consumer = newTestNode(t, 1, artifact.Config{}, cfg, twoKinds()...)
	p.settle()
	return p
}

// deadlineOf reads the last item of the last fetch in an SDU, which is its deadline in ms.
func deadlineOf(b []byte) time.Duration {
	if b[len(b)-3] == 0x19 {
		return time.Duration(binary.BigEndian.Uint16(b[len(b)-2:])) * time.Millisecond
	}
	return time.Duration(b[len(b)-1]) * time.Millisecond
}

func (p *pair) settle() {
	p.consumer.up(p.t, 2, 4)
}

// fall makes one supplier silent after it was asked for a body that the other holds too, and returns that fetch and the next one after
// act, to whoever that goes.
func (p *pair) fall(class artifact.Class, act func(x *testNode)) (first, next asked, acted time.Time) {
	p.seed++
	b := body(p.seed, 3000)
	b[len(b)-1] = byte(class)
	gate := make(chan struct{})
	i := int(p.seed) % 2
	x, y := p.suppliers[i], p.suppliers[1-i]
	p.silent[i].Store(&gate)
	for len(p.fetches) > 0 {
		<-p.fetches
	}
	offers := p.consumer.Counters().OffersReceived
	id, err := x.hs[advertKind].Publish(b, class)
	require.NoError(p.t, err)
	first = <-p.fetches
	require.Equal(p.t, i, first.supplier)
	_, err = y.hs[advertKind].Publish(b, class)
	require.NoError(p.t, err)
	until(p.t, func() bool { return p.consumer.Counters().OffersReceived >= offers+2 }, "both offers")
	acted = time.Now()
	act(x)
	next = <-p.fetches
	until(p.t, func() bool { return p.consumer.k.has(id) != nil }, "the body")
	p.silent[i].Store(nil)
	close(gate)
	p.settle()
	for _, n := range []*testNode{p.consumer, x, y} {
		n.k.forget(id)
		n.hs[advertKind].Abort(id)
	}
	return first, next, acted
}

func (p *pair) close() {
	for _, n := range []*testNode{p.consumer, p.suppliers[0], p.suppliers[1]} {
		require.NoError(p.t, n.net.Close())
		require.NoError(p.t, n.Node.Close())
		require.Zero(p.t, n.Counters().Violations)
	}
}

// quantile of durations, which it sorts.
func quantile(ds []time.Duration, q float64) time.Duration {
	slices.Sort(ds)
	return ds[min(len(ds)-1, int(q*float64(len(ds))))]
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// BenchmarkFailOver: how soon a body is asked of another supplier when the first fails (artifact §9). It fails above the marks, which
// hold for the median, so that another process's time slice does not decide.
func BenchmarkFailOver(b *testing.B) {
	run := func(name string, class artifact.Class, act func(x *testNode), over func(first, next asked, acted time.Time) (took, mark time.Duration)) {
		b.Run(name, func(b *testing.B) {
			p := newPair(b)
			other := 0
			for range 5 { // what the deadlines are measured from
				p.fall(class, func(x *testNode) { x.cut(func(artifact.PeerID) bool { return true }) })
			}
			var took []time.Duration
			mark := time.Duration(0)
			b.ResetTimer()
			for range max(b.N, 5) {
				first, next, acted := p.fall(class, act)
				d, m := over(first, next, acted)
				took, mark = append(took, d), m
				if next.supplier != first.supplier {
					other++
				}
			}
			b.StopTimer()
			p.close()
			median := quantile(took, 0.5)
			b.ReportMetric(ms(median), "ms-p50")
			b.ReportMetric(ms(quantile(took, 0.95)), "ms-p95")
			b.ReportMetric(float64(other)/float64(len(took)), "other-supplier")
			b.ReportMetric(0, "ns/op")
			if median > mark {
				b.Errorf("median %v, mark %v", median, mark)
			}
		})
	}
	closed := func(_, next asked, acted time.Time) (took, mark time.Duration) {
		return next.at.Sub(acted), 10 * time.Millisecond
	}
	run("main bearer closed", artifact.Normal, func(x *testNode) { x.cut(func(artifact.PeerID) bool { return true }) }, closed)
	run("bulk bearers closed", artifact.Normal, func(x *testNode) {
		x.net.mu.Lock()
		defer x.net.mu.Unlock()
		for _, k := range x.net.bulks {
			k.close(errors.New("cut by the test"))
		}
	}, closed)
	run("silent, urgent", artifact.Urgent, func(*testNode) {}, func(first, next asked, _ time.Time) (took, mark time.Duration) {
		return next.at.Sub(first.at), 250 * time.Millisecond
	})
	run("silent, normal", artifact.Normal, func(*testNode) {}, func(first, next asked, _ time.Time) (took, mark time.Duration) {
		return next.at.Sub(first.at) - first.deadline, 10 * time.Millisecond // beyond the deadline it was given
	})
}
