// Package pools keeps a node's artifacts: pools of several kinds on the disk, which peers fill and empty by artifact gossip. It is
// what the example networks use where a real host has its own artifacts; nothing but hashes and the header are checked.
//
// Gossip has a listener and connections of its own and never runs on a connection that was negotiated with a Cardano version
// (artifact §6.2).
package pools

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/artifact/bearer"
	"github.com/hearthnet/hearth/examples/metrics"
)

// Config of a node's pools.
type Config struct {
	NodeID   artifact.PeerID
	Seed     uint64
	Dir      string // of these pools alone
	Network  uint32
	Listener net.Listener // the pools own it
	Peers    []string     // addresses to keep a bearer to
	// Dial opens connections, see [bearer.Config]; may be nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Floor is where the window of what is wanted begins, see [Pools.Expire].
	Floor uint64
	// Got is told of every artifact that came from a peer, once it is on the disk; may be nil.
	Got func(kind uint32, class artifact.Class, id artifact.ID)
	// Tell is told what goes wrong: a bearer that fails, a peer that misbehaves; it must not block; may be nil.
	Tell func(what string, peer artifact.PeerID, err error)
}

// maxPeers bounds connections that others make.
const maxPeers = 32

// Pools runs from Open to Close.
type Pools struct {
	node  *artifact.Node
	net   *bearer.Network
	pools map[uint32]*pool // by kind

	mu sync.Mutex
	n  totals
}

// totals are what is held.
type totals struct {
	items int
	bytes int64
}

// Open loads what is on the disk and begins to gossip.
func Open(cfg Config) (_ *Pools, err error) {
	p := &Pools{pools: map[uint32]*pool{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
			if p.net == nil {
				err = errors.Join(err, cfg.Listener.Close())
			}
		}
	}()
	if cfg.Tell == nil {
		cfg.Tell = func(string, artifact.PeerID, error) {}
	}
	var all []artifact.Registration
	for _, k := range Kinds {
		x, err := newPool(k, filepath.Join(cfg.Dir, k.Name), cfg, p.count)
		if err != nil {
			return nil, err
		}
		p.pools[k.ID] = x
		all = append(all, x.handle)
	}
	p.node, err = artifact.NewNode(artifact.Config{NodeID: cfg.NodeID, Seed: cfg.Seed, MaxPeers: maxPeers, BulkBearers: 1}, judge(cfg.Tell), all...)
	if err != nil {
		return nil, err
	}
	for _, k := range Kinds { // before anybody offers what is here already
		if err := p.pools[k.ID].load(); err != nil {
			return nil, err
		}
	}
	p.net, err = bearer.New(p.node, bearer.Config{Network: cfg.Network, Listener: cfg.Listener, Peers: cfg.Peers, Dial: cfg.Dial,
		RedialMin: 100 * time.Millisecond, RedialMax: 2 * time.Second,
		Notify: func(e bearer.Event) {
			if e.Err != nil && e.Kind != bearer.Duplicate && e.Kind != bearer.DialFailed { // it is tried again and again
				cfg.Tell("artifacts: "+e.Kind.String(), e.Peer, e.Err)
			}
		}})
	return p, err
}

// Close ends the gossip in good order and waits for everything that runs.
func (p *Pools) Close() error {
	var errs []error
	if p.net != nil {
		errs = append(errs, p.net.Close())
	}
	if p.node != nil {
		errs = append(errs, p.node.Close())
	}
	return errors.Join(errs...)
}

// Publish puts an artifact of this node's own on the disk and offers it to the peers. The error may be an [artifact.ErrTableFull].
func (p *Pools) Publish(kind uint32, body []byte) (artifact.ID, error) {
	x := p.pools[kind]
	if x == nil {
		return artifact.ID{}, &artifact.UnknownKindError{Kind: kind}
	}
	return x.publish(body)
}

// Name is the name that a body has.
func Name(kind Kind, body []byte) (artifact.ID, error) {
	a, err := artifact.NewArtifact(kind.config(), body, nil, artifact.Idle)
	if err != nil {
		return artifact.ID{}, err
	}
	return a.ID, nil
}

// Has reports whether an artifact is held, on the disk and within the window.
func (p *Pools) Has(kind uint32, id artifact.ID) bool {
	x := p.pools[kind]
	return x != nil && x.has(id)
}

// Check reads an artifact from the disk, be it within the window or below, and compares it with its name.
func (p *Pools) Check(kind uint32, id artifact.ID) error {
	x := p.pools[kind]
	if x == nil {
		return &artifact.UnknownKindError{Kind: kind}
	}
	body, err := x.read(id)
	if err != nil {
		return err
	}
	is, err := Name(x.kind, body)
	if err == nil && is != id {
		err = errors.New("the content of " + x.path(id) + " is not what its name says")
	}
	return err
}

// Expire moves the window of what is wanted: artifacts with a smaller serial number are not offered, asked for or kept in memory any
// more. Their files stay if keep is set.
func (p *Pools) Expire(floor uint64, keep bool) error {
	var errs []error
	for _, x := range p.pools {
		errs = append(errs, x.expire(floor, keep))
	}
	return errors.Join(errs...)
}

// Len is the number of artifacts within the window.
func (p *Pools) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n.items
}

// Peers are those that have a main bearer.
func (p *Pools) Peers() []artifact.PeerID { return p.net.Peers() }

// Traffic is what all bearers have carried since the start.
func (p *Pools) Traffic() []metrics.Traffic { return metrics.Streams(p.net.Streams()) }

// Metrics are the gossip's counters.
func (p *Pools) Metrics() *metrics.Artifacts {
	m := &metrics.Artifacts{Counters: p.node.Counters(), Queues: p.node.Queues()}
	m.Peers, m.Bulk = p.net.Bearers()
	p.mu.Lock()
	defer p.mu.Unlock()
	m.Held, m.HeldBytes = p.n.items, p.n.bytes
	return m
}

func (p *Pools) count(items int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n.items += items
	p.n.bytes += bytes
}

// judge tells what peers did wrong.
type judge func(what string, peer artifact.PeerID, err error)

// Misbehaved implements [artifact.Judge].
func (j judge) Misbehaved(peer artifact.PeerID, _ int, ban time.Duration, cause error) {
	what := "artifacts: peer blamed"
	if ban > 0 {
		what = "artifacts: peer banned"
	}
	j(what, peer, cause)
}
