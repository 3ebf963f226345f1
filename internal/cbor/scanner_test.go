package cbor

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	fx "github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

// RFC 8949 appendix A.
var examples = strings.Fields(`
00 01 0a 17 1818 1819 1864 1903e8 1a000f4240 1b000000e8d4a51000 1bffffffffffffffff c249010000000000000000
3bffffffffffffffff c349010000000000000000 20 29 3863 3903e7 f90000 f98000 f93c00 fb3ff199999999999a f93e00 f97bff
fa47c35000 fa7f7fffff fb7e37e43c8800759c f90001 f90400 f9c400 fbc010666666666666 f97c00 f97e00 f9fc00 fa7f800000
fa7fc00000 faff800000 fb7ff0000000000000 fb7ff8000000000000 fbfff0000000000000 f4 f5 f6 f7 f0 f8ff
c074323031332d30332d32315432303a30343a30305a c11a514b67b0 c1fb41d452d9e8100000 d74401020304 d818456449455446
d82076687474703a2f2f7777772e6578616d706c652e636f6d 40 4401020304 60 6161 6449455446 62225c 62c3bc 63e6b0b4 64f0908591
80 83010203 8301820203820405 98190102030405060708090a0b0c0d0e0f101112131415161718181819 a0 a201020304
a26161016162820203 826161a161626163 a56161614161626142616361436164614461656145 5f42010243030405ff
7f657374726561646d696e67ff 9fff 9f018202039f0405ffff 9f01820203820405ff 83018202039f0405ff 83019f0203ff820405
9f0102030405060708090a0b0c0d0e0f101112131415161718181819ff bf61610161629f0203ffff 826161bf61626163ff
bf6346756ef563416d7421ff 5fff 7fff bfff f820 1800 5b000000000000000100 c0c0c0c000`)

func TestScannerAcceptsRFC8949Examples(t *testing.T) {
	for _, e := range examples {
		b := unhex(t, e)
		require.NoError(t, Wellformed(b), e)
		require.NoError(t, fx.Wellformed(b), e)
		feed(t, b, 1)
	}
}

