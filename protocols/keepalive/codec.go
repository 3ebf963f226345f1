package keepalive

import (
	"fmt"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols"
)

// Message is any keep-alive message: [MsgKeepAlive], [MsgResponse], [MsgDone].
type Message interface {
	// Append appends the message's bytes.
	Append(dst []byte) []byte
}

// The messages of wire §10.
type (
	// MsgKeepAlive asks for its cookie back.
	MsgKeepAlive struct{ Cookie uint16 }
	// MsgResponse gives it back.
	MsgResponse struct{ Cookie uint16 }
	// MsgDone ends the mini-protocol.
	MsgDone struct{}
)

// Append implements [Message].
func (m MsgKeepAlive) Append(dst []byte) []byte { return AppendKeepAlive(dst, m.Cookie) }

// Append implements [Message].
func (m MsgResponse) Append(dst []byte) []byte { return AppendResponse(dst, m.Cookie) }

// Append implements [Message].
func (MsgDone) Append(dst []byte) []byte { return AppendDone(dst) }

// AppendKeepAlive appends [0, cookie].
func AppendKeepAlive(dst []byte, cookie uint16) []byte {
	return appendCookie(dst, TagKeepAlive, cookie)
}

// AppendResponse appends [1, cookie].
func AppendResponse(dst []byte, cookie uint16) []byte { return appendCookie(dst, TagResponse, cookie) }

func appendCookie(dst []byte, tag uint64, cookie uint16) []byte {
	return cbor.AppendUint(cbor.AppendMessage(dst, 2, tag), uint64(cookie))
}

// AppendDone appends [2].
func AppendDone(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagDone) }

// DecodeKeepAlive returns the cookie of a KeepAlive. It does not allocate.
func DecodeKeepAlive(msg []byte) (cookie uint16, err error) {
	return decodeCookie(msg, TagKeepAlive, "KeepAlive")
}

// DecodeResponse returns the cookie of a KeepAliveResponse. It does not allocate.
func DecodeResponse(msg []byte) (cookie uint16, err error) {
	return decodeCookie(msg, TagResponse, "KeepAliveResponse")
}

func decodeCookie(msg []byte, tag uint64, name string) (uint16, error) {
	r := cbor.OpenMessage(msg, 2, tag)
	cookie := r.Uint16()
	if err := r.Done(); err != nil {
		return 0, fmt.Errorf("keep-alive: %s: %w", name, err)
	}
	return cookie, nil
}

// Decode decodes a message that arrived in st.
func Decode(st protocols.State, msg []byte) (Message, error) {
	row, err := spec.Step(st, msg)
	if err != nil {
		return nil, fmt.Errorf("keep-alive: %w", err)
	}
	switch row.Tag {
	case TagKeepAlive:
		cookie, err := DecodeKeepAlive(msg)
		return MsgKeepAlive{cookie}, err
	case TagResponse:
		cookie, err := DecodeResponse(msg)
		return MsgResponse{cookie}, err
	}
	if err := cbor.Wellformed(msg); err != nil {
		return nil, fmt.Errorf("keep-alive: Done: %w", err)
	}
	return MsgDone{}, nil
}
