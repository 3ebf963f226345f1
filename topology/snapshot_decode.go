package topology

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"net/netip"
)

// maxBignum bounds the numerators and denominators of stakes in CBOR, in bytes. Real ones have at most eight.
const maxBignum = 512

// CBORError says where a snapshot stops being one.
type CBORError struct {
	Offset int // in bytes
	Reason string
}

// Error says at which byte, and why.
func (e *CBORError) Error() string {
	return fmt.Sprintf("peer snapshot in CBOR: at byte %d: %s", e.Offset, e.Reason)
}

// Fault says that a malformed snapshot is the sender's doing.
func (e *CBORError) Fault() string { return "adversarial" }

// DecodeSnapshot reads the answer of the node-to-client query (governor §6.3). It takes all three internal versions; pools,
// relays and the parts of IP addresses must be indefinite lists, all others definite ones. Errors are *CBORError. Input and
// memory are bounded as in [Parse].
//
// Two places where the reference's reader is broken are read as meant: an SRV relay must be a list of two, not three, and an
// IP address must have exactly its 4 octets or 8 words.
func DecodeSnapshot(data []byte) (*Snapshot, error) {
	d := &cborReader{data: data}
	if len(data) > MaxInput {
		return nil, d.fail("more than %d MiB", MaxInput>>20)
	}
	s, err := d.snapshot()
	if err != nil {
		return nil, err
	}
	if d.pos != len(data) {
		return nil, d.fail("%d bytes behind the end", len(data)-d.pos)
	}
	return s, nil
}

type cborReader struct {
	data []byte
	pos  int
}

func (d *cborReader) fail(format string, args ...any) *CBORError {
	return &CBORError{Offset: d.pos, Reason: fmt.Sprintf(format, args...)}
}

func (d *cborReader) snapshot() (*Snapshot, error) {
	if err := d.list(2); err != nil {
		return nil, err
	}
	version, err := d.uint(math.MaxUint8)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{}
	switch version {
	case 1:
		s.Version = 2
		if err := d.list(2); err != nil {
			return nil, err
		}
	case 2, 3:
		s.Version, s.All = 23, version == 3
		if err := d.list(3); err != nil {
			return nil, err
		}
	default:
		return nil, d.fail("internal version %d is not known", version)
	}
	if err := d.point(s); err != nil {
		return nil, err
	}
	if s.Version == 23 {
		magic, err := d.uint(math.MaxUint32)
		if err != nil {
			return nil, err
		}
		s.Magic = uint32(magic)
	}
	s.Pools = []Pool{}
	err = d.indefinite(func() error {
		p, err := d.pool(s)
		if err == nil {
			s.Pools = append(s.Pools, p)
		}
		return err
	})
	return s, err
}

func (d *cborReader) point(s *Snapshot) error {
	n, err := d.head(4)
	if err != nil {
		return err
	}
	tag, err := d.uint(math.MaxUint8)
	if err != nil {
		return err
	}
	block := uint64(2)
	if s.Version == 23 {
		block = 3
	}
	switch {
	case n == 1 && tag == 0:
		s.Origin = true
		return nil
	case n != block || tag != 1:
		return d.fail("a point is [0] or a list of %d with tag 1, not a list of %d with tag %d", block, n, tag)
	}
	if s.Slot, err = d.uint(math.MaxUint64); err != nil {
		return err
	}
	if s.Version == 23 {
		hash, err := d.bytes(math.MaxInt)
		if err != nil {
			return err
		}
		s.Hash = append([]byte{}, hash...)
	}
	return nil
}

func (d *cborReader) pool(s *Snapshot) (p Pool, err error) {
	length := uint64(2)
	if s.Version == 23 && !s.All {
		length = 3
	}
	if err = d.list(length); err != nil {
		return p, err
	}
	if !s.All {
		if p.Accumulated, err = d.fraction(); err != nil {
			return p, err
		}
	}
	if s.Version != 23 {
		if err = d.list(2); err != nil {
			return p, err
		}
	}
	if p.Stake, err = d.fraction(); err != nil {
		return p, err
	}
	start := d.pos
	// A relay needs 56 bytes and may take only three of the input: growing the list step by step would cost too much.
	p.Relays = make([]AccessPoint, 0, d.count())
	err = d.indefinite(func() error {
		r, err := d.relay()
		if err == nil {
			p.Relays = append(p.Relays, r)
		}
		return err
	})
	if err == nil && len(p.Relays) == 0 {
		d.pos = start
		return p, d.fail("a pool needs at least one relay")
	}
	return p, err
}

func (d *cborReader) relay() (a AccessPoint, err error) {
	n, err := d.head(4)
	if err != nil {
		return a, err
	}
	kind, err := d.uint(math.MaxUint8)
	if err != nil {
		return a, err
	}
	if kind > 3 || kind == 3 && n != 2 || kind < 3 && n != 3 {
		return a, d.fail("a relay is not a list of %d with tag %d", n, kind)
	}
	if kind < 3 {
		// Any integer of 64 bits, taken modulo 65,536.
		port, err := d.integer()
		if err != nil {
			return a, err
		}
		if !port.IsInt64() {
			return a, d.fail("a port does not fit in 64 bits")
		}
		a.Port = uint16(port.Int64())
	}
	switch kind {
	case 0, 3:
		name, err := d.bytes(math.MaxInt)
		if err != nil {
			return a, err
		}
		if a.Kind = Domain; kind == 3 {
			a.Kind = SRV
		}
		a.Name = string(name)
		return a, nil
	case 1:
		var octets [4]byte
		err = d.parts(len(octets), math.MaxUint8, func(i int, v uint64) { octets[i] = byte(v) })
		a.IP = netip.AddrFrom4(octets)
	default:
		var octets [16]byte
		err = d.parts(8, math.MaxUint16, func(i int, v uint64) { binary.BigEndian.PutUint16(octets[2*i:], uint16(v)) })
		a.IP = netip.AddrFrom16(octets)
	}
	return a, err
}