// RFC 8949 appendix F, and what else must not pass.
func TestScannerRefusesMalformed(t *testing.T) {
	for _, c := range []struct {
		hex string
		err error
	}{
		{"", ErrTruncated},
		{"18", ErrTruncated}, {"19", ErrTruncated}, {"1a", ErrTruncated}, {"1b", ErrTruncated}, {"1901", ErrTruncated}, {"1a0102", ErrTruncated},
		{"1b01020304050607", ErrTruncated}, {"38", ErrTruncated}, {"58", ErrTruncated}, {"78", ErrTruncated}, {"98", ErrTruncated},
		{"9a01ff00", ErrTruncated}, {"b8", ErrTruncated}, {"d8", ErrTruncated}, {"f8", ErrTruncated}, {"f900", ErrTruncated},
		{"fa0000", ErrTruncated}, {"fb000000", ErrTruncated},
		{"41", ErrTruncated}, {"61", ErrTruncated}, {"5affffffff00", ErrTruncated}, {"5bffffffffffffffff010203", ErrTruncated},
		{"7affffffff00", ErrTruncated}, {"7b7fffffffffffffff010203", ErrTruncated},
		{"81", ErrTruncated}, {"818181818181818181", ErrTruncated}, {"8200", ErrTruncated}, {"a1", ErrTruncated}, {"a20102", ErrTruncated},
		{"a100", ErrTruncated}, {"a2000000", ErrTruncated}, {"bbffffffffffffffff00", ErrTruncated}, {"9bffffffffffffffff00", ErrTruncated},
		{"bb800000000000000000", ErrTruncated}, {"9b100000000000000000", ErrTruncated},
		{"5f4100", ErrTruncated}, {"7f6100", ErrTruncated}, {"9f", ErrTruncated}, {"9f0102", ErrTruncated}, {"bf", ErrTruncated},
		{"bf01020102", ErrTruncated}, {"819f", ErrTruncated}, {"9f80", ErrTruncated}, {"9f9f9f9f9fffffffff", ErrTruncated},
		{"9f819f819f9fffffff", ErrTruncated}, {"c0", ErrTruncated}, {"d9d9f7", ErrTruncated},
		{"1c", ErrReserved}, {"1d", ErrReserved}, {"1e", ErrReserved}, {"3c", ErrReserved}, {"3d", ErrReserved}, {"3e", ErrReserved},
		{"5c", ErrReserved}, {"5d", ErrReserved}, {"5e", ErrReserved}, {"7c", ErrReserved}, {"7d", ErrReserved}, {"7e", ErrReserved},
		{"9c", ErrReserved}, {"9d", ErrReserved}, {"9e", ErrReserved}, {"bc", ErrReserved}, {"bd", ErrReserved}, {"be", ErrReserved},
		{"dc", ErrReserved}, {"dd", ErrReserved}, {"de", ErrReserved}, {"fc", ErrReserved}, {"fd", ErrReserved}, {"fe", ErrReserved},
		{"1f", ErrReserved}, {"3f", ErrReserved}, {"df", ErrReserved},
		{"f800", ErrSimple}, {"f801", ErrSimple}, {"f818", ErrSimple}, {"f81f", ErrSimple},
		{"5f00ff", ErrChunk}, {"5f21ff", ErrChunk}, {"5f6100ff", ErrChunk}, {"5f80ff", ErrChunk}, {"5fa0ff", ErrChunk}, {"5fc000ff", ErrChunk},
		{"5fe0ff", ErrChunk}, {"7f4100ff", ErrChunk}, {"5f5f4100ffff", ErrChunk}, {"7f7f6100ffff", ErrChunk}, {"5ff6ff", ErrChunk},
		{"ff", ErrBreak}, {"81ff", ErrBreak}, {"8200ff", ErrBreak}, {"a1ff", ErrBreak}, {"a1ff00", ErrBreak}, {"a100ff", ErrBreak},
		{"a20000ff", ErrBreak}, {"9f81ff", ErrBreak}, {"9f829f819f9fffffffff", ErrBreak}, {"c0ff", ErrBreak}, {"9fc0ff", ErrBreak},
		{"bf00ff", ErrOddMap}, {"bf000000ff", ErrOddMap},
		{"0000", ErrTrailing}, {"80ff", ErrTrailing}, {"9fffff", ErrTrailing}, {"4100ff", ErrTrailing},
	} {
		b := unhex(t, c.hex)
		err := Wellformed(b)
		var typed *Error
		require.ErrorAs(t, err, &typed, c.hex)
		require.ErrorIs(t, err, c.err, c.hex)
		require.Equal(t, errors.Is(c.err, ErrTruncated), errors.Is(err, io.ErrUnexpectedEOF), c.hex)
		require.LessOrEqual(t, typed.Offset, len(b), c.hex)
		require.Error(t, fx.Wellformed(b), c.hex)

		if !errors.Is(c.err, ErrTruncated) && !errors.Is(c.err, ErrTrailing) {
			var s Scanner
			var byByte error
			for i := 0; i <= len(b) && byByte == nil; i++ {
				_, _, byByte = s.Next(b[:i])
			}
			require.ErrorIs(t, byByte, c.err, "in one-byte segments: "+c.hex)
			_, _, again := s.Next(b)
			require.Equal(t, byByte, again, "the error stays")
			s.Reset()
			_, done, err := s.Next([]byte{0x00})
			require.NoError(t, err)
			require.True(t, done)
		}
	}
}

// feed scans b in segments of the given size and requires that exactly the last one completes it.
func feed(t require.TestingT, b []byte, segment int) {
	var s Scanner
	for end := 0; ; {
		end = min(end+segment, len(b))
		n, done, err := s.Next(b[:end])
		require.NoError(t, err)
		require.Equal(t, end == len(b), done, "%x at %d", b, end)
		if done {
			require.Equal(t, len(b), n)
			return
		}
		require.Equal(t, end, s.Scanned())
	}
}

