package memnet

import (
	"cmp"
	"container/heap"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config of a [Network]. The zero value works.
type Config struct {
	// Seed of everything random.
	Seed uint64
	// Link between any two addresses that have none of their own.
	Link Link
	// Window is how many bytes may be on their way or unread in one direction of one connection; default 256 KiB.
	Window int
	// Backlog is how many connections a listener keeps until they are accepted; default 128. Beyond it SYNs are dropped.
	Backlog int
	// ConnectTimeout ends a dial that nobody answers, with ETIMEDOUT; default 120 s.
	ConnectTimeout time.Duration
	// TimeWait is how long an orderly close keeps the 4-tuple of the end that closed first; default 60 s.
	TimeWait time.Duration
	// RetransmitTimeout ends an established connection whose bytes cannot be delivered for so long; default 924 s.
	RetransmitTimeout time.Duration
}

// Network is a set of hosts and the links between them. All its methods may be used by several goroutines.
type Network struct {
	cfg   Config
	start time.Time

	mu        sync.Mutex
	hosts     []*Host
	byAddr    map[netip.Addr]*Host
	conns     map[tuple]*Conn
	used      map[tuple]uint64 // how often a 4-tuple was dialled: the incarnation, part of a connection's seed
	links     map[pair]Link
	cut       map[pair]bool
	held      map[pair][]*packet
	scripts   map[pair][]Bearer
	faultless Bearer
	ids       uint64

	events eventHeap
	seq    uint64
	timer  *time.Timer
	armed  time.Duration // when timer fires; negative: not at all
	busy   bool
}

// tuple is a connection as one end sees it.
type tuple struct{ local, remote netip.AddrPort }

func (t tuple) reverse() tuple { return tuple{t.remote, t.local} }

// New makes an empty network. Inside a synctest bubble, call it there.
func New(cfg Config) *Network {
	if cfg.Window <= 0 {
		cfg.Window = 256 << 10
	}
	if cfg.Backlog <= 0 {
		cfg.Backlog = 128
	}
	if cfg.ConnectTimeout <= 0 {
		cfg.ConnectTimeout = 120 * time.Second
	}
	if cfg.TimeWait <= 0 {
		cfg.TimeWait = 60 * time.Second
	}
	if cfg.RetransmitTimeout <= 0 {
		cfg.RetransmitTimeout = 924 * time.Second
	}
	return &Network{
		cfg:     cfg,
		start:   time.Now(),
		byAddr:  map[netip.Addr]*Host{},
		conns:   map[tuple]*Conn{},
		used:    map[tuple]uint64{},
		links:   map[pair]Link{},
		cut:     map[pair]bool{},
		held:    map[pair][]*packet{},
		scripts: map[pair][]Bearer{},
		armed:   -1,
	}
}

// Host adds a machine with these addresses; the first of a family is the source of dials that do not name one. It panics
// when an address is taken or none is given: that is a mistake in the test.
func (n *Network) Host(addrs ...netip.Addr) *Host {
	if len(addrs) == 0 {
		panic("memnet: a host needs an address")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &Host{net: n, nextPort: firstEphemeral}
	for _, a := range addrs {
		a = a.Unmap()
		if n.byAddr[a] != nil {
			panic(fmt.Sprintf("memnet: address %v is taken", a))
		}
		n.byAddr[a] = h
		h.addrs = append(h.addrs, a)
	}
	n.hosts = append(n.hosts, h)
	return h
}

// Partition cuts both directions between a and b. Segments wait and arrive after [Network.Heal], as retransmissions do; SYNs
// are tried again by the kernel's schedule; resets are lost for good.
func (n *Network) Partition(a, b netip.Addr) {
	n.Cut(a, b)
	n.Cut(b, a)
}

// Cut cuts one direction only. Acknowledgements of the other direction are lost with it, so a sender there stops when its
// window is full.
func (n *Network) Cut(from, to netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[pair{from, to}] = true
}

// Heal restores both directions between a and b.
func (n *Network) Heal(a, b netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.heal(pair{a, b})
	n.heal(pair{b, a})
	n.run()
}

func (n *Network) heal(p pair) {
	delete(n.cut, p)
	n.release(p)
}

// release lets go what waited on one direction, if nothing stops it any more.
func (n *Network) release(p pair) {
	if n.blocked(p) {
		return
	}
	packets := n.held[p]
	delete(n.held, p)
	now := n.now()
	latency := n.link(p.from, p.to).Latency
	for _, pkt := range packets {
		n.at(now+latency, pkt, nil)
	}
	// Acknowledgements that could not travel this way free the senders at its far end.
	for _, c := range n.sorted() {
		if c.owed > 0 && c.key.local.Addr() == p.from && c.key.remote.Addr() == p.to {
			c.acknowledge(0)
		}
	}
}

func (n *Network) blocked(p pair) bool {
	if n.cut[p] {
		return true
	}
	from, to := n.byAddr[p.from], n.byAddr[p.to]
	return (from != nil && from.off) || (to != nil && to.off)
}

// Open lists what is open: listeners and connections, those in TIME_WAIT excepted. Tests end with it to find leaks.
func (n *Network) Open() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var open []string
	for _, h := range n.hosts {
		for _, l := range h.lns {
			open = append(open, "listener "+l.at.String())
		}
	}
	for _, c := range n.conns {
		if c.state != timeWait {
			open = append(open, fmt.Sprintf("%v %v -> %v", c.state, c.key.local, c.key.remote))
		}
	}
	slices.Sort(open)
	return open
}

// Check returns an error that lists what [Network.Open] finds, or nil.
func (n *Network) Check() error {
	if open := n.Open(); len(open) > 0 {
		return fmt.Errorf("memnet: %d left open:\n%s", len(open), strings.Join(open, "\n"))
	}
	return nil
}

// Pairs counts the established connections between two hosts' addresses, each once however many ends are left of it.
func (n *Network) Pairs(a, b netip.Addr) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	seen := map[tuple]bool{}
	for key, c := range n.conns {
		if c.state != established || c.orphan {
			continue
		}
		if unordered(key.local.Addr(), key.remote.Addr()) != unordered(a, b) {
			continue
		}
		if !seen[key.reverse()] {
			seen[key] = true
		}
	}
	return len(seen)
}

