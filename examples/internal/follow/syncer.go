// Package follow keeps a node's chain in step with its peers: chain-sync tells what each peer has, block-fetch gets what is
// missing, each block from one peer at a time. It is what the example nodes use where a real node has its consensus; the longest
// chain wins, and nothing but links and hashes is checked.
package follow

import (
	"sync"
	"time"

	"github.com/hearthnet/hearth/examples/chain"
)

// Bounds of what is remembered of a peer, and of what one peer is asked for at a time.
const (
	maxCandidate = 2160 // headers beyond our chain
	maxBatch     = 64   // blocks in one range
	depth        = 2160 // how far back intersections are offered
	claimFor     = 5 * time.Second
)

// Syncer is the chain that peers extend. Make one with [New].
type Syncer struct {
	chain *chain.Chain
	hooks Hooks

	mu      sync.Mutex
	claims  map[chain.Point]claim // blocks that are being fetched: at most maxBatch per peer, or a candidate
	changed chan struct{}         // closed when claims were released
	writing sync.Mutex            // held while the chain is compared and extended
}

// Hooks are told what peers do; each may be nil and must not block.
type Hooks struct {
	// Announced is told of every header that a peer sends and that follows the one before.
	Announced func(from string, p chain.Point)
	// Adopted is told of every block that a peer gave and that extends the chain.
	Adopted func(from string, p chain.Point, number uint64, bytes int)
}

type claim struct {
	by    *Peer
	until time.Time
}

// New returns a syncer for c.
func New(c *chain.Chain, hooks Hooks) *Syncer {
	return &Syncer{chain: c, hooks: hooks, claims: map[chain.Point]claim{}, changed: make(chan struct{})}
}

// Chain returns the chain.
func (s *Syncer) Chain() *chain.Chain { return s.chain }

// Peer returns a new peer, with a name for messages.
func (s *Syncer) Peer(name string) *Peer {
	return &Peer{s: s, name: name, wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// claim marks as many of the headers as no other peer is fetching, from the first on, and returns them. If there are none, it
// returns when to look again.
func (s *Syncer) claim(p *Peer, want []header) (got []header, wait <-chan struct{}, retry time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for i, h := range want {
		if c, ok := s.claims[h.point]; ok && c.by != p && now.Before(c.until) {
			if i == 0 {
				return nil, s.changed, c.until.Sub(now)
			}
			want = want[:i]
			break
		}
	}
	for _, h := range want {
		s.claims[h.point] = claim{p, now.Add(claimFor)}
	}
	return want, nil, 0
}

// release gives up claims of p and wakes up whoever waits for them.
func (s *Syncer) release(p *Peer, got []header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range got {
		if s.claims[h.point].by == p {
			delete(s.claims, h.point)
		}
	}
	close(s.changed)
	s.changed = make(chan struct{})
}
