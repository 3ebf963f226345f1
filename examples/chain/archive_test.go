package chain

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/hearthnet/hearth/internal/testdata"
	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/protocols/chainsync"
)

// items yields the stored items of a view.
func items(t testing.TB, v *View) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		var buf []byte
		for i := range v.Len() {
			var err error
			buf, err = v.AppendItem(buf[:0], i)
			require.NoError(t, err)
			if !yield(buf) {
				return
			}
		}
	}
}

func openArchive(t testing.TB, dir string) *Archive {
	t.Helper()
	a, err := Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	return a
}

// copyDir copies the files with the suffix.
func copyDir(t testing.TB, from, suffix string) string {
	t.Helper()
	dir := t.TempDir()
	list, err := os.ReadDir(from)
	require.NoError(t, err)
	for _, f := range list {
		if strings.HasSuffix(f.Name(), suffix) {
			b, err := os.ReadFile(filepath.Join(from, f.Name()))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, f.Name()), b, 0o666))
		}
	}
	return dir
}

// checkView reads every block in every form and compares them with each other and with the index.
func checkView(t testing.TB, v *View) {
	t.Helper()
	var item, block, header []byte
	for i := range v.Len() {
		var err error
		item, err = v.AppendItem(item[:0], i)
		require.NoError(t, err)
		block, err = v.AppendBlock(block[:0], i)
		require.NoError(t, err)
		header, err = v.AppendHeader(header[:0], i)
		require.NoError(t, err)
		blk, err := ParseBlock(item)
		require.NoError(t, err)
		require.True(t, blk.Wrapped)
		info := v.At(i)
		require.Equal(t, Info{blk.Point(), blk.Number, blk.Era, len(item), len(blk.Bytes)}, info)
		require.Equal(t, AppendBlockPayload(nil, item), block)
		h, err := ParseHeaderPayload(header)
		require.NoError(t, err)
		require.Equal(t, blk.Header, h)
		at, ok := v.Find(info.Point)
		require.True(t, ok)
		require.Equal(t, i, at)
	}
}

func TestOpenRealChains(t *testing.T) {
	for _, c := range []struct {
		folder      string
		blocks      int
		first, last uint64
		hash        string
		number      uint64
	}{
		{"preview-immutable", 3024, 0, 60460, "68ad59a9e1f0c8fca9244ac221889e5f3171683afd68afcfa39fcd11749fcd40", 3023},
		{"preview-immutable-later", 442, 604804, 613430, "ff89ba1806e1ad6efc69d05e18fbedc451ba40713a68a984ccbae307411be8a0", 30607},
		{"preprod-babbage", 913, 39657629, 39679163, "53af88680ff3380814fdddc148caa1c6dbb89e5a30a5f6a439ee313424a14c55", 1406017},
	} {
		from := testdata.Path(t, "chain", c.folder)
		indexed := openArchive(t, from)
		require.Equal(t, c.blocks, indexed.Len())
		require.Equal(t, c.first, indexed.At(0).Point.Slot)
		require.Equal(t, fmt.Sprintf("%d.%s", c.last, c.hash), indexed.Tip().Point.String())
		require.Equal(t, c.number, indexed.Tip().Block)
		checkView(t, &indexed.View)

		scanned := openArchive(t, copyDir(t, from, ".chunk"))
		require.Equal(t, indexed.idx, scanned.idx, "a scan finds what the index says")

		// Single files, some of them bare, are the same chain.
		dir := t.TempDir()
		n := 0
		_, err := WriteFiles(dir, func(yield func([]byte) bool) {
			for item := range items(t, &indexed.View) {
				if n++; n > 200 || !yield(item) {
					return
				}
			}
		})
		require.NoError(t, err)
		list, err := os.ReadDir(dir)
		require.NoError(t, err)
		for i, f := range list {
			if name := filepath.Join(dir, f.Name()); i%3 == 0 {
				b, err := os.ReadFile(name)
				require.NoError(t, err)
				blk, err := ParseBlock(b)
				require.NoError(t, err)
				if bare, err := ParseBlock(blk.Raw); err == nil && bare.Era == blk.Era {
					require.NoError(t, os.WriteFile(name, blk.Raw, 0o666))
				}
			}
		}
		single := openArchive(t, dir)
		require.Equal(t, min(200, c.blocks), single.Len())
		checkView(t, &single.View)
		same, err := single.idx.common(&indexed.idx, single.Len())
		require.NoError(t, err)
		require.Equal(t, single.Len(), same)
	}
}

