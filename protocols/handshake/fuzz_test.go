package handshake

import (
	"testing"

	"github.com/hearthnet/hearth/protocols/internal/vectors"
)

func FuzzDecode(f *testing.F) {
	codec(false).Seed(f, casesNodeToNode)
	codec(true).Seed(f, casesNodeToClient)
	f.Fuzz(func(t *testing.T, state uint8, msg []byte) {
		codec(false).Fuzz(t, state, msg)
		codec(true).Fuzz(t, state, msg)
	})
}

// FuzzNegotiate: whatever the other side sends, a responder's answer is one that the codec knows and an initiator never panics.
func FuzzNegotiate(f *testing.F) {
	for _, c := range append(casesNodeToNode, casesNodeToClient...) {
		f.Add(vectors.Get(f, c.ID).Bytes)
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		for _, local := range []Proposal{{false, NodeToNodeVersions(), full}, {true, NodeToClientVersions(), query}} {
			if r, err := Negotiate(local, msg); err == nil {
				if len(r.Message) > MaxMessage {
					t.Fatalf("answer of %d bytes", len(r.Message))
				}
				if _, err := Decode(StateConfirm, r.Message, local.NodeToClient); err != nil {
					t.Fatalf("answer %x: %v", r.Message, err)
				}
			}
			res, err := Confirm(local, msg)
			if err == nil && res.Supported == nil && res.Negotiated.Version == 0 {
				t.Fatalf("%x: no result and no error", msg)
			}
		}
	})
}
