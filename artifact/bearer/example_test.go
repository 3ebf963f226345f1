package bearer_test

import (
	"fmt"
	"log"
	"net"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/artifact/bearer"
)

// notes is one kind of artifact. The number, and what is here the default, are the same on every node.
var notes = artifact.BytesKind(artifact.Kind[[]byte]{ID: 1, MaxSize: 4096})

// reader is the layer above.
type reader struct{ notes chan string }

// OnChange takes every note for good, and tells of it.
func (r reader) OnChange(pool artifact.Reader[[]byte]) (changes []artifact.Change[[]byte]) {
	for _, e := range pool.Unvalidated() {
		changes = append(changes, artifact.Change[[]byte]{Op: artifact.MoveToValidated, ID: e.ID})
		r.notes <- string(e.Value)
	}
	return changes
}

// Bouncer says which adverts are wanted, and how urgently: here all, as Normal.
func (reader) Bouncer(artifact.Reader[[]byte]) func(artifact.ID, []byte) artifact.Interest {
	return nil
}

// Quota is the kind's for every peer.
func (reader) Quota(artifact.PeerID) int64 { return 0 }

// start makes a node that listens on loopback and keeps a bearer to every peer.
func start(id byte, above reader, peers ...string) (h *artifact.Handle[[]byte], addr string, stop func()) {
	h = artifact.Register(notes, above)
	node, err := artifact.NewNode(artifact.Config{NodeID: artifact.PeerID{id}}, nil, h)
	if err != nil {
		log.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	network, err := bearer.New(node, bearer.Config{Network: 42, Listener: ln, Peers: peers})
	if err != nil {
		log.Fatal(err)
	}
	return h, ln.Addr().String(), func() { network.Close(); node.Close() }
}

// Two nodes: what one publishes is at the other, verified, as soon as they are connected.
func Example() {
	a, addr, stop := start(1, reader{})
	defer stop()
	b := reader{make(chan string, 1)}
	_, _, stop = start(2, b, addr)
	defer stop()

	if _, err := a.Publish([]byte("the fire is lit"), artifact.Normal); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-b.notes)
	// Output: the fire is lit
}