func TestScannerDepth(t *testing.T) {
	nest := func(head string, n int, inner string) []byte {
		return append(bytes.Repeat(unhex(t, head), n), unhex(t, inner)...)
	}
	for _, head := range []string{"81", "c0", "a100", "d818"} {
		require.NoError(t, Wellformed(nest(head, MaxDepth, "00")), head)
		feed(t, nest(head, MaxDepth, "00"), 1)
		require.ErrorIs(t, Wellformed(nest(head, MaxDepth+1, "00")), ErrTooDeep, head)
	}
	deep := append(nest("9f", MaxDepth, ""), bytes.Repeat([]byte{0xff}, MaxDepth)...)
	require.NoError(t, Wellformed(deep))
	for _, head := range []string{"9f", "bf00", "81", "c0", "bf9f"} {
		bomb := nest(head, 1<<20, "")
		require.ErrorIs(t, Wellformed(bomb), ErrTooDeep, head)
		require.Less(t, testing.AllocsPerRun(2, func() { _ = Wellformed(bomb) }), 12.0, head)
	}
}

// What a peer declares must not decide what we allocate.
func TestScannerHugeDeclaredLengths(t *testing.T) {
	for _, h := range []string{"5bffffffffffffffff", "7bffffffffffffffff", "9bffffffffffffffff", "bbffffffffffffffff", "dbffffffffffffffff", "5b7fffffffffffffff", "82005affffffff"} {
		b := append(unhex(t, h), make([]byte, 100)...)
		var s Scanner
		allocs := testing.AllocsPerRun(10, func() {
			s.Reset()
			for i := range b {
				if _, done, err := s.Next(b[:i]); done || err != nil {
					break
				}
			}
		})
		require.Zero(t, allocs, h)
	}
}

// The scanner takes the items of a stream one after another.
func TestScannerStream(t *testing.T) {
	var stream []byte
	for _, e := range examples {
		stream = append(stream, unhex(t, e)...)
	}
	for _, segment := range []int{1, 2, 3, 7, len(stream)} {
		var s Scanner
		var got []string
		start := 0
		for end := 0; end < len(stream); {
			end = min(end+segment, len(stream))
			for {
				n, done, err := s.Next(stream[start:end])
				require.NoError(t, err)
				if !done {
					break
				}
				got = append(got, hex.EncodeToString(stream[start:start+n]))
				start += n
			}
		}
		require.Equal(t, examples, got)
	}
}

// anyItem draws one well-formed item in any form: long heads, indefinite lengths, chunks.
func anyItem(depth int) *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		head := func(major byte, n uint64) []byte {
			b := AppendUint(nil, n)
			switch rapid.IntRange(0, 7).Draw(t, "width") {
			case 0:
				b = []byte{27, byte(n >> 56), byte(n >> 48), byte(n >> 40), byte(n >> 32), byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
			case 1:
				if n <= math.MaxUint16 {
					b = []byte{25, byte(n >> 8), byte(n)}
				}
			}
			b[0] |= major << 5
			return b
		}
		kind := rapid.IntRange(0, 7).Draw(t, "major")
		if depth == 0 && kind >= 4 && kind <= 6 {
			kind = 0
		}
		indefinite := rapid.Bool().Draw(t, "indefinite")
		switch major := byte(kind); major {
		case majorBytes, majorText:
			str := func() []byte {
				s := []byte(rapid.StringN(0, 30, 40).Draw(t, "content"))
				return append(head(major, uint64(len(s))), s...)
			}
			if !indefinite {
				return str()
			}
			b := []byte{major<<5 | 31}
			for range rapid.IntRange(0, 3).Draw(t, "chunks") {
				b = append(b, str()...)
			}
			return append(b, 0xff)
		case majorArray, majorMap:
			n := rapid.IntRange(0, 4).Draw(t, "n")
			b := []byte{major<<5 | 31}
			if !indefinite {
				b = head(major, uint64(n))
			}
			for range n * int(major-3) {
				b = append(b, anyItem(depth-1).Draw(t, "element")...)
			}
			if indefinite {
				b = append(b, 0xff)
			}
			return b
		case majorTag:
			return append(head(major, rapid.Uint64().Draw(t, "tag")), anyItem(depth-1).Draw(t, "content")...)
		case majorSimple:
			return rapid.SampledFrom([][]byte{{0xf4}, {0xf5}, {0xf6}, {0xe0}, {0xf8, 0x20}, {0xf9, 1, 2}, {0xfa, 1, 2, 3, 4}, {0xfb, 1, 2, 3, 4, 5, 6, 7, 8}}).Draw(t, "simple")
		default:
			return head(major, rapid.Uint64().Draw(t, "integer"))
		}
	})
}

