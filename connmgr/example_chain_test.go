package connmgr_test

import (
	"context"
	"fmt"
	"iter"
	"log"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

// exampleChain is a tiny chain in memory: block i, from 1 on, has slot and number i.
type exampleChain int

func (n exampleChain) point(i int) chainsync.Point {
	if i == 0 {
		return chainsync.Origin
	}
	return chainsync.Point{Slot: uint64(i), Hash: [32]byte{byte(i)}}
}

func (n exampleChain) tip() chainsync.Tip {
	return chainsync.Tip{Point: n.point(int(n)), Block: uint64(n)}
}

// Cursor implements chainsync.Source.
func (n exampleChain) Cursor(chainsync.Form) chainsync.Cursor {
	return &exampleCursor{chain: n, back: true}
}

// Range implements blockfetch.Source.
func (n exampleChain) Range(from, to chainsync.Point) (iter.Seq2[[]byte, error], bool) {
	return func(yield func([]byte, error) bool) {
		for i := from.Slot; i <= to.Slot && yield([]byte{0x82, 7, byte(i)}, nil); i++ {
		}
	}, from.Slot <= to.Slot && to.Slot <= uint64(n)
}

type exampleCursor struct {
	chain exampleChain
	at    int
	back  bool
}

func (c *exampleCursor) Intersect(points []chainsync.Point) (chainsync.Point, chainsync.Tip, bool) {
	for _, p := range points {
		if p.Slot <= uint64(c.chain) && p == c.chain.point(int(p.Slot)) {
			c.at, c.back = int(p.Slot), true
			return p, c.chain.tip(), true
		}
	}
	return chainsync.Origin, c.chain.tip(), false
}

func (c *exampleCursor) Next() (chainsync.Update, error) {
	u := chainsync.Update{Tip: c.chain.tip()}
	switch {
	case c.back:
		c.back = false
		u.Kind, u.Point = chainsync.Backward, c.chain.point(c.at)
	case c.at < int(c.chain):
		c.at++
		header := []byte{0x82, 0x82, byte(c.at), byte(c.at), 0x43, 1, 2, 3}
		u.Kind, u.Payload = chainsync.Forward, chainsync.AppendHeader(nil, chainsync.Header{Era: 6, Bytes: header})
	}
	return u, nil
}

// exampleNode serves a chain of three blocks until it is stopped, and returns its address.
func exampleNode() (addr string, stop func()) {
	ln, err := connmgr.Listen(context.Background(), "127.0.0.1:0", connmgr.Preview, connmgr.Serve(chainsync.Responder(exampleChain(3))))
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- ln.Serve(ctx, nil) }()
	return ln.Addr().String(), func() {
		cancel()
		<-served
		ln.Close()
	}
}

// exampleVisitor fetches what it finds at an address.
func exampleVisitor(addr string) {
	ctx := context.Background()
	conn, err := connmgr.Dial(ctx, addr, connmgr.Preview)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	tip, err := chainsync.NewClient(conn).Tip(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for b, err := range blockfetch.NewClient(conn).Range(ctx, exampleChain(3).point(1), tip.Point) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("block", b[2], "of", tip.Block)
	}
}