// sorted returns the connections in an order that does not depend on the map.
func (n *Network) sorted() []*Conn {
	all := make([]*Conn, 0, len(n.conns))
	for _, c := range n.conns {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *Conn) int { return cmp.Compare(a.id, b.id) })
	return all
}

func (n *Network) now() time.Duration { return time.Since(n.start) }

// event is a packet that arrives or a function to call.
type event struct {
	at  time.Duration
	seq uint64
	pkt *packet
	fn  func()
}

func (n *Network) at(at time.Duration, pkt *packet, fn func()) {
	n.seq++
	heap.Push(&n.events, event{at, n.seq, pkt, fn})
}

// run handles everything that is due and arms the timer for the rest. Every exported method that may cause traffic ends
// with it, with the lock held.
func (n *Network) run() {
	if n.busy {
		return
	}
	n.busy = true
	for len(n.events) > 0 && n.events[0].at <= n.now() {
		e := heap.Pop(&n.events).(event)
		if e.pkt != nil {
			n.arrive(e.pkt)
		} else {
			e.fn()
		}
	}
	n.busy = false
	if len(n.events) == 0 {
		return
	}
	next := n.events[0].at
	if n.armed >= 0 && n.armed <= next {
		return
	}
	n.armed = next
	wait := max(next-n.now(), 0)
	if n.timer == nil {
		n.timer = time.AfterFunc(wait, n.tick)
	} else {
		n.timer.Reset(wait)
	}
}

func (n *Network) tick() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.armed = -1
	n.run()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = event{}
	*h = old[:len(old)-1]
	return last
}
