package cbor

import (
	"errors"
	"math"
	"math/big"
	"testing"

	fx "github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestReaderReadsEveryType(t *testing.T) {
	b := AppendArray(nil, 14)
	b = AppendUint(b, math.MaxUint64)
	b = AppendUint(b, 65535)
	b = AppendInt(b, math.MinInt64)
	b = AppendBytes(b, []byte("abc"))
	b = AppendText(b, "é")
	b = AppendBool(b, true)
	b = AppendWrapped(b, []byte{0x81, 0x01})
	b = AppendBreak(AppendUint(AppendIndefArray(b), 7))
	b = AppendBool(AppendUint(AppendMap(b, 1), 1), false)
	b = AppendBreak(AppendIndefMap(b))
	b = AppendTag(b, 258)
	b = AppendArray(b, 0)
	b = append(b, 0xf6)
	b = AppendUint(b, 255)
	b = AppendUint(b, 1<<32-1)
	require.NoError(t, Wellformed(b))
	require.NoError(t, fx.Wellformed(b))

	r := NewReader(b)
	r.DefArray(14)
	require.EqualValues(t, uint64(math.MaxUint64), r.Uint())
	require.EqualValues(t, 65535, r.Uint16())
	require.EqualValues(t, math.MinInt64, r.Int())
	require.Equal(t, "abc", string(r.BytesLen(3)))
	require.Equal(t, "é", string(r.Text()))
	require.True(t, r.Bool())
	require.Equal(t, []byte{0x81, 0x01}, r.Wrapped())
	r.IndefArray()
	require.False(t, r.Break())
	require.EqualValues(t, 7, r.Uint8())
	require.True(t, r.Break())
	require.Equal(t, 1, r.DefMap())
	require.EqualValues(t, 1, r.Uint())
	require.False(t, r.Bool())
	_, indefinite := r.Map()
	require.True(t, indefinite)
	require.True(t, r.Break())
	require.EqualValues(t, 258, r.Tag())
	require.Zero(t, r.AnyDefArray())
	require.Equal(t, []byte{0xf6}, r.Raw())
	require.EqualValues(t, 255, r.Uint8())
	require.EqualValues(t, uint32(math.MaxUint32), r.Uint32())
	require.Equal(t, len(b), r.Offset())
	require.NoError(t, r.Done())
}

