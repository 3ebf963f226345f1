package localstatequery_test

import (
	"context"

	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/localstatequery"
)

// Ask the local node when its network began, over a connection of connmgr.DialLocal. Queries and results are CBOR items, the ledger's
// own affair.
func ExampleClient_Query() {
	systemStart := func(ctx context.Context, conn protocols.Opener) (result []byte, err error) {
		c := localstatequery.NewClient(conn)
		if err := c.Acquire(ctx, localstatequery.Target{}); err != nil { // its tip
			return nil, err
		}
		if result, err = c.Query(ctx, []byte{0x81, 1}); err != nil {
			return nil, err
		}
		return result, c.Finish(ctx)
	}
	_ = systemStart
}
