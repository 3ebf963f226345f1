package peersharing_test

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/peersharing"
)

// Ask a peer, over a connection of connmgr.Dial, for at most ten others.
func ExampleClient_Ask() {
	ask := func(ctx context.Context, conn protocols.Opener) ([]netip.AddrPort, error) {
		c := peersharing.NewClient(conn)
		peers, err := c.Ask(ctx, peersharing.DefaultPeers)
		if err != nil {
			return nil, err
		}
		return peers, c.Finish(ctx)
	}
	_ = ask
}

// An answer and what is on the wire: an IPv4 address is one number, its octets read as little-endian.
func ExampleAppendSharePeers() {
	msg := peersharing.AppendSharePeers(nil, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:3001")})
	fmt.Printf("%x\n", msg)
	peers, err := peersharing.DecodeSharePeers(nil, msg, 1)
	fmt.Println(peers, err)
	// Output:
	// 82019f83001a010200c0190bb9ff
	// [192.0.2.1:3001] <nil>
}
