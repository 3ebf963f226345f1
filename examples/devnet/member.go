package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/examples/internal/node"
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
	id     int
	addr   netip.AddrPort
	dir    string
	topo   *topology.Topology
	gov    governor.Config
	faults *faults
	note   func(id int, e node.Event)
	got    func(id int, p chain.Point)

	changing sync.Mutex // held while the node is started or stopped
	mu       sync.Mutex
	node     *node.Node // nil while down
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

// start starts the node, on the listener if there is one, else on the member's address.
func (m *member) start(ln net.Listener) (err error) {
	m.changing.Lock()
	defer m.changing.Unlock()
	if m.up() != nil {
		return fmt.Errorf("node %d is up", m.id)
	}
	// While the node was down, the system may have lent its port to somebody's outgoing connection.
	for tries := 0; ln == nil; tries++ {
		if ln, err = connmgr.ListenTCP(context.Background(), m.addr); err != nil {
			if tries == 20 {
				return fmt.Errorf("node %d: %w", m.id, err)
			}
			ln = nil
			time.Sleep(200 * time.Millisecond)
		}
	}
	gov := m.gov
	gov.StorePath = filepath.Join(m.dir, "peers")
	n, err := node.Start(node.Config{
		Name: fmt.Sprint(m.id), Network: devMagic, Listeners: []net.Listener{ln}, Topology: m.topo, Governor: gov,
		Chain:    chain.Config{Dir: filepath.Join(m.dir, "chain"), CheckBodies: true},
		Mempool:  node.MempoolConfig{Dir: filepath.Join(m.dir, "mempool")},
		Roots:    topology.ProviderConfig{Seed: gov.Seed},
		Timeouts: connmgr.Timeouts{RemoteIdle: time.Second, OutboundIdle: time.Second, TimeWait: -1},
		Bearer:   m.faults.bearer(m.id),
		Adopted:  func(b node.Block) { m.got(m.id, b.Point) },
		Decided:  func(e node.Event) { m.note(m.id, e) },
	})
	if err != nil {
		return fmt.Errorf("node %d: %w", m.id, err)
	}
	m.mu.Lock()
	m.node = n
	m.mu.Unlock()
	return nil
}

// stop ends the node in good order; a kill cuts its connections first, as the end of a process would.
func (m *member) stop(kill bool) error {
	m.changing.Lock()
	defer m.changing.Unlock()
	m.mu.Lock()
	n := m.node
	m.node = nil
	m.mu.Unlock()
	if n == nil {
		return errDown
	}
	if kill {
		m.faults.cut(m.id)
	}
	return n.Close()
}

// up returns the node, nil while it is down.
func (m *member) up() *node.Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.node
}
