package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/internal/page"
	"github.com/hearthnet/hearth/governor"
)

// maxPeersShown bounds the page: connected peers come first.
const maxPeersShown = 200

// shown gives the peers on the page places that stay the same as far as may be. Ours is the place before the first.
type shown struct {
	mu     sync.Mutex
	places []netip.AddrPort
}

// keep places the peers of a snapshot: those that were there stay, newcomers take the places of those that are gone, then those at the
// end do.
func (s *shown) keep(peers []netip.AddrPort) []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := slices.DeleteFunc(slices.Clone(peers), func(p netip.AddrPort) bool { return slices.Contains(s.places, p) })
	places := slices.Clone(s.places) // whoever has the last ones keeps them
	for i := 0; i < len(places); {
		switch last := len(places) - 1; {
		case slices.Contains(peers, places[i]):
			i++
		case len(fresh) > 0:
			places[i], fresh = fresh[0], fresh[1:]
		default:
			places[i], places = places[last], places[:last]
		}
	}
	s.places = append(places, fresh...)
	return s.places
}

// id is a peer's number on the page, −1 for one that is not there.
func (s *shown) id(p netip.AddrPort) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.places, p); i >= 0 {
		return 1 + i
	}
	return -1
}

// used tells whether the remote uses a connection, and at what temperature.
func used(c connmgr.Info) (temperature string, ok bool) {
	return c.Remote.String(), c.Remote == connmgr.RemoteWarm || c.Remote == connmgr.RemoteHot
}

// Snapshot implements [page.Host].
func (h *host) Snapshot() page.Snapshot {
	m := h.Metrics()
	self := page.Node{Addr: h.addr(), Up: true, Blocks: m.Host.Blocks, Txs: m.Host.Transactions, Metrics: &m,
		Cold: m.Governor.KnownPeers - m.Governor.EstablishedPeers, Warm: m.Governor.EstablishedPeers - m.Governor.ActivePeers, Hot: m.Governor.ActivePeers}
	out := page.Snapshot{Title: "Hearth relay " + self.Addr, At: time.Now(), Seconds: time.Since(h.began).Seconds(), Blocks: self.Blocks, Txs: self.Txs, Complete: 1, Nodes: []page.Node{self}}
	known := h.Governor().Peers(maxPeersShown)
	conns := h.Connections()
	duplex := map[netip.AddrPort]bool{}
	at := map[netip.AddrPort]*page.Node{}
	var order []netip.AddrPort
	see := func(p netip.AddrPort) *page.Node {
		if at[p] == nil && len(order) < maxPeersShown {
			at[p] = &page.Node{Addr: p.String(), Peer: true}
			order = append(order, p)
		}
		return at[p]
	}
	for _, c := range conns {
		duplex[c.Conn.Remote] = duplex[c.Conn.Remote] || c.Version.Version != 0 && c.Version.Duplex()
		if _, ok := used(c); ok {
			if n := see(c.Conn.Remote); n != nil {
				n.Up = true
			}
		}
	}
	for _, e := range known {
		if n := see(e.Peer); n != nil {
			n.Up = n.Up || e.Temperature >= governor.Warm
		}
	}
	ids := map[netip.AddrPort]int{}
	for i, p := range h.shown.keep(order) {
		n := at[p]
		n.ID, ids[p] = 1+i, 1+i
		out.Nodes = append(out.Nodes, *n)
	}
	for _, e := range known {
		if id, ok := ids[e.Peer]; ok {
			out.Links = append(out.Links, page.Link{From: 0, To: id, Temperature: e.Temperature.String(), Duplex: duplex[e.Peer]})
		}
	}
	for _, c := range conns {
		if t, ok := used(c); ok {
			if id, ok := ids[c.Conn.Remote]; ok {
				out.Links = append(out.Links, page.Link{From: id, To: 0, Temperature: t, Duplex: duplex[c.Conn.Remote]})
			}
		}
	}
	return out
}

// Log implements [page.Host].
func (h *host) Log(after uint64, limit int) []page.Event { return h.events.shown.Events(after, limit) }

// Explain implements [page.Host]: what the governor knows of its peers, then connections of others that use us.
func (h *host) Explain(id int) ([]page.Explanation, error) {
	if id != 0 {
		return nil, fmt.Errorf("%w: %d is a peer; ask node 0", page.ErrNoNode, id)
	}
	out := []page.Explanation{}
	known := map[netip.AddrPort]bool{}
	conns := map[netip.AddrPort]connmgr.Info{}
	for _, c := range h.Connections() {
		conns[c.Conn.Remote] = c
	}
	for _, e := range h.Governor().Peers(maxPeersShown) {
		known[e.Peer] = true
		x := page.Explanation{Peer: h.shown.id(e.Peer), Addr: e.Peer.String(), Temperature: e.Temperature.String(), State: e.State, Text: e.String()}
		if e.Decision != governor.DecisionNone {
			x.Decision = e.Decision.String()
		}
		if c, ok := conns[e.Peer]; ok {
			x.Text += "\n\n" + c.String()
		}
		out = append(out, x)
	}
	for remote, c := range conns {
		if t, ok := used(c); ok && !known[remote] {
			out = append(out, page.Explanation{Peer: h.shown.id(remote), Addr: remote.String(), Temperature: t, State: "uses us", Text: c.String()})
		}
	}
	slices.SortFunc(out, func(a, b page.Explanation) int {
		return cmp.Or(cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Addr, b.Addr))
	})
	return out, nil
}
