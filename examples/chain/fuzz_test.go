package chain

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"
)

// FuzzSkip compares the scanner with another decoder's idea of what is well-formed.
func FuzzSkip(f *testing.F) {
	mode, err := cbor.DecOptions{MaxNestedLevels: 65535, MaxArrayElements: 1 << 30, MaxMapPairs: 1 << 30}.DecMode()
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, b []byte) {
		end, err := skip(b, 0)
		var fe *FormatError
		switch {
		case err == nil:
			require.LessOrEqual(t, end, len(b))
			require.NoError(t, mode.Wellformed(b[:end]))
			moved, err := skip(append([]byte{0xff}, b...), 1)
			require.NoError(t, err)
			require.Equal(t, end+1, moved)
		case !errors.As(err, &fe):
			t.Fatalf("%T", err)
		case fe.Short:
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			require.Error(t, mode.Wellformed(b))
		case !bytes.Contains([]byte(fe.What), []byte("nested deeper")):
			require.Error(t, mode.Wellformed(b))
		}
	})
}

// FuzzBlock: what is accepted as a block survives the way to payloads and back.
func FuzzBlock(f *testing.F) {
	f.Add(small(1, Tip{}).Next(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		blk, err := ParseBlock(b)
		if err != nil {
			return
		}
		require.Equal(t, blk.Bytes, b[blk.HeaderOffset:][:len(blk.Bytes)])
		require.True(t, bytes.HasSuffix(b, blk.Raw))
		require.Equal(t, HashHeader(blk.Era, blk.Bytes), blk.Hash)
		again, err := ParseHeader(blk.Era, blk.Bytes)
		require.NoError(t, err)
		require.Equal(t, blk.Header, again)
		payload, err := HeaderPayload(nil, b)
		require.NoError(t, err)
		h, err := ParseHeaderPayload(payload)
		require.NoError(t, err)
		require.Equal(t, blk.Header, h)
		blk.CheckBody()
		item := b
		if !blk.Wrapped {
			item = AppendItem(nil, blk.Era, b)
			require.Equal(t, blk.Size, len(item))
		}
		whole, err := ParseBlockPayload(AppendBlockPayload(nil, item))
		require.NoError(t, err)
		require.Equal(t, blk.Hash, whole.Hash)
	})
}

// FuzzHeader reads bare headers of every era.
func FuzzHeader(f *testing.F) {
	f.Fuzz(func(t *testing.T, era uint8, b []byte) {
		h, err := ParseHeader(Era(era), b)
		if err != nil {
			return
		}
		require.Equal(t, b, h.Bytes)
		if Era(era) != EraUnknown {
			require.EqualValues(t, era, h.Era)
		}
		_, err = ParseHeader(h.Era, b)
		require.NoError(t, err)
	})
}

// FuzzHeaderPayload: an accepted payload, written again, is the same but for heads that were longer than necessary.
func FuzzHeaderPayload(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeaderPayload(b)
		if err != nil {
			return
		}
		era, header, size, err := HeaderInPayload(b)
		require.NoError(t, err)
		require.Equal(t, h.Bytes, header)
		made := AppendHeaderPayload(nil, era, header, size)
		require.LessOrEqual(t, len(made), len(b))
		again, err := ParseHeaderPayload(made)
		require.NoError(t, err)
		require.Equal(t, h, again)
	})
}

// FuzzBlockPayload reads block payloads.
func FuzzBlockPayload(f *testing.F) {
	f.Add(AppendBlockPayload(nil, small(1, Tip{}).Next(nil)))
	f.Fuzz(func(t *testing.T, b []byte) {
		blk, err := ParseBlockPayload(b)
		if err != nil {
			return
		}
		item, err := BlockItem(b)
		require.NoError(t, err)
		require.True(t, bytes.HasSuffix(b, item))
		require.Equal(t, blk.Size, len(item))
	})
}

// FuzzChunk reads a chunk file by scan and by a secondary index: if both succeed they agree.
func FuzzChunk(f *testing.F) {
	var chunk, index []byte
	g := small(1, Tip{})
	for range 3 {
		item := g.Next(nil)
		blk, err := ParseBlock(item)
		require.NoError(f, err)
		e := secondaryEntry{
			offset: uint64(len(chunk)), headerOffset: uint16(blk.HeaderOffset), headerLen: uint16(len(blk.Bytes)),
			crc: crc32.ChecksumIEEE(item), hash: blk.Hash, slot: blk.Slot,
		}
		index = e.append(index)
		chunk = append(chunk, item...)
	}
	f.Add(chunk, index)
	f.Fuzz(func(t *testing.T, chunk, index []byte) {
		var scanned, indexed archiveBuilder
		file := scanned.names.add("00000.chunk")
		indexed.names.add("00000.chunk")
		err1 := scanned.addScanned(bytes.NewReader(chunk), int64(len(chunk)), file)
		err2 := indexed.addIndexed(bytes.NewReader(chunk), int64(len(chunk)), file, index)
		if err1 == nil && err2 == nil {
			require.Equal(t, scanned.idx, indexed.idx)
		}
	})
}

// FuzzSegment replays a segment file, as the last one and as another.
func FuzzSegment(f *testing.F) {
	b := appendRecord([]byte(segmentMagic), recordBase, appendPoint(nil, Origin))
	b = appendRecord(b, recordBlock, small(1, Tip{}).Next(nil))
	f.Add(appendRecord(b, recordRollback, appendPoint(nil, Origin)))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, isLast := range []bool{true, false} {
			var c Chain
			good, err := replaySegment(bytes.NewReader(b), "x", int64(len(b)), 0, isLast, c.replay())
			require.LessOrEqual(t, good, int64(len(b)))
			if err == nil && !isLast {
				require.EqualValues(t, len(b), good)
			}
			if err == nil && isLast && good > 0 { // the rest is torn: without it the segment is whole
				var again Chain
				end, err := replaySegment(bytes.NewReader(b[:good]), "x", good, 0, true, again.replay())
				require.NoError(t, err)
				require.Equal(t, good, end)
				require.Equal(t, c.idx, again.idx)
			}
		}
	})
}
