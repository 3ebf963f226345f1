package bearer

import (
	"math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/mux"
)

// soak reports whether the long versions were asked for.
func soak() bool { return os.Getenv("HEARTH_SOAK") == "1" }

// times is n, or many times that in the long version.
func times(n, long int) int {
	if soak() {
		return long
	}
	return n
}

const (
	treeKind = iota
	advertKind
)

// twoKinds have a body's last byte as attr, which keeper takes for the class.
func twoKinds() []artifact.Kind[[]byte] {
	last := func(b []byte) []byte { return b[len(b)-1:] }
	return []artifact.Kind[[]byte]{
		treeKind:   {ID: 7, MaxSize: 1 << 20, Attr: last},
		advertKind: {ID: 8, MaxSize: 1 << 20, Push: artifact.None, Attr: last},
	}
}

// redundancy is two views of the same: bodies received whole for each that was needed, and bytes of bodies received for each that was
// needed; and all bytes received on artifact mini-protocols for each of the payload. again is what was asked for again because a
// deadline of at least 250 ms had passed, for each that was needed: on a machine that is busy with other things bodies come twice for
// that.
type redundancy struct{ bodies, bytes, wire, again float64 }

// copies is the worse of both views.
func (r redundancy) copies() float64 { return max(r.bodies, r.bytes) }

// copiesOf spreads bodies of a size and measures that.
func (ns swarm) copiesOf(t testing.TB, tag uint64, kind, size, count, ahead int, class artifact.Class) redundancy {
	before := ns.traffic()
	ns.spread(t, tag, kind, size, count, ahead, class)
	after := ns.traffic()
	need := float64((swarmSize - 1) * count)
	payload := need * float64(size)
	return redundancy{float64(after.bodies-before.bodies) / need, float64(after.bytes-before.bytes) / payload,
		float64(after.wire-before.wire) / payload, float64(after.count.Timeouts-before.count.Timeouts) / need}
}

// TestBodyCopies: the marks of artifact §9 for redundancy, on loopback TCP. What is counted hardly depends on how fast the machine is,
// except that a small body which is not pushed within the grace of 2 … 100 ms is fetched beside its push: those are spread a few at a
// time. With the windows full see BenchmarkSwarm.
func TestBodyCopies(t *testing.T) {
	if raceEnabled {
		t.Skip("skipped: under the race detector pushes are late; TestNothingIsLost and TestGoroutines do the same there")
	}
	ns := newSwarm(t, swarmConfig{kinds: twoKinds()})
	defer ns.close(t)
	check := func(what string, got, mark, again float64) {
		t.Helper()
		t.Logf("%-28s %.4f (mark %.2f), asked again %.4f", what, got, mark, again)
		require.LessOrEqual(t, got, mark+again, what)
	}
	r := ns.copiesOf(t, 1, treeKind, 256, 500, 4, artifact.Normal)
	check("256 B, the first 500: copies", r.bodies, 1.5, r.again)
	r = ns.copiesOf(t, 2, treeKind, 256, times(200, 20000), 4, artifact.Normal)
	check("256 B: copies", r.bodies, 1.15, r.again)
	check("256 B: bytes", r.wire, 3.0, r.again)
	r = ns.copiesOf(t, 3, treeKind, 1024, times(100, 20000), 4, artifact.Normal)
	check("1 KiB: copies", r.bodies, 1.15, r.again)
	check("1 KiB: bytes", r.wire, 1.7, r.again)
	for i, size := range []int{1025, 16 << 10, 64 << 10} {
		r = ns.copiesOf(t, 4+uint64(i), treeKind, size, times(48, 3000), 48, artifact.Normal)
		check("above 1 KiB: copies", r.copies(), 1.01, r.again)
		if size == 16<<10 {
			check("16 KiB: bytes", r.wire, 1.06, r.again)
		}
	}
	r = ns.copiesOf(t, 9, treeKind, 1<<20, times(8, 500), 8, artifact.Bulk)
	check("1 MiB: copies", r.copies(), 1.01, r.again)
	check("1 MiB: bytes", r.wire, 1.02, r.again)

	before := ns.traffic()
	ns.spread(t, 10, advertKind, 256, times(100, 10000), 16, artifact.Normal)
	after := ns.traffic()
	twice := after.bodies - before.bodies - uint64((swarmSize-1)*times(100, 10000))
	t.Logf("adverts only: %d duplicates", twice)
	// A body comes twice only if its first supplier let the deadline pass, which on a busy machine may happen.
	require.LessOrEqual(t, twice, after.count.Timeouts-before.count.Timeouts, "adverts only: exactly one")

	for i, size := range []int{64, 1 << 10} {
		r = ns.copiesOf(t, 11+uint64(i), treeKind, size, times(60, 5000), 16, artifact.Urgent)
		check("urgent, up to 1 KiB: copies", r.bodies, min(swarmDegree, 8), r.again)
	}
	for i, size := range []int{1025, 8 << 10, 16 << 10} {
		r = ns.copiesOf(t, 13+uint64(i), treeKind, size, times(30, 3000), 16, artifact.Urgent)
		check("urgent, up to 16 KiB: copies", r.bodies, 4, r.again)
	}
}

