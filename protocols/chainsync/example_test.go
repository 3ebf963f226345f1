package chainsync_test

import (
	"context"
	"fmt"

	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

// Go on from where one was, over a connection of connmgr.Dial. The first of the points that is on the other end's chain counts;
// when it has none of them the error is a *NoIntersectionError. The example of connmgr runs.
func ExampleClient_Follow() {
	follow := func(ctx context.Context, conn protocols.Opener, points []chainsync.Point) error {
		for ev, err := range chainsync.NewClient(conn).Follow(ctx, points) {
			if err != nil {
				return err
			}
			switch ev.Kind {
			case chainsync.Backward:
				fmt.Println("back to", ev.Point)
			case chainsync.Forward:
				header, err := chainsync.ParseHeader(ev.Payload) // valid until the next turn
				if err != nil {
					return err
				}
				fmt.Println("forward", len(header.Bytes), "bytes")
			}
		}
		return nil
	}
	_ = follow
}
