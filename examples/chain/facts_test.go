package chain

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hearthnet/hearth/internal/testdata"
	"github.com/stretchr/testify/require"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// TestKnownBlocks compares every single block and header file with the facts recorded for it.
func TestKnownBlocks(t *testing.T) {
	var known []struct {
		File        string
		Kind        string
		StorageEra  Era `json:"storage_era"`
		Wrapped     bool
		Hash        string
		HeaderBytes int `json:"header_bytes"`
		Bytes       int
		Slot        uint64
		BlockNo     uint64 `json:"block_no"`
		Prev        *string
	}
	require.NoError(t, json.Unmarshal(testdata.Read(t, "blocks-and-headers.json"), &known))
	require.Greater(t, len(known), 40)
	for _, k := range known {
		raw := testdata.Read(t, filepath.FromSlash(k.File))
		var h Header
		if k.Kind == "header" {
			var err error
			h, err = ParseHeader(EraUnknown, raw)
			require.NoError(t, err, k.File)
		} else {
			blk, err := ParseBlock(raw)
			require.NoError(t, err, k.File)
			require.Equal(t, k.Wrapped, blk.Wrapped, k.File)
			require.Equal(t, blk.Bytes, raw[blk.HeaderOffset:blk.HeaderOffset+len(blk.Bytes)], k.File)
			require.Equal(t, k.Bytes, len(raw), k.File)
			h = blk.Header

			checked, err := blk.CheckBody()
			if strings.Contains(k.File, "invalid_block_body_size") || strings.Contains(k.File, "generated-conway") {
				// The generated ones have the real shape and random values.
				require.ErrorContains(t, err, "its header says", k.File)
			} else {
				require.NoError(t, err, k.File)
			}
			require.Equal(t, k.StorageEra >= Shelley, checked, k.File)

			// The same block without its wrapping: a node may name a later protocol version than its era's, so the era may
			// differ; nothing else does.
			bare, err := ParseBlock(blk.Raw)
			if err != nil && strings.Contains(k.File, "generated-conway") {
				require.ErrorContains(t, err, "no era has protocol version", k.File)
				bare = blk
				bare.Wrapped = false
				err = nil
			}
			require.NoError(t, err, k.File)
			require.Equal(t, blk.Hash, bare.Hash, k.File)
			require.Equal(t, blk.Size, bare.Size, k.File)
			require.False(t, bare.Wrapped, k.File)
		}
		require.Equal(t, k.StorageEra, h.Era, k.File)
		require.Equal(t, k.Hash, hex.EncodeToString(h.Hash[:]), k.File)
		require.Equal(t, k.HeaderBytes, len(h.Bytes), k.File)
		require.Equal(t, k.Slot, h.Slot, k.File)
		require.Equal(t, k.BlockNo, h.Number, k.File)
		require.Equal(t, k.Prev == nil, h.First, k.File)
		if k.Prev != nil {
			require.Equal(t, *k.Prev, hex.EncodeToString(h.Prev[:]), k.File)
		}
	}
}

// TestChunkIndexes parses every block of every chunk file where its secondary index says, and compares all that it says.
func TestChunkIndexes(t *testing.T) {
	want := map[string]int{"preview-immutable": 3024, "preview-immutable-later": 442, "preprod-babbage": 913}
	for folder, blocks := range want {
		indexes, err := filepath.Glob(testdata.Path(t, "chain", folder, "*.secondary"))
		require.NoError(t, err)
		seen := 0
		var prev *Header
		for _, name := range indexes {
			index, err := os.ReadFile(name)
			require.NoError(t, err)
			chunk, err := os.ReadFile(strings.TrimSuffix(name, ".secondary") + ".chunk")
			require.NoError(t, err)
			for at := 0; at < len(index); at += 56 {
				e := index[at : at+56]
				from, to := binary.BigEndian.Uint64(e), uint64(len(chunk))
				if at+56 < len(index) {
					to = binary.BigEndian.Uint64(index[at+56:])
				}
				item := chunk[from:to]
				blk, err := ParseBlock(item)
				require.NoError(t, err)
				require.True(t, blk.Wrapped)
				require.EqualValues(t, binary.BigEndian.Uint16(e[8:]), blk.HeaderOffset)
				require.EqualValues(t, binary.BigEndian.Uint16(e[10:]), len(blk.Bytes))
				require.Equal(t, binary.BigEndian.Uint32(e[12:]), crc32.ChecksumIEEE(item))
				require.Equal(t, e[16:48], blk.Hash[:])
				require.Equal(t, binary.BigEndian.Uint64(e[48:]), blk.Slot)
				checked, err := blk.CheckBody()
				require.NoError(t, err)
				require.True(t, checked)
				if prev != nil {
					require.Equal(t, prev.Hash, blk.Prev)
					require.Equal(t, prev.Number+1, blk.Number)
				}
				prev = &blk.Header
				seen++
			}
		}
		require.Equal(t, blocks, seen, folder)
	}
}