// TestChunkWriter writes real chunks again: all three files come out as they were.
func TestChunkWriter(t *testing.T) {
	for folder, slots := range map[string]uint64{"preview-immutable": 4320, "preview-immutable-later": 4320, "preprod-babbage": 21600} {
		from := testdata.Path(t, "chain", folder)
		a := openArchive(t, from)
		dir := t.TempDir()
		n, err := WriteChunks(dir, slots, items(t, &a.View))
		require.NoError(t, err)
		require.Equal(t, a.Len(), n)
		list, err := os.ReadDir(from)
		require.NoError(t, err)
		for _, f := range list {
			want, err := os.ReadFile(filepath.Join(from, f.Name()))
			require.NoError(t, err)
			got, err := os.ReadFile(filepath.Join(dir, f.Name()))
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got), f.Name())
		}
	}
}

func TestOpenByronFiles(t *testing.T) {
	dir := t.TempDir()
	name := "byron_ebb_testnet_8f8602837f7c6f8b8867dd1cbc1842cf51a27eaed2c70ef48325d00f8efb320f.cbor"
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), testdata.Read(t, "vectors", "chain-sync", name), 0o666))
	next := "byron_main_block_testnet_f38aa5e8cf0b47d1ffa8b2385aa2d43882282db2ffd5ac0e3dadec1a6f2ecf08.cbor"
	a := openArchive(t, dir)
	checkView(t, &a.View)
	require.Equal(t, ByronBoundary, a.At(0).Era)
	require.Equal(t, 648087, a.At(0).Size)

	require.NoError(t, os.WriteFile(filepath.Join(dir, next), testdata.Read(t, "vectors", "chain-sync", next), 0o666))
	_, err := Open(dir)
	var link *LinkError
	require.ErrorAs(t, err, &link)
	require.Contains(t, err.Error(), "predecessor")
}

// generated writes n generated blocks as chunk files of a few blocks each.
func generated(t testing.TB, seed uint64, n int) string {
	dir := t.TempDir()
	got, err := WriteChunks(dir, 500, Generate(seed, n))
	require.NoError(t, err)
	require.Equal(t, n, got)
	return dir
}

func TestOpenGenerated(t *testing.T) {
	dir := generated(t, 1, 600)
	a := openArchive(t, dir)
	require.Equal(t, 600, a.Len())
	checkView(t, &a.View)
	i := 0
	for item := range Generate(1, 600) {
		got, err := a.AppendItem(nil, i)
		require.NoError(t, err)
		require.Equal(t, item, got)
		i++
	}
}

