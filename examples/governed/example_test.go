package governed

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/governor"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/topology"
)

// governedNode serves a chain, and keeps itself connected as a topology file says, until ctx ends.
func governedNode(ctx context.Context, file string, c *chain.Chain, ready func(*governor.Governor)) error {
	ln, err := connmgr.ListenTCP(ctx, netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		return err
	}
	peers, err := topology.Load(file, topology.Options{})
	if err != nil {
		return err
	}
	roots, err := topology.NewProvider(peers, topology.ProviderConfig{Magic: 42})
	if err != nil {
		return err
	}
	defer roots.Close()
	manager, err := connmgr.NewManager(connmgr.Config{
		Network: 42, Local: []netip.AddrPort{netip.MustParseAddrPort(ln.Addr().String())},
		Protocols: []*protocols.MiniProtocol{hotForever(), chainsync.Responder(c), blockfetch.Responder(c)},
	})
	if err != nil {
		return err
	}
	defer manager.Close()
	gov, err := governor.New(governor.Relay(), manager, roots, nil)
	if err != nil {
		return err
	}
	ready(gov)
	return errors.Join(manager.Serve(ln), gov.Run(ctx))
}

func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c := chain.NewMemory()
	defer c.Close()
	peer, err := connmgr.Listen(ctx, "127.0.0.1:0", 42, connmgr.Serve(chainsync.Responder(c)))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer peer.Close()
	go peer.Serve(ctx, nil)
	at := netip.MustParseAddrPort(peer.Addr().String())
	dir, _ := os.MkdirTemp("", "governed")
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "topology.json")
	os.WriteFile(file, fmt.Appendf(nil, `{"localRoots": [{"accessPoints": [{"address": %q, "port": %d}],
		"advertise": false, "trustable": true, "hotValency": 1}], "publicRoots": [], "useLedgerAfterSlot": -1}`, at.Addr(), at.Port()), 0o600)
	err = governedNode(ctx, file, c, func(g *governor.Governor) {
		go func() {
			for g.Explain(at).Temperature != governor.Hot && ctx.Err() == nil {
				<-time.After(10 * time.Millisecond)
			}
			fmt.Println(at == g.Explain(at).Peer, g.Explain(at).Temperature)
			cancel()
		}()
	})
	if ctx.Err() == nil {
		fmt.Println(err)
	}
	// Output: true hot
}
