package figures

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSubjects runs everything that is measured once, shortly: what a benchmark measures must at least work.
func TestSubjects(t *testing.T) {
	rows := append(Rows(), Reassembly(5_000))
	for _, r := range rows {
		if r.Name == Reassembly(200_000).Name { // takes gouroboros ten seconds
			r.Subjects = r.Subjects[1:]
		}
		for _, s := range r.Subjects {
			t.Run(r.Name+"/"+s.Name, func(t *testing.T) {
				var m Meter
				require.NoError(t, s.Run(&m, r.Least))
				require.Positive(t, m.took)
			})
		}
	}
}

// TestBounds asserts the figures that are promises rather than speeds, and so do not depend on what else the machine does.
func TestBounds(t *testing.T) {
	costs, err := Idle(200)
	require.NoError(t, err)
	require.Equal(t, "hearth", costs[0].Subject)
	require.LessOrEqual(t, costs[0].Bytes/kib, 24.0, "KiB of an idle connection")
	require.LessOrEqual(t, costs[0].Goroutines, 4.0, "goroutines of an idle connection")

	var m Meter
	const headers = 50_000
	require.NoError(t, ourHeaders(&m, headers))
	require.LessOrEqual(t, float64(m.allocs)/headers, 1.0, "allocations for a header")

	r := Reassembly(200_000)
	best := time.Hour // of a few: others use the machine too
	for range 5 {
		var m Meter
		require.NoError(t, r.Subjects[1].Run(&m, 1))
		best = min(best, m.cpu)
	}
	require.LessOrEqual(t, best, 10*time.Millisecond, "processor time for 200 kB in crumbs")
}