// parts reads the n parts of an IP address.
func (d *cborReader) parts(n int, limit uint64, set func(i int, v uint64)) error {
	i := 0
	err := d.indefinite(func() error {
		v, err := d.uint(limit)
		if err != nil {
			return err
		}
		if i == n {
			return d.fail("an IP address has %d parts", n)
		}
		set(i, v)
		i++
		return nil
	})
	if err == nil && i < n {
		return d.fail("an IP address has %d parts, not %d", n, i)
	}
	return err
}

func (d *cborReader) fraction() (Fraction, error) {
	if err := d.list(2); err != nil {
		return Fraction{}, err
	}
	// Two small numbers, as good as always, need no allocation.
	start := d.pos
	if num, err := d.uint(math.MaxUint64); err == nil {
		if den, err := d.uint(math.MaxUint64); err == nil && den > 0 {
			return NewFraction(num, den), nil
		}
	}
	d.pos = start
	num, err := d.integer()
	if err != nil {
		return Fraction{}, err
	}
	den, err := d.integer()
	if err != nil {
		return Fraction{}, err
	}
	if den.Sign() <= 0 {
		return Fraction{}, d.fail("a denominator must be positive")
	}
	return ownFraction(new(big.Rat).SetFrac(num, den)), nil
}

// integer reads an integer of either sign, a bignum of at most maxBignum bytes included.
func (d *cborReader) integer() (*big.Int, error) {
	if d.pos >= len(d.data) {
		return nil, d.fail("the text ends")
	}
	b := d.data[d.pos]
	if b == 0xc2 || b == 0xc3 {
		d.pos++
		v, err := d.bytes(maxBignum)
		if err != nil {
			return nil, err
		}
		n := new(big.Int).SetBytes(v)
		if b == 0xc3 {
			n.Not(n)
		}
		return n, nil
	}
	if b>>5 == 1 {
		v, err := d.head(1)
		return new(big.Int).Not(new(big.Int).SetUint64(v)), err
	}
	v, err := d.head(0)
	return new(big.Int).SetUint64(v), err
}

// head reads an initial byte of the given major type and its argument; longer forms than needed are fine, indefinite ones
// are not.
func (d *cborReader) head(major byte) (uint64, error) {
	if d.pos >= len(d.data) {
		return 0, d.fail("the text ends")
	}
	b := d.data[d.pos]
	if b>>5 != major {
		return 0, d.fail("major type %d is expected, not %d", major, b>>5)
	}
	info := b & 31
	if info < 24 {
		d.pos++
		return uint64(info), nil
	}
	if info > 27 {
		return 0, d.fail("a definite length is expected")
	}
	size := 1 << (info - 24)
	if len(d.data)-d.pos-1 < size {
		return 0, d.fail("the text ends")
	}
	var v uint64
	for _, c := range d.data[d.pos+1 : d.pos+1+size] {
		v = v<<8 | uint64(c)
	}
	d.pos += 1 + size
	return v, nil
}

func (d *cborReader) list(length uint64) error {
	start := d.pos
	n, err := d.head(4)
	if err == nil && n != length {
		d.pos = start
		return d.fail("a list of %d is expected, not of %d", length, n)
	}
	return err
}

func (d *cborReader) uint(limit uint64) (uint64, error) {
	start := d.pos
	n, err := d.head(0)
	if err == nil && n > limit {
		d.pos = start
		return 0, d.fail("%d is above %d", n, limit)
	}
	return n, err
}

func (d *cborReader) bytes(limit int) ([]byte, error) {
	start := d.pos
	n, err := d.head(2)
	if err != nil {
		return nil, err
	}
	if n > uint64(len(d.data)-d.pos) {
		return nil, d.fail("the text ends")
	}
	if n > uint64(limit) {
		d.pos = start
		return nil, d.fail("a number of %d bytes, more than %d", n, limit)
	}
	v := d.data[d.pos : d.pos+int(n)]
	d.pos += int(n)
	return v, nil
}

// count returns the number of elements of the indefinite list of relays ahead. It is a hint: what is no list of relays gives
// any number up to the bytes that are left, divided by two.
func (d *cborReader) count() int {
	c := cborReader{data: d.data, pos: d.pos}
	n := 0
	_ = c.indefinite(func() error {
		length, err := c.head(4)
		if err != nil {
			return err
		}
		n++
		for range min(length, 3) {
			if c.pos >= len(c.data) {
				return c.fail("the text ends")
			}
			switch c.data[c.pos] >> 5 {
			case 2:
				_, err = c.bytes(math.MaxInt)
			case 4:
				err = c.indefinite(func() error { _, err := c.head(0); return err })
			default:
				_, err = c.integer()
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return n
}

// indefinite reads the elements of an indefinite list up to its break.
func (d *cborReader) indefinite(element func() error) error {
	if d.pos >= len(d.data) || d.data[d.pos] != 0x9f {
		return d.fail("an indefinite list is expected")
	}
	d.pos++
	for {
		if d.pos >= len(d.data) {
			return d.fail("the text ends inside a list")
		}
		if d.data[d.pos] == 0xff {
			d.pos++
			return nil
		}
		if err := element(); err != nil {
			return err
		}
	}
}
