package bearer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/internal/cbor"
)

// MaxMessage is the largest handshake message in bytes.
const MaxMessage = 5760

// Reason is why a handshake was refused.
type Reason uint8

// The reasons, by their numbers on the wire.
const (
	NoCommonVersion Reason = iota // Versions says what the other end speaks
	Undecodable                   // the version data was malformed
	Refused                       // Text says why
)

// String returns the reason in words.
func (r Reason) String() string {
	return [...]string{"no common version", "version data not understood", "refused"}[min(r, Refused)]
}

// RefusalError ends a handshake: one end does not want the connection.
type RefusalError struct {
	Reason   Reason
	Versions []uint64 // NoCommonVersion
	Version  uint64   // the others
	Text     string   // the others; at most 256 bytes
	Remote   bool     // the peer refused us
}

// Error names the reason.
func (e *RefusalError) Error() string {
	who := "the peer was refused"
	if e.Remote {
		who = "refused by the peer"
	}
	switch {
	case e.Reason == NoCommonVersion:
		return fmt.Sprintf("artifact handshake: %s: %v, wanted one of %v", who, e.Reason, e.Versions)
	case e.Text == "":
		return fmt.Sprintf("artifact handshake: %s: %v", who, e.Reason)
	}
	return fmt.Sprintf("artifact handshake: %s: %v: %q", who, e.Reason, e.Text)
}

// Is makes a peer that says we are itself an artifact.ErrSelf: who dials himself is refused by himself.
func (e *RefusalError) Is(target error) bool {
	return target == artifact.ErrSelf && e.Reason == Refused && e.Text == "self"
}

// Fault tells that no rule was broken.
func (e *RefusalError) Fault() string { return "benign" }

// HandshakeError is a handshake message that breaks the rules.
type HandshakeError struct{ Err error }

// Error says what was wrong.
func (e *HandshakeError) Error() string { return "artifact handshake: " + e.Err.Error() }

// Unwrap returns what was wrong.
func (e *HandshakeError) Unwrap() error { return e.Err }

// Fault says that the peer broke the rules.
func (e *HandshakeError) Fault() string { return "adversarial" }

const (
	tagPropose = iota
	tagAccept
	tagRefuse

	maxVersions = 64
	maxText     = 256
)

// message is one decoded handshake message. data is the version data of artifact.Version, nil when a proposal lacks it.
type message struct {
	tag     uint64
	version uint64
	data    []byte
	refusal RefusalError
}

func appendPropose(b []byte, v artifact.VersionData) []byte {
	b = cbor.AppendMap(cbor.AppendMessage(b, 2, tagPropose), 1)
	return v.Append(cbor.AppendUint(b, uint64(artifact.Version)))
}

func appendAccept(b []byte, v artifact.VersionData) []byte {
	return v.Append(cbor.AppendUint(cbor.AppendMessage(b, 3, tagAccept), uint64(artifact.Version)))
}

func appendRefuse(b []byte, e *RefusalError) []byte {
	b = cbor.AppendMessage(b, 2, tagRefuse)
	if e.Reason == NoCommonVersion {
		b = cbor.AppendArray(cbor.AppendUint(cbor.AppendArray(b, 2), 0), len(e.Versions))
		for _, v := range e.Versions {
			b = cbor.AppendUint(b, v)
		}
		return b
	}
	b = cbor.AppendUint(cbor.AppendArray(b, 3), uint64(e.Reason))
	return cbor.AppendText(cbor.AppendUint(b, e.Version), e.Text)
}

var (
	errShape    = errors.New("wrong number of elements")
	errTag      = errors.New("unknown tag")
	errOrder    = errors.New("versions are not ascending")
	errVersions = errors.New("too many versions")
	errReason   = errors.New("unknown reason")
)

// decode reads one handshake message. Arrays and maps of either form are accepted.
func decode(b []byte) (m message, err error) {
	if len(b) > MaxMessage {
		return m, errVersions
	}
	r := cbor.NewReader(b)
	outer := r.List()
	more := func(l *cbor.List, want bool) {
		if r.Err() == nil && r.More(l) != want && r.Err() == nil {
			r.Fail(errShape)
		}
	}
	more(&outer, true)
	m.tag = r.Uint()
	more(&outer, true)
	switch {
	case r.Err() != nil:
	case m.tag == tagPropose:
		n, indefinite := r.Map()
		last, first := uint64(0), true
		for i := 0; r.Err() == nil; i++ {
			if indefinite && r.Break() || !indefinite && i >= n || r.Err() != nil {
				break
			}
			v := r.Uint()
			raw := r.Raw()
			switch {
			case r.Err() != nil:
			case i >= maxVersions:
				r.Fail(errVersions)
			case !first && v <= last:
				r.Fail(errOrder)
			case v == uint64(artifact.Version):
				m.version, m.data = v, raw
			}
			last, first = v, false
		}
	case m.tag == tagAccept:
		m.version = r.Uint()
		more(&outer, true)
		m.data = r.Raw()
	case m.tag == tagRefuse:
		m.refusal = refusal(&r, more)
	default:
		r.Fail(errTag)
	}
	more(&outer, false)
	return m, r.Done()
}

func refusal(r *cbor.Reader, more func(*cbor.List, bool)) (e RefusalError) {
	e.Remote = true
	l := r.List()
	more(&l, true)
	reason := r.Uint()
	if r.Err() == nil && reason > uint64(Refused) {
		r.Fail(errReason)
	}
	e.Reason = Reason(reason)
	more(&l, true)
	if e.Reason == NoCommonVersion {
		for vs := r.List(); r.More(&vs); {
			if len(e.Versions) == maxVersions {
				r.Fail(errVersions)
			}
			e.Versions = append(e.Versions, r.Uint())
		}
	} else {
		e.Version = r.Uint()
		more(&l, true)
		e.Text = clean(r.Text())
	}
	more(&l, false)
	return e
}

// clean makes a peer's words fit for a log.
func clean(b []byte) string {
	b = b[:min(len(b), maxText)]
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == utf8.RuneError || c == 0x7f {
			return '?'
		}
		return c
	}, string(b))
}
