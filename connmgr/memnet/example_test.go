package memnet_test

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/hearthnet/hearth/connmgr/memnet"
)

// Two hosts on a slow link, whose first connection is cut in the middle of a line.
func Example() {
	n := memnet.New(memnet.Config{Seed: 1, Link: memnet.Link{Latency: time.Millisecond, Resplit: true}})
	a, b := n.Host(netip.MustParseAddr("10.0.0.1")), n.Host(netip.MustParseAddr("10.0.0.2"))
	n.Script(a.Addr(), b.Addr(), memnet.Bearer{Accepting: memnet.End{CutAfter: 8, Cut: memnet.CutEOF}}, memnet.Bearer{})
	at := netip.MustParseAddrPort("10.0.0.2:3001")
	l, err := b.Listen(at)
	if err != nil {
		panic(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(c, "hello, world")
			c.Close()
		}
	}()
	for range 2 {
		c, err := a.Dial(context.Background(), netip.AddrPort{}, at)
		if err != nil {
			panic(err)
		}
		line, err := bufio.NewReader(c).ReadString('\n')
		fmt.Printf("%q %v\n", line, err)
		c.Close()
	}
	l.Close()
	<-served
	// Output:
	// "hello, w" EOF
	// "hello, world\n" <nil>
}