// TestCopiesBesideLiars: a quarter of the suppliers answer with spoilt chunks. Each is found out at its first chunk and banned at its
// third; bodies above 1 KiB cost at most 1.10 copies, and reach everybody.
func TestCopiesBesideLiars(t *testing.T) {
	var spoilt atomic.Int64
	liar := func(i int) bool { return i%4 == 3 }
	ns := newSwarm(t, swarmConfig{kinds: twoKinds(), wrap: func(i int, c net.Conn) net.Conn {
		if !liar(i) {
			return c
		}
		return &sduConn{Conn: c, see: func(h mux.Header, p []byte) {
			if h.From == mux.Responder && (h.Number == artifact.NumBulk || h.Number == artifact.NumUrgent) && len(p) > 200 {
				p[100] ^= 1 // behind the head of a chunk, before its fetchDone
				spoilt.Add(1)
			}
		}}
	}})
	// Only the honest publish: what a liar alone has nobody can get.
	var honest swarm
	for i, n := range ns {
		if !liar(i) {
			honest = append(honest, n)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for round, size := range []int{3000, 16 << 10, 64 << 10, 200 << 10, 1 << 20} {
		count := times(120, 600)
		if size > 100<<10 {
			count = times(12, 200)
		}
		before := honest.traffic()
		var ids []artifact.ID
		for i := range count {
			b := body(rnd.Uint64(), size)
			ids = append(ids, honest[i%len(honest)].publish(t, b, artifact.Class(1+i%2)))
		}
		honest.await(t, ids)
		after := honest.traffic()
		payload := float64(size * (len(honest) - 1) * count)
		copies := float64(after.bytes-before.bytes) / payload
		again := float64(after.count.Timeouts-before.count.Timeouts) * float64(min(size, artifact.DefaultChunkSize)) / payload
		t.Logf("round %d, %d bytes: %.4f copies, %.4f asked again, %d SDUs spoilt so far", round, size, copies, again, spoilt.Load())
		require.LessOrEqual(t, copies, 1.10+again)
		for _, n := range honest {
			for _, id := range ids {
				n.h.Abort(id)
			}
		}
	}
	require.Positive(t, spoilt.Load())
	bans := 0
	for _, n := range ns {
		require.NoError(t, n.net.Close())
		require.NoError(t, n.Node.Close())
		if n.bans > 0 {
			bans++
		}
	}
	t.Logf("%d nodes banned somebody", bans)
	for _, n := range honest {
		require.Zero(t, n.Counters().Violations, "plain TCP: nobody is certainly to blame")
	}
	require.Positive(t, bans)
}
