package handshake_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"github.com/hearthnet/hearth/protocols/handshake"
)

// Both sides of a handshake. Hosts need it only for connections of their own making: connmgr does it for its.
func Example() {
	ctx := context.Background()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	answered := make(chan error, 1)
	go func() {
		_, err := handshake.Respond(ctx, b, handshake.Proposal{Versions: []uint16{14, 15}, Data: handshake.Data{Magic: 2}})
		answered <- err
	}()
	r, err := handshake.Initiate(ctx, a, handshake.Proposal{Versions: []uint16{15, 16}, Data: handshake.Data{Magic: 2, InitiatorOnly: true}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("version", r.Negotiated.Version, "answered:", <-answered)
	// Output: version 15 answered: <nil>
}
