package chain

import (
	"encoding/binary"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTornTail cuts a chain on disk at every byte of the first records' heads and at many bytes of their payloads: what is whole is there again, what is torn is cut,
// and the chain goes on.
func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	c, err := New(Config{Dir: dir})
	require.NoError(t, err)
	grow(t, c, 1, 4)
	v := c.View()
	require.NoError(t, c.RollBack(v.At(2).Point))
	grow(t, c, 2, 1)
	want := c.View()
	require.NoError(t, c.Close())
	whole, err := os.ReadFile(segmentPath(dir, 0))
	require.NoError(t, err)

	lens := map[int]int{} // file size → blocks, at the ends of records
	off := len(segmentMagic)
	blocks := 0
	for off < len(whole) {
		word := binary.LittleEndian.Uint32(whole[off:])
		switch word >> 24 {
		case recordBlock:
			blocks++
		case recordRollback:
			blocks = 3
		}
		off += recordHead + int(word&MaxBlock)
		lens[off] = blocks
	}
	require.Equal(t, want.Len(), blocks)

	expect, end := 0, 0
	for size := range len(whole) + 1 {
		if n, ok := lens[size]; ok {
			expect, end = n, size
		}
		if size > 70 && size-end > 12 && size%97 != 0 {
			continue
		}
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(segmentPath(dir, 0), whole[:size], 0o666))
		c, err := New(Config{Dir: dir})
		require.NoError(t, err, size)
		v := c.View()
		require.Equal(t, expect, v.Len(), size)
		if size != end {
			cut := c.Recovered()
			if size > len(segmentMagic) {
				require.EqualValues(t, size, cut.Offset+cut.Bytes)
				require.EqualValues(t, max(end, len(segmentMagic)), cut.Offset)
			}
		} else {
			require.Zero(t, c.Recovered())
		}
		grow(t, c, 3, 2)
		require.NoError(t, c.Close())
		c, err = New(Config{Dir: dir})
		require.NoError(t, err, size)
		require.Zero(t, c.Recovered())
		v = c.View()
		require.Equal(t, expect+2, v.Len())
		checkView(t, &v)
		require.NoError(t, c.Close())
	}
}

func TestDamagedSegments(t *testing.T) {
	fill := func() string {
		dir := t.TempDir()
		c, err := New(Config{Dir: dir, SegmentBytes: 4000})
		require.NoError(t, err)
		grow(t, c, 1, 14)
		require.NoError(t, c.Close())
		list, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, list, 3)
		return dir
	}
	edit := func(name string, f func(b []byte) []byte) {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(name, f(b), 0o666))
	}

	// A wrong byte in the last segment: everything from there on is cut.
	dir := fill()
	edit(segmentPath(dir, 2), func(b []byte) []byte { b[len(b)-2*868-20]++; return b }) // in the third record from the end
	c := openChain(t, Config{Dir: dir})
	v := c.View()
	require.Equal(t, 11, v.Len())
	require.Equal(t, segmentPath(dir, 2), c.Recovered().File)

	// Elsewhere it is an error that names the place.
	for name, f := range map[string]func(b []byte) []byte{
		"header":    func(b []byte) []byte { b[8+48+8+20]++; return b },
		"truncated": func(b []byte) []byte { return b[:len(b)-5] },
		"magic":     func(b []byte) []byte { b[0]++; return b },
		"empty":     func(b []byte) []byte { return nil },
	} {
		dir := fill()
		edit(segmentPath(dir, 0), f)
		_, err := New(Config{Dir: dir})
		var fe *FileError
		require.ErrorAs(t, err, &fe, name)
		require.Equal(t, segmentPath(dir, 0), fe.File, name)
	}
	dir = fill()
	require.NoError(t, os.Remove(segmentPath(dir, 1)))
	_, err := New(Config{Dir: dir})
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, "is missing")

	// A record of the future is not torn.
	dir = fill()
	edit(segmentPath(dir, 2), func(b []byte) []byte { return appendRecord(b, 9, []byte("x")) })
	_, err = New(Config{Dir: dir})
	require.ErrorContains(t, err, "unknown kind 9")

	// The beginning of a segment was torn when it was begun.
	dir = fill()
	require.NoError(t, os.WriteFile(segmentPath(dir, 3), []byte("hea"), 0o666))
	c = openChain(t, Config{Dir: dir})
	v = c.View()
	require.Equal(t, 14, v.Len())
	grow(t, c, 1, 1)
	v = c.View()
	checkView(t, &v)
}

// TestWriteFails: a chain whose disk refuses a write is as it was.
func TestWriteFails(t *testing.T) {
	c, err := New(Config{Dir: t.TempDir()})
	require.NoError(t, err)
	defer c.Close()
	grow(t, c, 1, 3)
	before := c.View()
	log := c.log.(*segments)
	good := log.w
	bad, err := os.Open(good.Name()) // for reading only
	require.NoError(t, err)
	log.w = bad
	g := small(1, c.Tip())
	item := g.Next(nil)
	_, err = c.Append(item)
	require.Error(t, err)
	require.Equal(t, before, c.View())
	require.Error(t, c.RollBack(Origin))
	require.Equal(t, before, c.View())

	// Undoing the half-done write failed too: nothing is written any more, even if the disk comes back.
	log.w = good
	require.NoError(t, bad.Close())
	_, err = c.Append(item)
	require.ErrorContains(t, err, "unusable until it is opened again")
	require.Equal(t, before, c.View())
	checkView(t, &before)
}