// TestOpenDamaged: wrong indexes are rebuilt, wrong chains refused with the place.
func TestOpenDamaged(t *testing.T) {
	whole := openArchive(t, generated(t, 1, 120))
	chunk := func(dir string, kind string) string {
		list, err := filepath.Glob(filepath.Join(dir, "*."+kind))
		require.NoError(t, err)
		require.Greater(t, len(list), 2)
		return list[len(list)-1]
	}
	edit := func(name string, f func(b []byte) []byte) {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(name, f(b), 0o666))
	}

	for name, f := range map[string]func(b []byte) []byte{
		"half an entry": func(b []byte) []byte { return b[:len(b)-20] },
		"empty":         func(b []byte) []byte { return nil },
		"entry missing": func(b []byte) []byte { return b[:len(b)-56] },
		"offset":        func(b []byte) []byte { b[56+7]++; return b },
		"huge offset":   func(b []byte) []byte { b[56]++; return b },
		"first offset":  func(b []byte) []byte { b[7]++; return b },
		"header offset": func(b []byte) []byte { b[9]++; return b },
		"header size":   func(b []byte) []byte { b[11]++; return b },
		"last checksum": func(b []byte) []byte { b[len(b)-56+12]++; return b },
		"hash":          func(b []byte) []byte { b[20]++; return b },
		"slot":          func(b []byte) []byte { b[55]++; return b },
	} {
		dir := generated(t, 1, 120)
		edit(chunk(dir, "secondary"), f)
		got := openArchive(t, dir)
		require.Equal(t, whole.idx, got.idx, name)
	}

	// Damage behind a header is seen by a scan only: the index is in use.
	dir := generated(t, 1, 120)
	e, err := whole.idx.at(118)
	require.NoError(t, err)
	require.NotZero(t, e.offset)
	edit(chunk(dir, "chunk"), func(b []byte) []byte {
		b[int(e.offset)+int(e.headerOffset)+int(e.headerLen)] = 0x1f
		return b
	})
	require.Equal(t, whole.idx, openArchive(t, dir).idx)
	require.NoError(t, os.Remove(chunk(dir, "secondary")))
	_, err = Open(dir)
	require.ErrorContains(t, err, "indefinite length where there is no length")

	// The last block is cut off, with and without an index.
	for _, kind := range []string{"", "secondary"} {
		dir := generated(t, 1, 120)
		name := chunk(dir, "chunk")
		edit(name, func(b []byte) []byte { return b[:len(b)-3] })
		if kind != "" {
			require.NoError(t, os.Remove(chunk(dir, kind)))
		}
		_, err := Open(dir)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		var fe *FileError
		require.ErrorAs(t, err, &fe)
		require.Equal(t, name, fe.File)
		e, at := whole.idx.at(119)
		require.NoError(t, at)
		require.EqualValues(t, e.offset, fe.Offset)
		require.Contains(t, err.Error(), fmt.Sprintf("at offset %d: block is cut off by the end of the file", e.offset))
	}

	// A chunk is missing: the gap names both blocks.
	dir = generated(t, 1, 120)
	list, err := filepath.Glob(filepath.Join(dir, "*.chunk"))
	require.NoError(t, err)
	require.NoError(t, os.Remove(list[1]))
	_, err = Open(dir)
	var link *LinkError
	require.ErrorAs(t, err, &link)
	before, ok := whole.Find(link.Previous)
	require.True(t, ok)
	after, ok := whole.Find(link.Block)
	require.True(t, ok)
	require.Greater(t, after, before+1)
	require.Contains(t, err.Error(), fmt.Sprintf("%x", link.Previous.Hash))
	require.Contains(t, err.Error(), fmt.Sprintf("%x", link.Names))
	require.Contains(t, err.Error(), list[2])

	// Rubbish between blocks.
	dir = generated(t, 1, 120)
	name := chunk(dir, "chunk")
	edit(name, func(b []byte) []byte { return append(b, 0xff) })
	_, err = Open(dir)
	require.ErrorContains(t, err, "break code")

	// Bare blocks belong into files of their own.
	dir = t.TempDir()
	blk, err := ParseBlock(NewGenerator(1).Next(nil))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "00000.chunk"), blk.Raw, 0o666))
	_, err = Open(dir)
	require.ErrorContains(t, err, "block without its era")

	// Real blocks with two missing between them.
	_, err = Open(testdata.Path(t, "blocks", "preprod-pair"))
	require.ErrorAs(t, err, &link)

	// Two kinds, nothing, no directory, something else.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "1.cbor"), blk.Raw, 0o666))
	_, err = Open(dir)
	require.ErrorContains(t, err, "both chunk files (00000.chunk) and block files (1.cbor)")
	_, err = Open(t.TempDir())
	require.ErrorIs(t, err, ErrEmpty)
	_, err = Open(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x.cbor"), []byte("hello"), 0o666))
	_, err = Open(dir)
	var fe *FileError
	require.ErrorAs(t, err, &fe)
}

