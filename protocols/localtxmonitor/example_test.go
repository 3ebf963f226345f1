package localtxmonitor_test

import (
	"context"
	"fmt"

	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/localtxmonitor"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

// Watch the mempool of the local node, over a connection of connmgr.DialLocal: a snapshot, all that is in it, and the next one as soon as
// something has changed.
func ExampleClient_Acquire() {
	watch := func(ctx context.Context, conn protocols.Opener) error {
		c := localtxmonitor.NewClient(conn)
		for {
			slot, err := c.Acquire(ctx)
			if err != nil {
				return err
			}
			fmt.Println("for slot", slot)
			for {
				item, err := c.NextTx(ctx)
				if err != nil {
					return err
				}
				if item == nil {
					break
				}
				tx, err := txsubmission.ParseTx(item)
				if err != nil {
					return err
				}
				fmt.Println("a transaction of era", tx.Era, "with", len(tx.Bytes), "bytes")
			}
		}
	}
	_ = watch
}