func TestReaderRefuses(t *testing.T) {
	for _, c := range []struct {
		hex    string
		read   func(*Reader)
		err    error
		offset int
	}{
		{"", func(r *Reader) { r.Uint() }, ErrTruncated, 0},
		{"1901", func(r *Reader) { r.Uint() }, ErrTruncated, 0},
		{"20", func(r *Reader) { r.Uint() }, ErrType, 0},
		{"190100", func(r *Reader) { r.Uint8() }, ErrRange, 0},
		{"1a00010000", func(r *Reader) { r.Uint16() }, ErrRange, 0},
		{"1b0000000100000000", func(r *Reader) { r.Uint32() }, ErrRange, 0},
		{"1b8000000000000000", func(r *Reader) { r.Int() }, ErrRange, 0},
		{"3b8000000000000000", func(r *Reader) { r.Int() }, ErrRange, 0},
		{"c24100", func(r *Reader) { r.Int() }, ErrType, 0},
		{"1c", func(r *Reader) { r.Uint() }, ErrReserved, 0},
		{"1f", func(r *Reader) { r.Uint() }, ErrReserved, 0},
		{"9c", func(r *Reader) { r.Array() }, ErrReserved, 0},
		{"5f4100ff", func(r *Reader) { r.Bytes() }, ErrIndefinite, 0},
		{"7f6161ff", func(r *Reader) { r.Text() }, ErrIndefinite, 0},
		{"61ff", func(r *Reader) { r.Text() }, ErrUTF8, 0},
		{"6161", func(r *Reader) { r.Bytes() }, ErrType, 0},
		{"5bffffffffffffffff", func(r *Reader) { r.Bytes() }, ErrTruncated, 0},
		{"0043000102", func(r *Reader) { r.Uint(); r.BytesLen(2) }, ErrLength, 1},
		{"f6", func(r *Reader) { r.Bool() }, ErrType, 0},
		{"", func(r *Reader) { r.Bool() }, ErrTruncated, 0},
		{"9f00ff", func(r *Reader) { r.DefArray(1) }, ErrIndefinite, 0},
		{"820000", func(r *Reader) { r.DefArray(1) }, ErrLength, 0},
		{"9bffffffffffffffff00", func(r *Reader) { r.Array() }, ErrTruncated, 0},
		{"8000", func(r *Reader) { r.IndefArray() }, ErrDefinite, 0},
		{"bf0000ff", func(r *Reader) { r.DefMap() }, ErrIndefinite, 0},
		{"bb80000000000000010000", func(r *Reader) { r.Map() }, ErrTruncated, 0},
		{"a2000000", func(r *Reader) { r.Map() }, ErrTruncated, 0},
		{"80", func(r *Reader) { r.Map() }, ErrType, 0},
		{"9f00", func(r *Reader) { r.IndefArray(); r.Raw(); r.Break() }, ErrTruncated, 2},
		{"d8194100", func(r *Reader) { r.Wrapped() }, ErrType, 0},
		{"d81800", func(r *Reader) { r.Wrapped() }, ErrType, 2},
		{"d81840", func(r *Reader) { r.Wrapped() }, ErrTruncated, 3},
		{"d818420000", func(r *Reader) { r.Wrapped() }, ErrTrailing, 4},
		{"d8185f4100ff", func(r *Reader) { r.Wrapped() }, ErrIndefinite, 2},
		{"0082ff", func(r *Reader) { r.Uint(); r.Raw() }, ErrBreak, 2},
		{"00ff", func(r *Reader) { r.Uint() }, ErrTrailing, 1},
		{"c45820" + "00", func(r *Reader) { r.BigInt() }, ErrTruncated, 1},
		{"c44100", func(r *Reader) { r.BigInt() }, ErrType, 0},
		{"c25821" + "000000000000000000000000000000000000000000000000000000000000000000", func(r *Reader) { r.BigInt() }, ErrRange, 0},
		{"f6", func(r *Reader) { r.BigInt() }, ErrType, 0},
	} {
		r := NewReader(unhex(t, c.hex))
		c.read(&r)
		err := r.Done()
		require.ErrorIs(t, err, c.err, c.hex)
		var typed *Error
		require.True(t, errors.As(err, &typed))
		require.Equal(t, c.offset, typed.Offset, "%s: %v", c.hex, err)
		require.Equal(t, "adversarial", typed.Fault())

		// The first error stays and everything reads as zero, loops end.
		require.Zero(t, r.Uint())
		require.Nil(t, r.Raw())
		require.Nil(t, r.Bytes())
		require.Nil(t, r.Wrapped())
		require.Nil(t, r.BigInt())
		require.True(t, r.Break())
		l := r.List()
		require.False(t, r.More(&l))
		require.Equal(t, TypeNone, r.Peek())
		require.Equal(t, err, r.Fail(errors.New("later")))
		require.Equal(t, err, r.Err())
	}
}

func TestReaderNonMinimalHeads(t *testing.T) {
	r := NewReader(unhex(t, "98020059000101"+"1b0000000000000005"))
	require.Equal(t, 2, r.AnyDefArray())
	require.EqualValues(t, 0, r.Uint())
	require.Equal(t, []byte{1}, r.Bytes())
	require.EqualValues(t, 5, r.Uint16())
	require.NoError(t, r.Done())
}

func TestReaderLists(t *testing.T) {
	for _, h := range []string{"83010203", "9f010203ff"} {
		r := NewReader(unhex(t, h))
		sum := 0
		for l := r.List(); r.More(&l); {
			sum += int(r.Uint8())
		}
		require.NoError(t, r.Done())
		require.Equal(t, 6, sum)
	}
	r := NewReader(unhex(t, "9f0102"))
	n := 0
	for l := r.List(); r.More(&l); n++ {
		r.Uint8()
	}
	require.Equal(t, 2, n)
	require.ErrorIs(t, r.Done(), ErrTruncated)
}

func TestReaderEnveloped(t *testing.T) {
	for h, want := range map[string]error{
		"00": nil, "80": nil, "8106": nil, "820600": nil, "830600f6": nil, "a10102": nil, "c24100": nil, "d81801": nil, "9f06d8184000ff": nil,
		"d8184100": nil, "d818428000": ErrTrailing, "d81840": ErrTruncated, "d8185f4100ff": ErrIndefinite,
		"8206d8184100": nil, "8206d818428000": ErrTrailing, "8206d81841ff": ErrBreak, "8206d8185f4100ff": ErrIndefinite, "8206d818": ErrTruncated,
		"ff": ErrBreak, "": ErrTruncated, "8206": ErrTruncated,
	} {
		r := NewReader(unhex(t, h))
		raw := r.Enveloped()
		require.ErrorIs(t, r.Done(), want, h)
		if want == nil {
			require.Equal(t, unhex(t, h), raw)
		}
	}
}

