package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/examples/internal/node"
	"github.com/hearthnet/hearth/examples/internal/pools"
	"github.com/hearthnet/hearth/governor"
	"github.com/hearthnet/hearth/topology"
)

// devMagic is the network magic of local networks.
const devMagic = connmgr.Network(42)

// haste is what the governor's delays are multiplied by.
const haste = 0.1

// errDown is what is asked of a node that has been killed.
var errDown = errors.New("the node is down")

// member is one place in the network: a node that is up, or what is left of it on the disk.
type member struct {
	id      int
	at      [2]netip.AddrPort // where it listens: for nodes, and for artifacts
	dir     string
	network *network
	topo    *topology.Topology
	gov     governor.Config
	peerID  artifact.PeerID
	gossip  []string // whom it dials for artifacts

	changing sync.Mutex // held while the node is started or stopped
	mu       sync.Mutex
	live     *live // nil while down
}

// live is a complete node that is up: a relay, and artifact pools with a listener and connections of their own.
type live struct {
	*node.Node
	pools *pools.Pools
	watch context.CancelFunc // ends the watch over the node
}

// close stops both in good order, side by side.
func (l *live) close() error {
	l.watch()
	pools := make(chan error, 1)
	go func() { pools <- l.pools.Close() }()
	return errors.Join(l.Close(), <-pools)
}

// allHot is the largest network in which everybody is everybody's hot peer. A node is sent transactions by those that have made it
// hot, so one that comes back needs somebody who has room for it; in a larger network its neighbours keep a place for it.
const allHot = 21

// targets are those of each of n nodes.
func targets(n int) governor.Targets {
	others := n - 1
	if n <= allHot {
		return governor.Targets{Roots: others, Known: others, Established: others, Active: others}
	}
	return governor.Targets{Roots: others, Known: others, Established: 15, Active: 10}
}

// roots is the topology of node i: all others are public roots, but for the two neighbours in a large network, which are local
// roots and hot whenever they can be.
func roots(i int, points []topology.AccessPoint) *topology.Topology {
	n := len(points)
	t := &topology.Topology{}
	var public []topology.AccessPoint
	var near []topology.AccessPoint
	for k, p := range points {
		switch d := (k - i + n) % n; {
		case d == 0:
		case n > allHot && (d == 1 || d == n-1):
			near = append(near, p)
		default:
			public = append(public, p)
		}
	}
	if len(near) > 0 {
		t.LocalRoots = []topology.Group{{AccessPoints: near, HotValency: int64(len(near)), WarmValency: int64(len(near)), Advertise: true}}
	}
	t.PublicRoots = []topology.PublicRoot{{AccessPoints: public, Advertise: true}}
	return t
}

func governorConfig(nodes int, seed uint64, id int) governor.Config {
	c := governor.Relay()
	c.Targets = targets(nodes)
	c.SyncTargets = c.Targets
	c.Timing = governor.DefaultTiming().Scaled(haste)
	c.Seed = seed<<8 + uint64(id) + 1
	return c
}

// neighbours are those that node i of n dials for artifacts: the next two on a ring, and one across it.
func neighbours(i, n int) (out []int) {
	for _, d := range []int{1, 2, n/3 + 1} {
		if k := (i + d) % n; d < n && k != i && !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

// peerID names a node in the gossip of artifacts.
func peerID(seed uint64, id int) artifact.PeerID {
	sum := sha256.Sum256(fmt.Appendf(nil, "devnet %d %d", seed, id))
	return artifact.PeerID(sum[:16])
}

// doors are a node's listeners.
type doors struct{ nodes, artifacts net.Listener }

func openDoors(nodes, artifacts netip.AddrPort) (d doors, err error) {
	if d.nodes, err = connmgr.ListenTCP(context.Background(), nodes); err != nil {
		return d, err
	}
	if d.artifacts, err = net.Listen("tcp", artifacts.String()); err != nil {
		err = errors.Join(err, d.nodes.Close())
	}
	return d, err
}

func (d doors) addrs() [2]netip.AddrPort {
	return [2]netip.AddrPort{d.nodes.Addr().(*net.TCPAddr).AddrPort(), d.artifacts.Addr().(*net.TCPAddr).AddrPort()}
}

func (d doors) close() error { return errors.Join(d.nodes.Close(), d.artifacts.Close()) }

// start starts the node, on these listeners if there are any, else on the member's addresses.
func (m *member) start(d *doors) (err error) {
	m.changing.Lock()
	defer m.changing.Unlock()
	if m.up() != nil {
		return fmt.Errorf("node %d is up", m.id)
	}
	// While the node was down, the system may have lent its ports to somebody's outgoing connections.
	for tries := 0; d == nil; tries++ {
		open, err := openDoors(m.at[0], m.at[1])
		switch {
		case err == nil:
			d = &open
		case tries == 20:
			return fmt.Errorf("node %d: %w", m.id, err)
		default:
			time.Sleep(200 * time.Millisecond)
		}
	}
	l, err := m.open(*d)
	if err != nil {
		return fmt.Errorf("node %d: %w", m.id, err)
	}
	m.mu.Lock()
	m.live = l
	m.mu.Unlock()
	return nil
}

// open starts both parts of a node.
func (m *member) open(d doors) (*live, error) {
	n := m.network
	gov := m.gov
	gov.StorePath = filepath.Join(m.dir, "peers")
	relay, err := node.Start(node.Config{
		Name: fmt.Sprint(m.id), Network: devMagic, Listeners: []net.Listener{d.nodes}, Topology: m.topo, Governor: gov,
		Chain:    chain.Config{Dir: filepath.Join(m.dir, "chain"), CheckBodies: true},
		Mempool:  node.MempoolConfig{Dir: filepath.Join(m.dir, "mempool")},
		Roots:    topology.ProviderConfig{Seed: gov.Seed},
		Timeouts: connmgr.Timeouts{RemoteIdle: time.Second, OutboundIdle: time.Second, TimeWait: -1},
		Bearer:   n.faults.bearer(m.id),
		Adopted:  func(b node.Block) { n.adopted(b.Point) },
		Decided:  func(e node.Event) { n.decided(m.id, e) },
	})
	if err != nil {
		return nil, errors.Join(err, d.artifacts.Close())
	}
	p, err := pools.Open(pools.Config{
		NodeID: m.peerID, Seed: gov.Seed, Dir: filepath.Join(m.dir, "artifacts"), Network: uint32(devMagic), Peers: m.gossip,
		Listener: listener{d.artifacts, n.faults, m.id}, Dial: n.faults.dial(m.id), Floor: n.floor.Load(), Got: n.received,
		Tell: func(what string, peer artifact.PeerID, err error) { n.gossiped(m.id, what, peer, err) },
	})
	if err != nil {
		return nil, errors.Join(err, relay.Close())
	}
	watching, stop := context.WithCancel(context.Background())
	l := &live{relay, p, stop}
	go func() {
		if err := relay.Wait(watching); err != nil {
			select {
			case n.failed <- fmt.Errorf("node %d: %w", m.id, err):
			default: // one is enough
			}
		}
	}()
	return l, nil
}

// stop ends the node in good order; a kill cuts its connections first, as the end of a process would.
func (m *member) stop(kill bool) error {
	m.changing.Lock()
	defer m.changing.Unlock()
	m.mu.Lock()
	l := m.live
	m.live = nil
	m.mu.Unlock()
	if l == nil {
		return errDown
	}
	if kill {
		m.network.faults.cut(m.id)
	}
	return l.close()
}

// up returns the node, nil while it is down.
func (m *member) up() *live {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.live
}
