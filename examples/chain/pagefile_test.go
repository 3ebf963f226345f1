package chain

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestIndexInFile: an index with a file says the same as one in memory, whatever is pushed and cut off, and so do the copies made before.
func TestIndexInFile(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "index-")
		require.NoError(rt, err)
		defer os.RemoveAll(dir)
		file := &pageFile{path: filepath.Join(dir, indexName)}
		defer func() { require.NoError(rt, file.close()) }()
		type both struct {
			disk, memory index
			all          []entry
		}
		now := both{disk: index{file: file}}
		same := func(b *both) {
			require.Equal(rt, len(b.all), b.disk.n)
			for i, want := range b.all {
				e, err := b.disk.at(i)
				require.NoError(rt, err)
				require.Equal(rt, want, *e)
				for _, x := range []*index{&b.disk, &b.memory} {
					at, ok, err := x.find(want.point())
					require.NoError(rt, err)
					require.True(rt, ok)
					require.Equal(rt, i, at)
					_, ok, err = x.find(Point{Slot: want.slot + 1})
					require.NoError(rt, err)
					require.False(rt, ok)
				}
			}
			if n := len(b.all); n > 0 {
				require.Equal(rt, b.all[n-1], *b.disk.tip())
			}
		}
		var kept []both
		number, slot := uint64(0), uint64(1)
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0:
				n := rapid.IntRange(0, len(now.all)).Draw(rt, "left")
				if now.disk, err = now.disk.fork(n); err == nil {
					now.memory, err = now.memory.fork(n)
				}
				require.NoError(rt, err)
				now.all = now.all[:n:n]
			case 1:
				kept = append(kept, now)
			default:
				for range rapid.IntRange(1, 3*pageEntries).Draw(rt, "blocks") {
					number++
					if number%7 != 0 { // two in one slot
						slot += 1 + number%3
					}
					e := entry{slot: slot, number: number, file: uint32(number) * 3, offset: uint32(number) * 5, size: uint32(number) * 7,
						headerOffset: uint16(number) * 11, headerLen: uint16(number) * 13}
					e.hash[0], e.hash[1], e.hash[31] = byte(number), byte(number>>8), 1
					now.disk.push(e)
					now.memory.push(e)
					now.all = append(now.all, e)
				}
			}
		}
		same(&now)
		for i := range kept {
			same(&kept[i])
			want, err := now.memory.common(&kept[i].memory, len(now.all))
			require.NoError(rt, err)
			got, err := now.disk.common(&kept[i].disk, len(now.all))
			require.NoError(rt, err)
			require.Equal(rt, want, got)
		}
	})
}

// TestIndexFile: it comes with the first full page and goes when the chain is closed; one that a crash has left means nothing.
func TestIndexFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, indexName)
	c := openChain(t, Config{Dir: dir})
	grow(t, c, 1, pageEntries)
	require.NoFileExists(t, path)
	grow(t, c, 2, 2*pageEntries)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.EqualValues(t, 2*pageBytes, info.Size())
	require.NoError(t, os.WriteFile(path+".kept", []byte("not pages"), 0o666))
	tip := c.Tip()
	require.NoError(t, c.Close())
	require.NoFileExists(t, path)

	require.NoError(t, os.Rename(path+".kept", path))
	c = openChain(t, Config{Dir: dir})
	require.Equal(t, tip, c.Tip())
	v := c.View()
	require.Equal(t, 3*pageEntries, v.Len())
	checkView(t, &v)
}

// TestIndexUnreadable: blocks whose page cannot be read are errors or not there, the tip stays, and nothing is written any more.
func TestIndexUnreadable(t *testing.T) {
	dir := t.TempDir()
	c := openChain(t, Config{Dir: dir})
	grow(t, c, 1, 3*pageEntries)
	v := c.View()
	first, last := v.At(0), v.At(3*pageEntries-1)
	c.idx.file.cache[0].Store(nil) // it has been read just now
	require.NoError(t, os.Truncate(filepath.Join(dir, indexName), pageBytes/2))

	behind := c.Cursor(Headers)
	ev, err := behind.Next()
	require.NoError(t, err)
	require.Equal(t, Backward, ev.Kind)
	require.Equal(t, last, v.At(3*pageEntries-1))
	require.NoError(t, c.idx.file.err(), "nobody has looked yet")

	var path *fs.PathError
	_, err = behind.Next()
	require.ErrorAs(t, err, &path)
	_, ok := v.Find(first.Point)
	require.False(t, ok)
	_, ok = v.Find(last.Point)
	require.True(t, ok)
	require.Equal(t, Info{}, v.At(0))
	points := v.Points(v.Len())
	require.Equal(t, last.Point, points[0])
	require.Equal(t, Origin, points[len(points)-1])
	require.NotContains(t, points, first.Point)
	_, err = v.AppendItem(nil, 0)
	require.ErrorAs(t, err, &path)
	require.ErrorAs(t, c.RollBack(first.Point), &path)
	_, err = c.Append(small(2, c.Tip()).Next(nil))
	require.ErrorAs(t, err, &path)
	require.Equal(t, last.Point, c.Tip().Point)

	require.NoError(t, c.Close())
	c = openChain(t, Config{Dir: dir})
	require.Equal(t, last.Point, c.Tip().Point)
	v = c.View()
	checkView(t, &v)
}

// TestIndexUnwritable: where its file cannot be written the index stays in memory.
func TestIndexUnwritable(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, indexName), 0o777))
	c := openChain(t, Config{Dir: dir})
	grow(t, c, 1, 3*pageEntries)
	v := c.View()
	require.Equal(t, 3*pageEntries, v.Len())
	checkView(t, &v)
}
