package connmgr_test

import (
	"context"
	"fmt"
	"log"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

// Follow a chain: connect, and be told of every block and every roll back.
func Example_follow() {
	addr, stop := exampleNode()
	defer stop()

	ctx := context.Background()
	conn, err := connmgr.Dial(ctx, addr, connmgr.Preview)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	for ev, err := range chainsync.NewClient(conn).Follow(ctx, nil) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(ev.Kind, len(ev.Payload), "tip", ev.Tip.Block)
		if ev.Kind == chainsync.Forward {
			break
		}
	}
	// Output:
	// backward 0 tip 3
	// forward 13 tip 3
}

// Serve a chain: headers and blocks, to whoever connects, until ctx ends. The chain is anything that implements the two Source
// interfaces.
func Example_serve() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	chain := exampleChain(3)
	ln, err := connmgr.Listen(ctx, "127.0.0.1:0", connmgr.Preview,
		connmgr.Serve(chainsync.Responder(chain), blockfetch.Responder(chain)))
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
	go ln.Serve(ctx, func(c *connmgr.Conn) { fmt.Println("version", c.Negotiated().Version) })
	exampleVisitor(ln.Addr().String())
	// Output:
	// version 15
	// block 1 of 3
	// block 2 of 3
	// block 3 of 3
}