func TestArchiveCursor(t *testing.T) {
	a := openArchive(t, generated(t, 1, 50))
	for _, kind := range []chainsync.Form{Headers, Blocks} {
		c := a.Cursor(kind)
		ev, err := c.Next()
		require.NoError(t, err)
		require.Equal(t, Event{Kind: Backward, Tip: a.Tip()}, ev)
		for i := range 50 {
			ev, err := c.Next()
			require.NoError(t, err)
			want, err := a.AppendHeader(nil, i)
			if kind == Blocks {
				want, err = a.AppendBlock(nil, i)
			}
			require.NoError(t, err)
			require.Equal(t, Event{Kind: Forward, Point: a.At(i).Point, Payload: want, Tip: a.Tip()}, ev)
		}
		ev, err = c.Next()
		require.NoError(t, err)
		require.Equal(t, Event{Kind: AtTip, Point: a.Tip().Point, Tip: a.Tip()}, ev)
	}
}

func TestRange(t *testing.T) {
	a := openArchive(t, generated(t, 1, 50))
	blocks, ok := a.Range(a.At(10).Point, a.At(19).Point)
	require.True(t, ok)
	i := 10
	for b, err := range blocks {
		require.NoError(t, err)
		blk, err := ParseBlock(b)
		require.NoError(t, err)
		require.Equal(t, a.At(i).Point, blk.Point())
		i++
	}
	require.Equal(t, 20, i)
	for range blocks {
		break // a reader that has enough
	}
	other := a.At(11).Point
	other.Hash[0]++
	p2, p3 := a.At(2).Point, a.At(3).Point
	for _, v := range [][2]Point{{Origin, p3}, {p3, Origin}, {p3, p2}, {p3, other}, {other, p3}} {
		_, ok := a.Range(v[0], v[1])
		require.False(t, ok)
	}
	require.NoError(t, a.Close())
	for _, err := range blocks {
		require.ErrorIs(t, err, ErrClosed)
	}
}

func TestIntersect(t *testing.T) {
	a := openArchive(t, generated(t, 1, 50))
	other := a.At(11).Point
	other.Hash[0]++
	p, i, ok := a.Intersect([]Point{other, a.At(7).Point, a.At(9).Point, Origin})
	require.True(t, ok)
	require.Equal(t, 7, i)
	require.Equal(t, a.At(7).Point, p)
	p, i, ok = a.Intersect([]Point{other, Origin, a.At(9).Point})
	require.True(t, ok)
	require.Equal(t, -1, i)
	require.True(t, p.IsOrigin())
	_, _, ok = a.Intersect(nil)
	require.False(t, ok)

	points := a.Points(20)
	require.Equal(t, a.Tip().Point, points[0])
	require.Equal(t, a.At(29).Point, points[len(points)-2])
	require.Equal(t, Origin, points[len(points)-1])
	require.LessOrEqual(t, len(points), 7)
	require.Equal(t, []Point{Origin}, new(View).Points(10))
}

// TestStreamingMemory: serving a chain takes no memory that depends on its size.
func TestStreamingMemory(t *testing.T) {
	a := openArchive(t, generated(t, 1, 600))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	total := 0
	blocks, ok := a.Range(a.At(0).Point, a.Tip().Point)
	require.True(t, ok)
	for b, err := range blocks {
		if err != nil {
			t.Fatal(err)
		}
		total += len(b)
	}
	runtime.ReadMemStats(&after)
	require.Greater(t, total, 15<<20)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), "one buffer, grown a few times, for %d bytes of blocks", total)
}

// TestOpenFiles: readers of many files at once never hold more of them open than the limit and one for each reader.
func TestOpenFiles(t *testing.T) {
	dir := t.TempDir()
	_, err := WriteFiles(dir, Generate(1, 100))
	require.NoError(t, err)
	a := openArchive(t, dir)
	done := make(chan error)
	for r := range 4 {
		go func() {
			var errs error
			for i := range 200 {
				b, err := a.AppendItem(nil, (i*7+r*13)%100)
				if err == nil {
					_, err = ParseBlock(b)
				}
				errs = errors.Join(errs, err)
			}
			done <- errs
		}()
	}
	for range 4 {
		require.NoError(t, <-done)
	}
	a.files.mu.Lock()
	defer a.files.mu.Unlock()
	require.Equal(t, DefaultOpenFiles, a.files.recent.Len())
	require.Len(t, a.files.open, DefaultOpenFiles)
	for el := a.files.recent.Front(); el != nil; el = el.Next() {
		require.Zero(t, el.Value.(*openFile).users)
	}
}
