package localtxsubmission_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/localtxsubmission"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

// Submit a transaction to the local node, over a connection of connmgr.DialLocal.
func ExampleClient_Submit() {
	submit := func(ctx context.Context, conn protocols.Opener, conway []byte) error {
		err := localtxsubmission.NewClient(conn).Submit(ctx, txsubmission.AppendTx(nil, txsubmission.Tx{Era: 6, Bytes: conway}))
		if no := (*localtxsubmission.Rejection)(nil); errors.As(err, &no) {
			return fmt.Errorf("the ledger says no: %x", no.Reason)
		}
		return err
	}
	_ = submit
}
