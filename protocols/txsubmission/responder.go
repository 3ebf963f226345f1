package txsubmission

import (
	"time"

	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/internal/diffusion"
)

// Limits bounds what an [Inbound] asks for. Zero values are the defaults.
type Limits struct {
	// IDs is how many ids one request asks for at most; default [Window].
	IDs int
	// Requests is how many requests for transactions one peer has unanswered; default 4.
	Requests int
	// PeerBytes is how many bytes of transactions one peer has been asked for; one transaction more may exceed it. Default
	// 393,240, six of the largest. It must leave room for what [IngressLimit] holds.
	PeerBytes int
	// Bytes and Txs bound what all peers together have been asked for; default 16 MiB and 4,096.
	Bytes, Txs int
	// Copies is from how many peers the same transaction is asked for, when the first ones have been slow for Hedge; default 2.
	Copies int
	// Hedge is after how long a second peer is asked; default 3 s.
	Hedge time.Duration
	// Useless is the score from which a peer is asked only for what nobody else offers; default 50. A transaction that is refused,
	// late, left out, or announced with more than [MaxTx] bytes scores 1, and 0.1 is forgiven each second; the score never
	// exceeds 900.
	Useless float64
	// Delay is the time between a peer's Init and the first request; default 0 (a cardano-node waits 60 s).
	Delay time.Duration
}

// The rules that a peer that owns transactions can break (wire §8). They come wrapped in a [*protocols.Error] of kind Violation.
var (
	ErrNotRequested = diffusion.ErrNotRequested
	ErrSize         = diffusion.ErrSize
)

// Inbound asks peers for transactions, every transaction of one peer at a time whoever else announces it, within [Limits], and hands
// them to a [Sink]. One Inbound serves all connections of a node. For each peer it remembers at most [Window] ids.
type Inbound struct{ asker *diffusion.Asker }

// NewInbound returns an Inbound that fills sink.
func NewInbound(sink Sink, l Limits) *Inbound {
	return &Inbound{diffusion.NewAsker(&dialect, sink, diffusion.Limits(l))}
}

// Responder returns the mini-protocol to give to connections.
func (in *Inbound) Responder() *protocols.MiniProtocol {
	mp := define()
	mp.Respond = in.asker.Run
	return mp
}

// Counters is what an [Inbound] is at.
type Counters struct {
	Peers         int
	Announced     int // transactions that some peer has announced and that are still wanted
	UnderWay      int // of them, those asked of a peer
	BytesUnderWay int
}

// Counters returns what is going on.
func (in *Inbound) Counters() Counters {
	peers, announced, count, bytes := in.asker.Counters()
	return Counters{peers, announced, count, bytes}
}
