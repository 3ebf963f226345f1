package mux

import "time"

// Config is the tuning of one multiplexer. The zero value has the defaults of a cardano-node (wire §2.3 to §2.5), but for the
// size of a batch.
type Config struct {
	// SDUSize is the largest payload that is sent in one SDU, 1 to 65,535; default 12,288.
	SDUSize int
	// BatchBytes ends a batch of SDUs, headers included, that go into one system call; default 32,768. A batch has at most
	// 100 SDUs. The reference has 131,072; what is written and read in a quarter of that stays in the processor's caches, which
	// is worth a third of the rate, and something urgent waits for less.
	BatchBytes int
	// EgressLimit is how many bytes a stream may have waiting before its sender blocks; default 262,143.
	EgressLimit int
	// EgressInterval is the least time between two batches once the queue has run empty; default 0. It trades latency for
	// fuller SDUs.
	EgressInterval time.Duration
	// SDUTimeout is the time within which an SDU that began to arrive must be whole, and the time that each SDU of a batch
	// adds to the batch's write limit; default 30 s. Between SDUs a bearer may be silent for ever.
	SDUTimeout time.Duration
	// DrainTimeout bounds how long Close waits for what was sent to leave; default 2 s.
	DrainTimeout time.Duration
	// LingerTimeout bounds how long the last bytes of a peer that closed its end stay readable, and how long replies to them
	// may still be sent, before all streams fail; default 1 s.
	LingerTimeout time.Duration
	// NotSentLowat is the TCP_NOTSENT_LOWAT of the socket on Linux: bytes that the kernel holds unsent before writes block, so
	// that a small message does not queue behind megabytes that are already in the kernel. Default 65,536, two batches;
	// negative leaves the socket alone.
	NotSentLowat int
	// ReadBuffer is the SO_RCVBUF of the socket. 0, the default, is 65,536 where the peer is on this host, since there a larger one
	// serves nothing but bulk that queues before what is urgent, and elsewhere leaves it to the kernel, as a negative one does
	// everywhere.
	ReadBuffer int
	// Budget bounds the unread bytes of all connections that share it; nil: no common bound.
	Budget *Budget
	// Arrived, if set, is told of every SDU that has arrived whole: the sender's clock, the local clock and the payload's
	// size. It runs on the reader and must not block. [OneWay] takes it (wire §2.10).
	Arrived func(remote uint32, local time.Duration, size int)
	// Ended, if set, is told once why the connection has ended, when Done has been closed. It runs on whatever goroutine found
	// out, so it must not block and must not wait for the multiplexer.
	Ended func(error)
}

const (
	defaultSDUSize     = 12288
	defaultBatchBytes  = 32768
	defaultEgressLimit = 0x3ffff
	maxBatchSDUs       = 100
	readBufferSize     = 131072
	localReadBuffer    = 65536
)

func (c Config) withDefaults() Config {
	set := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	set(&c.SDUSize, defaultSDUSize)
	c.SDUSize = min(c.SDUSize, MaxPayload)
	set(&c.BatchBytes, defaultBatchBytes)
	set(&c.EgressLimit, defaultEgressLimit)
	if c.SDUTimeout <= 0 {
		c.SDUTimeout = 30 * time.Second
	}
	if c.DrainTimeout <= 0 {
		c.DrainTimeout = 2 * time.Second
	}
	if c.LingerTimeout <= 0 {
		c.LingerTimeout = time.Second
	}
	if c.NotSentLowat == 0 {
		c.NotSentLowat = 2 * defaultBatchBytes
	}
	return c
}
