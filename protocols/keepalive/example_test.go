package keepalive_test

import (
	"fmt"
	"time"

	"github.com/hearthnet/hearth/protocols/keepalive"
)

// What keep-alive has measured of a peer: its last round trip, and how long a request of 100 bytes that is answered with 64 KiB is
// expected to take.
func ExampleLatency() {
	var l keepalive.Latency // given to Client, which adds what it measures
	began := time.Unix(1_700_000_000, 0)
	for i, rtt := range []time.Duration{42, 40, 41} {
		l.Add(rtt*time.Millisecond, began.Add(time.Duration(i)*keepalive.DefaultInterval))
	}
	model, last, known := l.Read()
	fmt.Println(known, last, model.Distance(), model.Expected(100, 64<<10))
	// Output: true 41ms 41.9702ms 173.2422ms
}
