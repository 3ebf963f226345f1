package main

import (
	"context"
	"io"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/examples/internal/page"
)

// longEnough is the length of a run whose thirds can be compared.
const longEnough = 20 * time.Minute

// TestSoak: twelve nodes under chaos for half an hour, or for as long as HEARTH_SOAK says, lose nothing, and neither memory nor
// goroutines nor descriptors grow: the medians of the first and of the last third are within 5 % of each other, or 2 MiB of heap and ten of the
// others. Samples are taken while no node is down, from when as much is open as ever will be, always at the same time after a block. A run of
// less than 20 minutes shows only that nothing is lost.
func TestSoak(t *testing.T) {
	length := 30 * time.Minute
	switch v := os.Getenv("HEARTH_SOAK"); v {
	case "":
		t.Skip("HEARTH_SOAK is not set")
	case "1":
	default:
		var err error
		length, err = time.ParseDuration(v)
		require.NoError(t, err)
	}
	n, err := newNetwork(config{nodes: 12, seed: uint64(time.Now().UnixNano()), duration: length, chaos: true}, t.TempDir())
	require.NoError(t, err)
	t.Logf("seed %d", n.c.seed)
	ctx, cancel := context.WithCancel(context.Background())
	done, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		done <- n.run(ctx, nil, newReport(io.Discard, n.c))
	}()
	defer func() { cancel(); <-ended }()

	said := map[string]int{}
	last := uint64(0)
	var heap, goroutines, descriptors []int
	every := max(length/900, time.Second).Truncate(generatedEvery)
	next := func() <-chan time.Time { // shortly before a block: the one before has been everywhere
		at := time.Since(n.began).Truncate(every) + every + generatedEvery*9/10
		return time.After(time.Until(n.began.Add(at)))
	}
	tick := next()
	for running := true; running; {
		select {
		case err := <-done:
			require.NoError(t, err)
			running = false
		case <-tick:
			tick = next()
			for _, e := range n.Log(last, page.KeptEvents) {
				last = e.Number
				said[e.Name]++
				require.NotEqual(t, "artifacts: peer banned", e.Name, e.Detail)
				if e.Name == "artifacts: peer blamed" {
					t.Logf("node %d blames %v: %s", e.Node, e.Peers, e.Detail)
				}
			}
			if n.down() > 0 || n.over() || time.Since(n.began) < 2*recent && length >= longEnough {
				continue // until then what is open grows to its bound
			}
			runtime.GC()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			files, err := os.ReadDir("/proc/self/fd")
			require.NoError(t, err)
			heap = append(heap, int(m.HeapInuse))
			goroutines = append(goroutines, runtime.NumGoroutine())
			descriptors = append(descriptors, len(files))
			s := n.state()
			t.Logf("%4.0f s: heap %.1f MiB, %d goroutines, %d descriptors; %d blocks, %d transactions (%d open), %d artifacts (%d open)", time.Since(n.began).Seconds(),
				float64(m.HeapInuse)/(1<<20), runtime.NumGoroutine(), len(files), s.blocks, s.txs, s.openTxs, s.artifacts, s.openArtifacts)
		}
	}
	t.Log(said)
	require.NotEmpty(t, heap)
	if length < longEnough {
		t.Log("too short to compare")
		return
	}
	flat := func(what string, samples []int, slack int) {
		third := len(samples) / 3
		median := func(part []int) int { s := slices.Sorted(slices.Values(part)); return s[len(s)/2] }
		first, last := median(samples[:third]), median(samples[len(samples)-third:])
		t.Logf("%s: median of the first third %d, of the last %d (%+.1f %%), of %d samples", what, first, last, 100*float64(last-first)/float64(first), len(samples))
		assert.LessOrEqual(t, max(last-first, first-last), max(first/20, slack), what)
	}
	flat("heap in use", heap, 2<<20)
	flat("goroutines", goroutines, 10)
	flat("descriptors", descriptors, 10)
}
