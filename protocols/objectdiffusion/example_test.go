package objectdiffusion_test

import (
	"context"
	"errors"

	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/objectdiffusion"
)

// Take Peras votes from a peer, over a connection of connmgr.Dial with connmgr.WithPeras, until it ends. One Inbound serves all
// connections of a node, so that no vote is fetched twice.
func ExampleInbound_Ask() {
	follow := func(ctx context.Context, conn protocols.Opener, votes *objectdiffusion.Inbound) error {
		err := votes.Ask(ctx, conn)
		if errors.Is(err, protocols.ErrUnsupported) {
			return nil // this peer does not speak Peras
		}
		return err
	}
	start := func(sink objectdiffusion.Sink) *objectdiffusion.Inbound {
		return objectdiffusion.Votes.NewInbound(sink, objectdiffusion.Limits{})
	}
	_, _ = follow, start
}
