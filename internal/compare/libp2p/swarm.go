package libp2p

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"
)

// nodes is the size of a swarm. Node i is linked to the next three and to the one opposite, so every node has seven neighbours.
const nodes = 16

// links are the pairs that are connected; the first of each dials.
func links() (out [][2]int) {
	for i := range nodes {
		for _, d := range []int{1, 2, 3} {
			out = append(out, [2]int{i, (i + d) % nodes})
		}
		if i < nodes/2 {
			out = append(out, [2]int{i, i + nodes/2})
		}
	}
	return out
}

// delivery is one body at one node: its id is what the implementation computed with SHA-256 over what has arrived.
type delivery struct {
	node int
	id   id
	body []byte
	at   time.Time
}

// id is an implementation's own name for a body.
type id [sha256.Size]byte

// swarm is sixteen nodes of one implementation over loopback TCP.
type swarm interface {
	// publish sends a body from a node; the body must not be changed afterwards.
	publish(node int, body []byte, urgent bool) (id, error)
	// forget says that a body is everywhere: nobody need keep it.
	forget(name id, size int, urgent bool)
	// received is what has arrived at all nodes on their sockets since they were connected, and how many bodies, duplicates included.
	received() (bytes, bodies uint64)
	// violations counts what nodes hold against each other; there is none among honest ones.
	violations() uint64
	close() error
}

// implementation makes swarms. delivered is called once for every body at every node but its publisher, from many goroutines.
type implementation struct {
	name string
	make func(ctx context.Context, delivered func(delivery)) (swarm, error)
}

// implementations are those compared; the first is what the other is compared with.
var implementations = []implementation{
	{"gossipsub", newGossipsub},
	{"hearth", newHearth},
}

// await asks for ready until it is true.
func await(ctx context.Context, what string, ready func() bool) error {
	t := time.NewTicker(2 * time.Millisecond)
	defer t.Stop()
	for !ready() {
		select {
		case <-t.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		}
	}
	return nil
}
