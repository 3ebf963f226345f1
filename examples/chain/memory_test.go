package chain

import (
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// TestIndexMemory: the index takes what the package says, and next to nothing where it has a file.
func TestIndexMemory(t *testing.T) {
	require.EqualValues(t, EntryBytes, unsafe.Sizeof(entry{}))
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const n = 500_000
	for _, c := range []struct {
		file       *pageFile
		most, fork float64
	}{{nil, 64.8, 65.0}, {&pageFile{path: filepath.Join(t.TempDir(), indexName)}, 0.8, 1.0}} {
		before := heap()
		x := index{file: c.file}
		for i := range n {
			x.push(entry{slot: uint64(i)})
		}
		perBlock := float64(heap()-before) / n
		t.Logf("%.2f bytes a block", perBlock)
		require.Less(t, perBlock, c.most)
		require.Equal(t, n, x.n)
		y, err := x.fork(n - 100)
		require.NoError(t, err)
		require.Less(t, float64(heap()-before)/n, c.fork, "a fork shares all but a page")
		same, err := x.common(&y, n)
		require.NoError(t, err)
		require.Equal(t, n-100, same)
		runtime.KeepAlive(&x)
		runtime.KeepAlive(&y)
		require.NoError(t, c.file.close())
	}
}

// TestReadsAllocateNothing: not a byte a block, be it header or block, by index, cursor or range.
func TestReadsAllocateNothing(t *testing.T) {
	a := openArchive(t, generated(t, 1, 300))
	buf := make([]byte, 0, 200_000)
	i := 0
	require.Zero(t, testing.AllocsPerRun(200, func() {
		var err error
		if buf, err = a.AppendHeader(buf[:0], i); err != nil {
			t.Fatal(err)
		}
		if buf, err = a.AppendBlock(buf[:0], i); err != nil {
			t.Fatal(err)
		}
		i++
	}))
	c := a.Cursor(Headers)
	for range 50 {
		if _, err := c.Next(); err != nil {
			t.Fatal(err)
		}
	}
	require.Zero(t, testing.AllocsPerRun(200, func() {
		if ev, err := c.Next(); err != nil || ev.Kind != Forward {
			t.Fatal(ev.Kind, err)
		}
	}))
	m := NewMemory()
	grow(t, m, 1, 300)
	c = m.Cursor(Blocks)
	for range 50 {
		if _, err := c.Next(); err != nil {
			t.Fatal(err)
		}
	}
	require.Zero(t, testing.AllocsPerRun(200, func() {
		if ev, err := c.Next(); err != nil || ev.Kind != Forward {
			t.Fatal(ev.Kind, err)
		}
	}))
}

// TestOpeningAllocatesNothingABlock: a node that is started again, and again, costs no more the longer its chain is, but for pages of the index.
func TestOpeningAllocatesNothingABlock(t *testing.T) {
	allocs := func(blocks int) float64 {
		dir := t.TempDir()
		c := openChain(t, Config{Dir: dir})
		grow(t, c, 1, blocks)
		require.NoError(t, c.Close())
		return testing.AllocsPerRun(5, func() {
			c, err := New(Config{Dir: dir})
			require.NoError(t, err)
			require.NoError(t, c.Close())
		})
	}
	const more = 10 * pageEntries
	short, long := allocs(pageEntries), allocs(pageEntries+more)
	t.Logf("%.0f and %.0f allocations", short, long)
	require.Less(t, long-short, float64(more/10))
}
