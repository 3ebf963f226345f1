package blockfetch_test

import (
	"context"
	"fmt"

	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

// Fetch the blocks between two points, both included, over a connection of connmgr.Dial.
func ExampleClient_Range() {
	fetch := func(ctx context.Context, conn protocols.Opener, from, to chainsync.Point) error {
		for block, err := range blockfetch.NewClient(conn).Range(ctx, from, to) {
			if err != nil {
				return err
			}
			fmt.Println(len(block), "bytes") // they are valid until the next turn
		}
		return nil
	}
	_ = fetch
}
