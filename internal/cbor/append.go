package cbor

import (
	"encoding/binary"
	"math/big"
)

// AppendUint appends an unsigned integer. All encoders append to dst and return it, and use the shortest head.
func AppendUint(dst []byte, n uint64) []byte { return appendHead(dst, majorUint, n) }

// AppendInt appends an integer of either sign.
func AppendInt(dst []byte, n int64) []byte {
	if n < 0 {
		return appendHead(dst, majorNegative, uint64(^n))
	}
	return appendHead(dst, majorUint, uint64(n))
}

// AppendBigInt appends an integer of any size: in the plain form if it fits one, as a bignum otherwise (RFC 8949 §3.4.3).
func AppendBigInt(dst []byte, n *big.Int) []byte {
	major, tag := majorUint, uint64(2)
	if n.Sign() < 0 {
		major, tag = majorNegative, 3
		n = new(big.Int).Not(n)
	}
	if n.IsUint64() {
		return appendHead(dst, major, n.Uint64())
	}
	return AppendBytes(AppendTag(dst, tag), n.Bytes())
}

// AppendBytes appends a byte string.
func AppendBytes(dst, b []byte) []byte { return append(AppendBytesHead(dst, len(b)), b...) }

// AppendBytesHead appends the head of a byte string of n bytes, which the caller appends next.
func AppendBytesHead(dst []byte, n int) []byte { return appendHead(dst, majorBytes, uint64(n)) }

// AppendText appends a text string; s must be UTF-8.
func AppendText[S string | []byte](dst []byte, s S) []byte {
	return append(appendHead(dst, majorText, uint64(len(s))), s...)
}

// AppendArray appends the head of an array of n elements.
func AppendArray(dst []byte, n int) []byte { return appendHead(dst, majorArray, uint64(n)) }

// AppendMap appends the head of a map of n pairs.
func AppendMap(dst []byte, n int) []byte { return appendHead(dst, majorMap, uint64(n)) }

// AppendIndefArray appends the head of an array that [AppendBreak] ends.
func AppendIndefArray(dst []byte) []byte { return append(dst, majorArray<<5|31) }

// AppendIndefMap appends the head of a map that [AppendBreak] ends.
func AppendIndefMap(dst []byte) []byte { return append(dst, majorMap<<5|31) }

// AppendBreak ends an array or map of indefinite length.
func AppendBreak(dst []byte) []byte { return append(dst, 0xff) }

// AppendTag appends a tag number; the caller appends the tagged item next.
func AppendTag(dst []byte, tag uint64) []byte { return appendHead(dst, majorTag, tag) }

// AppendWrapped appends one item as CBOR in CBOR: tag 24 around a byte string (wire §0).
func AppendWrapped(dst, item []byte) []byte { return AppendBytes(AppendTag(dst, 24), item) }

// AppendBool appends true or false.
func AppendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, 0xf5)
	}
	return append(dst, 0xf4)
}

// HeadLen returns the number of bytes that the head of an integer, string, array, map or tag with argument n takes.
func HeadLen(n uint64) int {
	switch {
	case n < 24:
		return 1
	case n < 1<<8:
		return 2
	case n < 1<<16:
		return 3
	case n < 1<<32:
		return 5
	}
	return 9
}

func appendHead(dst []byte, major byte, n uint64) []byte {
	m := major << 5
	switch {
	case n < 24:
		return append(dst, m|byte(n))
	case n < 1<<8:
		return append(dst, m|24, byte(n))
	case n < 1<<16:
		return append(dst, m|25, byte(n>>8), byte(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(dst, m|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, m|27), n)
}