// TestRollForwardVectors reads the header and block payloads of recorded chain-sync messages and writes them again.
func TestRollForwardVectors(t *testing.T) {
	payload := func(file string) []byte {
		r := reader{b: testdata.Read(t, "vectors", "chain-sync", file)}
		r.exactly(3, "message")
		require.EqualValues(t, 2, r.uint("tag"))
		b := r.item(1)
		require.NoError(t, r.err)
		return b
	}
	for _, v := range []struct {
		name, hash string
		era        Era
		ntn, ntc   bool
	}{
		{"byron_ebb_testnet", "8f8602837f7c6f8b8867dd1cbc1842cf51a27eaed2c70ef48325d00f8efb320f", ByronBoundary, true, false},
		{"byron_main_block_testnet", "f38aa5e8cf0b47d1ffa8b2385aa2d43882282db2ffd5ac0e3dadec1a6f2ecf08", Byron, false, true},
		{"shelley_block_testnet", "02b1c561715da9e540411123a6135ee319b02f60b9a11a603d3305556c04329f", Shelley, true, true},
	} {
		file := v.name + "_" + v.hash + ".cbor"
		bare := testdata.Read(t, "vectors", "chain-sync", file)
		blk, err := ParseBlock(bare)
		require.NoError(t, err, v.name)
		require.False(t, blk.Wrapped)
		require.Equal(t, v.era, blk.Era)
		require.Equal(t, v.hash, hex.EncodeToString(blk.Hash[:]))
		if v.era == ByronBoundary {
			checked, err := blk.CheckBody()
			require.NoError(t, err)
			require.True(t, checked)
		}
		if v.ntn {
			p := payload("rollforward_ntn_" + file)
			h, err := ParseHeaderPayload(p)
			require.NoError(t, err, v.name)
			require.Equal(t, blk.Header.Hash, h.Hash)
			require.Equal(t, blk.Slot, h.Slot)
			made, err := HeaderPayload(nil, bare)
			require.NoError(t, err)
			require.Equal(t, p, made, v.name)
		}
		if v.ntc {
			p := payload("rollforward_ntc_" + file)
			got, err := ParseBlockPayload(p)
			require.NoError(t, err, v.name)
			require.Equal(t, blk.Header.Hash, got.Hash)
			require.Equal(t, p, AppendBlockPayload(nil, AppendItem(nil, blk.Era, bare)), v.name)
		}
	}
}

// TestGoldenHeaders reads the node's own golden header encodings and writes them again. The header inside
// is made up, but has the real shape; the Byron ones carry the size of a block that is not there.
func TestGoldenHeaders(t *testing.T) {
	for name, era := range map[string]Era{
		"Byron_EBB": ByronBoundary, "Byron_regular": Byron, "Shelley": Shelley, "Allegra": Allegra, "Mary": Mary,
		"Alonzo": Alonzo, "Babbage": Babbage, "Conway": Conway, "Dijkstra": Dijkstra,
	} {
		p := testdata.Read(t, "vectors", "consensus-n2n-golden", "Header_"+name)
		h, err := ParseHeaderPayload(p)
		require.NoError(t, err, name)
		require.Equal(t, era, h.Era, name)
		_, header, size, err := HeaderInPayload(p)
		require.NoError(t, err)
		require.Equal(t, p, AppendHeaderPayload(nil, era, header, size), name)
		if !era.IsByron() {
			require.EqualValues(t, 3, h.Number)
			require.EqualValues(t, 9, h.Slot)
		}
	}
}

