package chain

import (
	"runtime"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// TestIndexMemory: the index takes what the package says.
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
	before := heap()
	var x index
	for i := range n {
		x.push(entry{slot: uint64(i)})
	}
	perBlock := float64(heap()-before) / n
	t.Logf("%.2f bytes a block", perBlock)
	require.Less(t, perBlock, 65.0)
	require.Equal(t, n, x.n)
	y := x.fork(n - 10)
	require.Less(t, float64(heap()-before)/n, 65.2, "a fork shares all but a page")
	require.Equal(t, n-10, x.common(&y, n))
	runtime.KeepAlive(&x)
	runtime.KeepAlive(&y)
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
