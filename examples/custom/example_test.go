// Package custom_test defines a mini-protocol of its own, a clock that tells the time to whoever asks, and runs it beside the standard
// ones: nothing in the library has to know of it.
package custom_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/peersharing"
)

// The state table: the client asks [0], the server tells [1, hour] within five seconds, and [2] ends it.
const (
	idle protocols.State = iota
	busy
	done
)

var clock = protocols.MiniProtocol{Number: 1000, Start: mux.OnDemand, Spec: &protocols.Spec{
	Name: "clock",
	States: []protocols.StateSpec{
		idle: {Name: "Idle", Agency: protocols.Client, Bytes: 100},
		busy: {Name: "Busy", Agency: protocols.Server, Bytes: 100, Timeout: protocols.Within(5 * time.Second)},
		done: {Name: "Done"},
	},
	Transitions: []protocols.Transition{
		{Message: "Ask", Tag: 0, Len: 1, From: idle, To: busy},
		{Message: "Tell", Tag: 1, Len: 2, From: busy, To: idle},
		{Message: "Done", Tag: 2, Len: 1, From: idle, To: done},
	},
}}

// The codec: arrays of small numbers.
func encode(message ...byte) []byte { return append([]byte{0x80 + byte(len(message))}, message...) }
func decodeTell(raw []byte) (hour int, ok bool) {
	return int(raw[len(raw)-1]), len(raw) == 3 && raw[2] < 24
}

// server returns the mini-protocol with its responder.
func server(hour byte) *protocols.MiniProtocol {
	mp := clock
	mp.Respond = func(ctx context.Context, s *protocols.Session) error {
		for {
			if m, err := s.Recv(ctx); err != nil || m.To == done {
				return err
			}
			if err := s.Send(ctx, encode(1, hour)); err != nil {
				return err
			}
		}
	}
	return &mp
}

// ask is the client.
func ask(ctx context.Context, c *protocols.Caller) (hour int, err error) {
	m, err := c.Call(ctx, encode(0))
	if err != nil {
		return 0, err
	}
	hour, ok := decodeTell(m.Raw)
	if !ok {
		return 0, c.Opened().Fail(fmt.Errorf("no hour: %d", hour))
	}
	return hour, nil
}

// nobody is a node that knows no other peers.
type nobody struct{}

func (nobody) Shareable(int) []netip.AddrPort { return nil }

func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ln, err := connmgr.Listen(ctx, "127.0.0.1:0", 42, connmgr.WithPeerSharing(), connmgr.Serve(server(17), peersharing.Responder(nobody{})))
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error, 1)
	serving, stop := context.WithCancel(ctx)
	defer stop()
	go func() { served <- ln.Serve(serving, nil) }()
	conn, err := connmgr.Dial(ctx, ln.Addr().String(), 42, connmgr.WithPeerSharing())
	if err != nil {
		fmt.Println(err)
		return
	}
	hours := protocols.NewCaller(conn, &clock)
	hour, err := ask(ctx, hours)
	fmt.Println("hour", hour, err)
	peers, err := peersharing.NewClient(conn).Ask(ctx, 5)
	fmt.Println("peers", len(peers), err)
	fmt.Println(hours.End(ctx, encode(2)), conn.Close())
	stop()
	fmt.Println(<-served, ln.Close())
	// Output:
	// hour 17 <nil>
	// peers 0 <nil>
	// <nil> <nil>
	// <nil> <nil>
}
