package governor_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/hearthnet/hearth/governor"
)

// A core needs nothing but events and the time: here the world outside is three lines that make every order succeed at once.
func ExampleCore() {
	core, err := governor.NewCore(governor.PrivateNetwork())
	if err != nil {
		fmt.Println(err)
		return
	}
	relay := netip.MustParseAddrPort("10.20.0.11:3001")
	events := []governor.Event{governor.Begin{LocalRoots: []governor.LocalRootGroup{
		{Hot: 1, Warm: 1, Members: []netip.AddrPort{relay}, Trustable: true}}}}
	for at := time.Duration(0); len(events) > 0; at += 100 * time.Millisecond {
		out := core.Step(events[0], at)
		events = events[1:]
		for _, order := range out.Effects {
			fmt.Println(order)
			switch order.Kind {
			case governor.Connect:
				events = append(events, governor.Connected{Job: order.Job, Peer: order.Peer})
			case governor.Activate:
				events = append(events, governor.Activated{Job: order.Job, Peer: order.Peer})
			}
		}
	}
	fmt.Println(core.Explain(relay))
	// Output:
	// connect 10.20.0.11:3001 trustable
	// outbound trusted-state-with-external-peers
	// activate 10.20.0.11:3001
	// 10.20.0.11:3001 is hot since 200ms (hot), from local, 0 failures; last touched by order-finished at 200ms (target 0, actual 0); it is hot, and nothing is above that
}

// The decisions are data.
func ExampleDecisions() {
	for _, d := range governor.Decisions()[16:19] {
		fmt.Printf("%s: %s\n", d.Name, d.Rule)
	}
	// Output:
	// established-below-big-ledger: target − established − connecting > 0 and some available: connect so many
	// established-below-local: a group has fewer established and connecting than its warm valency, some available: connect the difference
	// established-below: target − established − connecting > 0 and some available: connect so many
}
