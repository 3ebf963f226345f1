package topology

import (
	"encoding/binary"
	"errors"
	"math"
	"math/big"
)

// ErrNoSRV is returned by [Snapshot.EncodeForOldClients] for snapshots that such clients cannot be given.
var ErrNoSRV = errors.New("only snapshots without a block hash have a form for clients before node-to-client version 22")

// AppendCBOR appends the answer of the node-to-client query for a snapshot (governor §6.3): internal version 1 for JSON
// versions 1 and 2, 2 for big pools and 3 for all pools of version 23. An IPv4 address in IPv6 clothes is written as IPv6.
func (s *Snapshot) AppendCBOR(b []byte) []byte {
	switch {
	case s.Version != 23:
		b = append(b, 0x82, 1, 0x82)
	case s.All:
		b = append(b, 0x82, 3, 0x83)
	default:
		b = append(b, 0x82, 2, 0x83)
	}
	switch {
	case s.Origin:
		b = append(b, 0x81, 0)
	case s.Version != 23:
		b = append(b, 0x82, 1)
		b = appendHead(b, 0, s.Slot)
	default:
		b = append(b, 0x83, 1)
		b = appendHead(b, 0, s.Slot)
		b = appendBytes(b, s.Hash)
	}
	if s.Version == 23 {
		b = appendHead(b, 0, uint64(s.Magic))
	}
	b = append(b, 0x9f)
	for _, p := range s.Pools {
		switch {
		case s.Version != 23: // the pairs are nested
			b = append(b, 0x82)
			b = appendFraction(b, p.Accumulated)
			b = append(b, 0x82)
		case s.All:
			b = append(b, 0x82)
		default:
			b = append(b, 0x83)
			b = appendFraction(b, p.Accumulated)
		}
		b = appendFraction(b, p.Stake)
		b = append(b, 0x9f)
		for _, r := range p.Relays {
			b = appendRelay(b, r)
		}
		b = append(b, 0xff)
	}
	return append(b, 0xff)
}

// EncodeForOldClients is AppendCBOR for clients before node-to-client version 22, which do not know SRV relays: these are left
// out, then pools without relays; stakes stay as they are.
func (s *Snapshot) EncodeForOldClients() ([]byte, error) {
	if s.Version == 23 {
		return nil, ErrNoSRV
	}
	c := *s
	c.Pools = nil
	for _, p := range s.Pools {
		var relays []AccessPoint
		for _, r := range p.Relays {
			if r.Kind != SRV {
				relays = append(relays, r)
			}
		}
		if len(relays) > 0 {
			p.Relays = relays
			c.Pools = append(c.Pools, p)
		}
	}
	return c.AppendCBOR(nil), nil
}

func appendHead(b []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n <= math.MaxUint8:
		return append(b, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

func appendBytes(b, v []byte) []byte { return append(appendHead(b, 2, uint64(len(v))), v...) }

func appendFraction(b []byte, f Fraction) []byte {
	num, den := f.parts()
	return appendInteger(appendInteger(append(b, 0x82), num), den)
}

func appendInteger(b []byte, v *big.Int) []byte {
	if v.IsUint64() {
		return appendHead(b, 0, v.Uint64())
	}
	if v.Sign() > 0 {
		return appendBytes(append(b, 0xc2), v.Bytes())
	}
	v = new(big.Int).Not(v) // -1 - v
	if v.IsUint64() {
		return appendHead(b, 1, v.Uint64())
	}
	return appendBytes(append(b, 0xc3), v.Bytes())
}

func appendRelay(b []byte, r AccessPoint) []byte {
	if r.Kind == SRV {
		return appendBytes(append(b, 0x82, 3), []byte(r.Name))
	}
	kind := byte(0)
	if r.Kind == IP {
		kind = 2
		if r.IP.Is4() {
			kind = 1
		}
	}
	b = appendHead(append(b, 0x83, kind), 0, uint64(r.Port))
	switch kind {
	case 0:
		return appendBytes(b, []byte(r.Name))
	case 1:
		b = append(b, 0x9f)
		for _, octet := range r.IP.As4() {
			b = appendHead(b, 0, uint64(octet))
		}
	default:
		b = append(b, 0x9f)
		octets := r.IP.As16()
		for i := 0; i < 16; i += 2 {
			b = appendHead(b, 0, uint64(binary.BigEndian.Uint16(octets[i:])))
		}
	}
	return append(b, 0xff)
}
