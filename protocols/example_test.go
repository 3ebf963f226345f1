package protocols_test

import (
	"fmt"
	"log"
	"time"

	"github.com/hearthnet/hearth/protocols"
)

// A mini-protocol is a table, which is checked before it is used and prints itself. What a connection needs beside it, its number and the
// functions that run it, is in a MiniProtocol; examples/custom is a whole one.
func ExampleSpec() {
	const (
		idle protocols.State = iota
		busy
		done
	)
	clock := &protocols.Spec{
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
	}
	if err := clock.Validate(); err != nil {
		log.Fatal(err)
	}
	fmt.Print(clock)
	// Output:
	// state            agency  message               tag  len  next                 bytes  time limit
	// Idle             client  Ask                     0    1  Busy                   100  -
	// Idle             client  Done                    2    1  Done                   100  -
	// Busy             server  Tell                    1    2  Idle                   100  5s
	// Done             nobody
}