func TestReaderPeek(t *testing.T) {
	for h, want := range map[string]Type{
		"": TypeNone, "00": TypeUint, "20": TypeNegative, "40": TypeBytes, "60": TypeText, "80": TypeArray, "9f": TypeArray,
		"a0": TypeMap, "c0": TypeTag, "f4": TypeBool, "f5": TypeBool, "f6": TypeOther, "ff": TypeOther,
	} {
		r := NewReader(unhex(t, h))
		require.Equal(t, want, r.Peek(), h)
	}
}

func TestBigIntRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := new(big.Int).SetBytes(rapid.SliceOfN(rapid.Byte(), 0, MaxBig).Draw(t, "n"))
		if rapid.Bool().Draw(t, "negative") {
			n.Not(n)
		}
		b := AppendBigInt(nil, n)
		theirs, err := fx.Marshal(n)
		require.NoError(t, err)
		require.Equal(t, theirs, b)
		r := NewReader(b)
		require.Zero(t, n.Cmp(r.BigInt()))
		require.NoError(t, r.Done())
	})
}

// The encoders are byte-identical with another encoder's shortest forms.
func TestAppendAgreesWithFxamacker(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := rapid.Uint64().Draw(t, "uint")
		i := rapid.Int64().Draw(t, "int")
		raw := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "bytes")
		s := rapid.String().Draw(t, "text")
		flag := rapid.Bool().Draw(t, "bool")
		want, err := fx.Marshal([]any{u, i, append([]byte{}, raw...), s, flag, fx.Tag{Number: u, Content: i}, map[uint64]bool{u: flag}})
		require.NoError(t, err)
		b := AppendArray(nil, 7)
		b = AppendUint(b, u)
		b = AppendInt(b, i)
		b = AppendBytes(b, raw)
		b = AppendText(b, s)
		b = AppendBool(b, flag)
		b = AppendInt(AppendTag(b, u), i)
		b = AppendBool(AppendUint(AppendMap(b, 1), u), flag)
		require.Equal(t, want, b)
		require.Equal(t, len(AppendUint(nil, u)), HeadLen(u))

		r := NewReader(b)
		r.DefArray(7)
		require.Equal(t, u, r.Uint())
		require.Equal(t, i, r.Int())
		require.Equal(t, len(raw), len(r.Bytes()))
		require.Equal(t, s, string(r.Text()))
		require.Equal(t, flag, r.Bool())
		require.Equal(t, u, r.Tag())
		require.Equal(t, i, r.Int())
		require.Equal(t, 1, r.DefMap())
		require.Equal(t, u, r.Uint())
		require.Equal(t, flag, r.Bool())
		require.NoError(t, r.Done())
	})
}

func TestReaderDoesNotAllocate(t *testing.T) {
	b := AppendArray(nil, 4)
	b = AppendUint(b, 2)
	b = AppendWrapped(b, AppendBytes(nil, make([]byte, 860)))
	b = AppendText(b, "transaction_bytes")
	b = AppendBreak(AppendUint(AppendIndefArray(b), 1))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		r := NewReader(b)
		r.DefArray(4)
		r.Uint8()
		r.Wrapped()
		r.Text()
		for l := r.List(); r.More(&l); {
			r.Raw()
		}
		if r.Done() != nil {
			panic(r.Err())
		}
	}))
}

// FuzzReader drives a reader with a program drawn from the input: nothing panics, nothing reads out of bounds, errors stay.
func FuzzReader(f *testing.F) {
	for _, e := range examples {
		f.Add([]byte{9, 10, 11, 12, 0, 1, 2, 3}, unhex(f, e))
	}
	f.Fuzz(func(t *testing.T, program, b []byte) {
		r := NewReader(b)
		ops := []func(){
			func() { r.Uint() }, func() { r.Uint8() }, func() { r.Uint16() }, func() { r.Uint32() }, func() { r.Int() },
			func() { r.BigInt() }, func() { r.Bool() }, func() { r.Bytes() }, func() { r.Text() }, func() { r.Tag() },
			func() { r.Wrapped() }, func() { r.Raw() }, func() { r.Array() }, func() { r.Map() }, func() { r.DefArray(2) },
			func() { r.Break() }, func() { r.Peek() }, func() { r.IndefArray() }, func() { r.DefMap() }, func() { r.AnyDefArray() },
		}
		for _, op := range program {
			failed, offset := r.Err(), r.Offset()
			ops[int(op)%len(ops)]()
			require.LessOrEqual(t, r.Offset(), len(b))
			require.GreaterOrEqual(t, r.Offset(), offset)
			if failed != nil {
				require.Equal(t, failed, r.Err())
				require.Equal(t, offset, r.Offset())
			}
		}
	})
}
