package peersharing

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols"
)

// Message is any peer-sharing message: [MsgShareRequest], [MsgSharePeers], [MsgDone].
type Message interface {
	// Append appends the message's bytes.
	Append(dst []byte) []byte
}

// The messages of wire §9.
type (
	// MsgShareRequest asks for up to Amount addresses.
	MsgShareRequest struct{ Amount uint8 }
	// MsgSharePeers tells addresses, no more than were asked for.
	MsgSharePeers struct{ Peers []netip.AddrPort }
	// MsgDone ends the mini-protocol.
	MsgDone struct{}
)

// Append implements [Message].
func (m MsgShareRequest) Append(dst []byte) []byte { return AppendShareRequest(dst, m.Amount) }

// Append implements [Message].
func (m MsgSharePeers) Append(dst []byte) []byte { return AppendSharePeers(dst, m.Peers) }

// Append implements [Message].
func (MsgDone) Append(dst []byte) []byte { return AppendDone(dst) }

// AppendShareRequest appends [0, amount].
func AppendShareRequest(dst []byte, amount uint8) []byte {
	return cbor.AppendUint(cbor.AppendMessage(dst, 2, TagShareRequest), uint64(amount))
}

// AppendSharePeers appends [1, addresses], the list as the reference writes it: definite when empty, indefinite otherwise.
// Up to [MaxPeers] addresses make a message of at most [MaxMessage] bytes. The zones of IPv6 addresses are left out.
func AppendSharePeers(dst []byte, peers []netip.AddrPort) []byte {
	dst = cbor.AppendMessage(dst, 2, TagSharePeers)
	if len(peers) == 0 {
		return cbor.AppendArray(dst, 0)
	}
	dst = cbor.AppendIndefArray(dst)
	for _, p := range peers {
		dst = appendPeer(dst, p)
	}
	return cbor.AppendBreak(dst)
}

const (
	kindIPv4 = 0 // [0, address, port]
	kindIPv6 = 1 // [1, word, word, word, word, port]
)

func appendPeer(dst []byte, p netip.AddrPort) []byte {
	if p.Addr().Is4() {
		octets := p.Addr().As4()
		dst = cbor.AppendUint(cbor.AppendArray(dst, 3), kindIPv4)
		dst = cbor.AppendUint(dst, uint64(binary.LittleEndian.Uint32(octets[:])))
	} else {
		octets := p.Addr().As16()
		dst = cbor.AppendUint(cbor.AppendArray(dst, 6), kindIPv6)
		for i := 0; i < 16; i += 4 {
			dst = cbor.AppendUint(dst, uint64(binary.BigEndian.Uint32(octets[i:])))
		}
	}
	return cbor.AppendUint(dst, uint64(p.Port()))
}

// AppendDone appends [2].
func AppendDone(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagDone) }

// ErrTooMany: more addresses than were asked for (wire §9).
var ErrTooMany = errors.New("more addresses than asked for")

var (
	errKind = errors.New("address of unknown kind or length")
)

func named(message string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("peer-sharing: %s: %w", message, err)
}

// DecodeShareRequest returns how many addresses are asked for.
func DecodeShareRequest(msg []byte) (amount uint8, err error) {
	r := cbor.OpenMessage(msg, 2, TagShareRequest)
	amount = r.Uint8()
	return amount, named("ShareRequest", r.Done())
}

// DecodeSharePeers appends the addresses to dst: at most limit, which is what was asked for, else [ErrTooMany]. Both forms
// of list are accepted. An address may be of no use, such as 0.0.0.0 or port 0: that is for the caller to see.
func DecodeSharePeers(dst []netip.AddrPort, msg []byte, limit int) ([]netip.AddrPort, error) {
	r := cbor.OpenMessage(msg, 2, TagSharePeers)
	n := 0
	for l := r.List(); r.More(&l); n++ {
		if n >= limit {
			r.Fail(ErrTooMany)
			break
		}
		dst = append(dst, readPeer(&r))
	}
	if err := r.Done(); err != nil {
		return nil, named("SharePeers", err)
	}
	return dst, nil
}

func readPeer(r *cbor.Reader) netip.AddrPort {
	n := r.AnyDefArray()
	kind := r.Uint()
	var addr netip.Addr
	switch {
	case kind == kindIPv4 && n == 3:
		var octets [4]byte
		binary.LittleEndian.PutUint32(octets[:], r.Uint32())
		addr = netip.AddrFrom4(octets)
	case kind == kindIPv6 && n == 6:
		var octets [16]byte
		for i := 0; i < 16; i += 4 {
			binary.BigEndian.PutUint32(octets[i:], r.Uint32())
		}
		addr = netip.AddrFrom16(octets)
	default:
		r.Fail(errKind)
	}
	return netip.AddrPortFrom(addr, r.Uint16())
}

// Decode decodes a message that arrived in st; up to 255 addresses, the most that can be asked for.
func Decode(st protocols.State, msg []byte) (Message, error) {
	row, err := spec.Step(st, msg)
	if err != nil {
		return nil, fmt.Errorf("peer-sharing: %w", err)
	}
	switch row.Tag {
	case TagShareRequest:
		amount, err := DecodeShareRequest(msg)
		return MsgShareRequest{amount}, err
	case TagSharePeers:
		peers, err := DecodeSharePeers(nil, msg, math.MaxUint8)
		return MsgSharePeers{peers}, err
	}
	return MsgDone{}, named("Done", cbor.Wellformed(msg))
}