// TestPayloadExamples are the shapes of wire §5.4, byte by byte.
func TestPayloadExamples(t *testing.T) {
	for _, v := range []struct {
		era    Era
		header string
		want   string
	}{
		{ByronBoundary, "<EBB_HEADER>", "82008282001864d8184c3c4542425f4845414445523e"},
		{Byron, "<HEADER>", "82008282011864d818483c4845414445523e"},
		{Shelley, "<HEADER>", "8201d818483c4845414445523e"},
		{Conway, "<HEADER>", "8206d818483c4845414445523e"},
		{Dijkstra, "<HEADER>", "8207d818483c4845414445523e"},
	} {
		got := AppendHeaderPayload(nil, v.era, []byte(v.header), 100)
		require.Equal(t, v.want, hex.EncodeToString(got))
		era, header, _, err := HeaderInPayload(got)
		require.NoError(t, err)
		require.Equal(t, v.era, era)
		require.Equal(t, v.header, string(header))
	}
	require.Equal(t, "d818478207828201028080"[:20], hex.EncodeToString(AppendBlockPayload(nil, unhex(t, "82078282010280")))[:20])
}

// TestHostileBytes: what is wrong is refused with an error that says where, and never read as something else.
func TestHostileBytes(t *testing.T) {
	good := NewGenerator(1).Next(nil)
	_, err := ParseBlock(good)
	require.NoError(t, err)
	for n := range good {
		if n > 2000 && n%97 != 0 {
			continue
		}
		_, err := ParseBlock(good[:n])
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "%d bytes", n)
	}
	_, err = ParseBlock(append(bytes.Clone(good), 0))
	require.ErrorContains(t, err, "trailing bytes")

	nest := func(n int) []byte { return append(bytes.Repeat([]byte{0x81}, n), 0) }
	_, err = skip(nest(MaxDepth), 0)
	require.NoError(t, err)
	_, err = skip(nest(MaxDepth+1), 0)
	require.ErrorContains(t, err, "nested deeper than 256")

	for _, v := range []struct{ hex, want string }{
		{"", "ends too early"},
		{"80", "ends too early"},
		{"8209", "unknown era 9"},
		{"8309", "not a pair"},
		{"9f07", "not an array of definite length"},
		{"8207a0", "not an array of definite length"},
		{"820784820a00", "header body is not an array"},
		{"9bffffffffffffffff", "ends too early"},
		{"82079bffffffffffffffff9bffffffffffffffff00", "ends too early"},
		{"1c", "reserved"},
	} {
		_, err := ParseBlock(unhex(t, v.hex))
		require.ErrorContains(t, err, v.want, v.hex)
		var f *FormatError
		require.True(t, errors.As(err, &f), v.hex)
	}
	for _, v := range []struct{ hex, want string }{
		{"5bffffffffffffffff", "ends too early"},
		{"bbffffffffffffffff00", "ends too early"},
		{"ff", "break code"},
		{"81ff", "break code"},
		{"bf00ff", "map ends behind a key"},
		{"5f6100ff", "chunk of another kind"},
		{"5f5f4100ffff", "chunk of another kind"},
		{"7f4100ff", "chunk of another kind"},
		{"1c", "reserved"},
		{"1f", "indefinite length where there is no length"},
		{"df00", "indefinite length where there is no length"},
		{"f810", "simple value"},
		{"c0", "ends too early"},
	} {
		_, err := skip(unhex(t, v.hex), 0)
		require.ErrorContains(t, err, v.want, v.hex)
	}
	for _, ok := range []string{"5f4100ff", "7fff", "bf0001ff", "9f9fff80ff", "d818d8184100", "a10001", "f820", "fb0000000000000000", "1900ff"} {
		b := unhex(t, ok)
		end, err := skip(b, 0)
		require.NoError(t, err, ok)
		require.Equal(t, len(b), end, ok)
	}
	for _, v := range []struct{ hex, want string }{
		{"8206d81943010203", "not tagged 24"},
		{"8206d8185f4100ff", "not a byte string"},
		{"8208d8184101", "unknown era index 8"},
		{"8200d8184101", "Byron header is not an array"},
		{"82008282021864d8184101", "Byron header of kind 2"},
		{"8206d818410100", "trailing bytes"},
		{"8206d818420101", "header is not an array"},
	} {
		_, err := ParseHeaderPayload(unhex(t, v.hex))
		require.ErrorContains(t, err, v.want, v.hex)
	}
	_, err = ParseBlockPayload(unhex(t, "d81840"))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	_, err = ParseHeader(Conway, make([]byte, MaxHeader+1))
	require.ErrorContains(t, err, "the limit is 65535")
	_, err = ParseBlock(make([]byte, MaxBlock+1))
	require.ErrorContains(t, err, "the limit is "+strconv.Itoa(MaxBlock))
}
