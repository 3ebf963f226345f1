package artifact

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// artifact-join and the version data of the handshake (artifact §6.2).

const (
	tagJoin = iota
	tagJoinOk
	tagJoinNo
)

// Reasons of joinNo.
const (
	joinUnknown = iota
	joinBadMAC
	joinStale
	joinIndex
)

type msgJoin struct {
	session [8]byte
	bearer  uint64
	attempt uint64
	mac     [16]byte
}

func sessionOf(key *[16]byte) (s [8]byte) {
	h := sha256.Sum256(key[:])
	copy(s[:], h[:])
	return s
}

// joinMAC is the proof of the dialler (word "join") or of the acceptor ("joined") that it knows the key.
func joinMAC(key *[16]byte, word string, session [8]byte, bearer, attempt uint64) (mac [16]byte) {
	h := hmac.New(sha256.New, key[:])
	h.Write([]byte(word))
	h.Write(session[:])
	var n [16]byte
	binary.BigEndian.PutUint64(n[:], bearer)
	binary.BigEndian.PutUint64(n[8:], attempt)
	h.Write(n[:])
	copy(mac[:], h.Sum(nil))
	return mac
}

func (m *msgJoin) append(b []byte) []byte {
	b = appendBytes(append(b, 0x85, tagJoin), m.session[:])
	b = appendUint(b, m.bearer)
	b = appendUint(b, m.attempt)
	return appendBytes(b, m.mac[:])
}

func decodeJoin(b []byte) (m msgJoin, err error) {
	r := &reader{b: b}
	a, tag := r.tagged()
	if len(b) > 64 || r.err == nil && tag != tagJoin {
		r.fail("join, of at most 64 bytes")
	}
	r.field(&a, "a session")
	m.session = r.bytes8("a session")
	r.field(&a, "a bearer")
	m.bearer = r.uint(maxInt63, "a bearer")
	r.field(&a, "an attempt")
	m.attempt = r.uint(maxInt63, "an attempt")
	r.field(&a, "a mac")
	copy(m.mac[:], r.bytes(16, 16, "a mac"))
	return m, r.finish(&a)
}

func appendJoinOk(b []byte, mac [16]byte) []byte {
	return appendBytes(append(b, 0x82, tagJoinOk), mac[:])
}

func appendJoinNo(b []byte, reason uint64) []byte {
	return appendUint(append(b, 0x82, tagJoinNo), reason)
}

// decodeJoinReply decodes joinOk (ok set) or joinNo.
func decodeJoinReply(b []byte) (ok bool, mac [16]byte, reason uint64, err error) {
	r := &reader{b: b}
	a, tag := r.tagged()
	switch {
	case r.err != nil:
	case len(b) > MaxSmall:
		r.fail("a join message of at most 256 bytes")
	case tag == tagJoinOk:
		ok = true
		r.field(&a, "a mac")
		copy(mac[:], r.bytes(16, 16, "a mac"))
	case tag == tagJoinNo:
		r.field(&a, "a reason")
		reason = r.uint(joinIndex, "a reason")
	default:
		r.fail("joinOk or joinNo")
	}
	if err = r.finish(&a); err != nil {
		return false, mac, 0, err
	}
	return ok, mac, reason, nil
}

// VersionData is the version data of the artifact handshake: [network, nodeId, features] (artifact §6.2, Numbers and
// negotiation). Everyone names his own nodeId.
type VersionData struct {
	Network  uint32
	NodeID   PeerID
	Features uint64 // bit 0: this is a bulk bearer
}

// FeatureBulk in VersionData.Features says that the connection is a bulk bearer: join comes first, then one fetch lane.
const FeatureBulk uint64 = 1

// Append appends the CBOR of the version data to b.
func (v VersionData) Append(b []byte) []byte {
	b = appendUint(append(b, 0x83), uint64(v.Network))
	b = appendBytes(b, v.NodeID[:])
	return appendUint(b, v.Features)
}

// DecodeVersionData decodes version data. Any error is a *DecodeError.
func DecodeVersionData(b []byte) (v VersionData, err error) {
	r := &reader{b: b}
	a := r.open(3, "version data")
	v.Network = uint32(r.uint(1<<32-1, "a network of 32 bits"))
	copy(v.NodeID[:], r.bytes(16, 16, "a nodeId"))
	v.Features = r.uint(maxInt63, "features")
	r.shut(a, "end of version data")
	return v, r.end()
}