func TestScannerAgreesWithFxamacker(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := anyItem(5).Draw(t, "item")
		require.NoError(t, Wellformed(b))
		require.NoError(t, wellformedFx(b))
		feed(t, b, rapid.IntRange(1, 9).Draw(t, "segment"))
		for i := range b {
			require.ErrorIs(t, Wellformed(b[:i]), ErrTruncated)
		}
		if len(b) > 0 { // damage one byte: both must judge alike
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
			agree(t, b)
		}
	})
}

var fxMode = func() fx.DecMode {
	m, err := fx.DecOptions{MaxNestedLevels: 65535, MaxArrayElements: math.MaxInt32, MaxMapPairs: math.MaxInt32}.DecMode()
	if err != nil {
		panic(err)
	}
	return m
}()

func wellformedFx(b []byte) error { return fxMode.Wellformed(b) }

func agree(t require.TestingT, b []byte) {
	ours, theirs := Wellformed(b), wellformedFx(b)
	if errors.Is(ours, ErrTooDeep) {
		return
	}
	require.Equal(t, theirs == nil, ours == nil, "%x: ours %v, fxamacker %v", b, ours, theirs)
}

func FuzzScanner(f *testing.F) {
	for _, e := range examples {
		f.Add(unhex(f, e), uint8(1))
	}
	f.Add(bytes.Repeat([]byte{0x9f}, 300), uint8(3))
	f.Add(unhex(f, "5bffffffffffffffff"), uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, segment uint8) {
		agree(t, b)
		whole, wholeErr := Item(b)
		var s Scanner
		var n int
		var done bool
		var err error
		for end := 0; ; {
			end = min(end+1+int(segment), len(b))
			if n, done, err = s.Next(b[:end]); done || err != nil || end == len(b) {
				break
			}
		}
		require.Equal(t, wholeErr == nil, done)
		if done {
			require.Equal(t, whole, n)
		} else if err != nil {
			require.Equal(t, errors.Unwrap(wholeErr), errors.Unwrap(err))
		} else {
			require.ErrorIs(t, wholeErr, ErrTruncated)
		}
	})
}

// nested200k is 200 kB of small items, the worst case for a scanner: nothing to skip.
func nested200k() []byte {
	b := AppendIndefArray(nil)
	for len(b) < 200_000 {
		b = AppendArray(b, 2)
		b = AppendArray(b, 2)
		b = AppendUint(b, 3)
		b = AppendUint(b, 70000)
		b = AppendBytes(b, make([]byte, 5))
	}
	return AppendBreak(b)
}

func scanSegments(b []byte, segment int) bool {
	var s Scanner
	for end := segment; ; end += segment {
		if _, done, _ := s.Next(b[:min(end, len(b))]); done || end >= len(b) {
			return done
		}
	}
}

func TestScannerSegmentsCostTheirBytesOnly(t *testing.T) {
	b := nested200k()
	require.Zero(t, testing.AllocsPerRun(3, func() { require.True(t, scanSegments(b, 16)) }))
}

// No byte is looked at twice: what is behind the scanner may be overwritten.
func TestScannerNeverLooksBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := anyItem(5).Draw(t, "item")
		var s Scanner
		seen := make([]byte, 0, len(b))
		for end := 0; end < len(b); {
			next := min(end+rapid.IntRange(1, 5).Draw(t, "segment"), len(b))
			seen = append(seen, b[end:next]...)
			end = next
			n, done, err := s.Next(seen)
			require.NoError(t, err)
			require.Equal(t, end == len(b), done)
			if done {
				require.Equal(t, len(b), n)
			}
			for i := range s.Scanned() {
				seen[i] = 0xff
			}
		}
	})
}

func BenchmarkScanner200kIn16ByteSegments(b *testing.B) {
	for _, c := range []struct {
		name string
		item []byte
	}{{"items", nested200k()}, {"string", AppendBytes(nil, make([]byte, 200_000))}} {
		for _, segment := range []int{1, 16, 1 << 20} {
			b.Run(c.name+"/"+map[int]string{1: "1B", 16: "16B", 1 << 20: "whole"}[segment], func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(c.item)))
				for b.Loop() {
					if !scanSegments(c.item, segment) {
						b.Fatal("not found")
					}
				}
			})
		}
	}
}
