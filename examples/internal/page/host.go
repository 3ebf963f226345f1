package page

import (
	"errors"
	"time"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/examples/metrics"
)

// Errors of hosts.
var (
	ErrNoNode = errors.New("there is no such node")
	ErrNotNow = errors.New("not possible now")
)

// Snapshot is everything at one moment.
type Snapshot struct {
	Number    uint64            `json:"snapshot"`
	Title     string            `json:"title"`  // of the page
	Faults    bool              `json:"faults"` // nodes can be killed, restarted and cut off
	At        time.Time         `json:"at"`
	Seconds   float64           `json:"seconds"` // since the start
	Blocks    int               `json:"blocks"`  // made, or on the chain of the only node
	Txs       int               `json:"txs"`     // that entered
	Artifacts int               `json:"artifacts"`
	Complete  int               `json:"complete"` // nodes that hold everything
	P50       float64           `json:"p50_ms"`   // of the diffusion of blocks
	P95       float64           `json:"p95_ms"`
	Spread    []Spread          `json:"spread"` // of artifacts, by class
	Nodes     []Node            `json:"nodes"`
	Links     []Link            `json:"links"`
	Traffic   []metrics.Traffic `json:"traffic"` // of all nodes
	Queues    []Queue           `json:"queues"`  // of artifacts, of all nodes, by class; empty without artifact gossip
}

// Spread is how long artifacts of one class took to reach the nodes, each one counted.
type Spread struct {
	Class string  `json:"class"`
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P95   float64 `json:"p95_ms"`
}

// Node is one node. Where only one node is shown, it is the first, and its peers are nodes that it knows only from outside.
type Node struct {
	ID        int                `json:"id"` // its place in the list
	Addr      string             `json:"addr"`
	Peer      bool               `json:"peer,omitempty"` // a peer of the node that is shown, not one of the host's own
	Up        bool               `json:"up"`
	Apart     bool               `json:"apart"` // on the small side of a partition
	Slow      bool               `json:"slow"`
	Blocks    int                `json:"blocks"`
	Txs       int                `json:"txs"`
	Artifacts int                `json:"artifacts"`
	Cold      int                `json:"cold"`
	Warm      int                `json:"warm"`
	Hot       int                `json:"hot"`
	Counters  map[string]float64 `json:"counters,omitempty"` // as in /metrics, without the label of the node
	Metrics   *metrics.Node      `json:"-"`                  // nil while it is down
}

// Link is a peer as a node sees it.
type Link struct {
	From        int    `json:"from"`
	To          int    `json:"to"`
	Temperature string `json:"temperature"` // cold, cooling, warm, hot; "gossip" for a bearer of artifacts
	Duplex      bool   `json:"duplex"`      // both ends may use the connection
}

// Queue is how many artifacts of one class wait where, see [artifact.Queue].
type Queue struct {
	Class     string `json:"class"`
	Pending   int    `json:"pending"`
	Shown     int    `json:"shown"`
	Held      int    `json:"held"`
	Wanted    int    `json:"wanted"`
	Requested int    `json:"requested"`
	Unjudged  int    `json:"unjudged"`
	Parked    int    `json:"parked"`
	Serving   int    `json:"serving"`
}

func (q *Queue) add(x artifact.Queue) {
	q.Pending += x.Pending
	q.Shown += x.Shown
	q.Held += x.Held
	q.Wanted += x.Wanted
	q.Requested += x.Requested
	q.Unjudged += x.Unjudged
	q.Parked += x.Parked
	q.Serving += x.Serving
}

// Event is a line of the event log.
type Event struct {
	Number   uint64    `json:"n"`
	At       time.Time `json:"at"`
	Node     int       `json:"node"` // −1: all
	Name     string    `json:"name"`
	Decision string    `json:"decision,omitempty"`
	Peers    []int     `json:"peers,omitempty"`
	Detail   string    `json:"detail,omitempty"`
}

// Explanation is why a peer is where it is.
type Explanation struct {
	Peer        int    `json:"peer"` // −1: not one of ours
	Addr        string `json:"addr"`
	Temperature string `json:"temperature"`
	State       string `json:"state"`
	Decision    string `json:"decision"` // the one that last touched it
	Text        string `json:"text"`
}

// Host is what is shown: one node or several. Its methods are called from several goroutines. Errors wrap [ErrNoNode] or [ErrNotNow]
// where they apply.
type Host interface {
	Snapshot() Snapshot                      // without number, totals and counters
	Log(after uint64, limit int) []Event     // in order, those after a number, the latest of them if there are more
	Explain(node int) ([]Explanation, error) // none of a node that is down
}

// Faults is what a [Host] implements as well if its nodes can be broken from the page.
type Faults interface {
	Kill(node int) error
	Restart(node int) error
	Partition(nodes []int) error // nil heals
}
