package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/examples/internal/page"
	"github.com/hearthnet/hearth/governor"
)

// serve shows the network until ctx ends.
func (n *network) serve(ctx context.Context, ln net.Listener) error {
	return page.New(n, n.c.token).Serve(ctx, ln)
}

// Snapshot implements [page.Host].
func (n *network) Snapshot() page.Snapshot {
	s := n.state()
	out := page.Snapshot{Title: "Hearth devnet", At: time.Now(), Seconds: time.Since(n.began).Seconds(), Blocks: s.blocks, Txs: s.txs, Artifacts: s.artifacts, Complete: s.complete,
		P50: ms(s.p50), P95: ms(s.p95)}
	for class := range n.took {
		k, p50, p95 := n.took[class].percentiles()
		out.Spread = append(out.Spread, page.Spread{Class: artifact.Class(class).String(), Count: k, P50: ms(p50), P95: ms(p95)})
	}
	apart, slow := n.faults.isolated(), n.faults.slowed()
	for _, m := range n.members {
		v := page.Node{ID: m.id, Addr: m.at[0].String(), Apart: slices.Contains(apart, m.id), Slow: slices.Contains(slow, m.id)}
		at := m.up()
		if at == nil {
			out.Nodes = append(out.Nodes, v)
			continue
		}
		k := at.Metrics()
		k.Artifacts, k.Traffic = at.pools.Metrics(), append(k.Traffic, at.pools.Traffic()...)
		v.Up, v.Metrics, v.Blocks = true, &k, k.Host.Blocks
		v.Txs, v.Artifacts = k.Host.Transactions+s.txs-s.openTxs, k.Artifacts.Held+s.artifacts-s.openArtifacts
		v.Cold, v.Warm = k.Governor.KnownPeers-k.Governor.EstablishedPeers, k.Governor.EstablishedPeers-k.Governor.ActivePeers
		v.Hot = k.Governor.ActivePeers
		out.Nodes = append(out.Nodes, v)
		duplex := map[netip.AddrPort]bool{}
		for _, c := range at.Connections() {
			duplex[c.Conn.Remote] = duplex[c.Conn.Remote] || c.Version.Version != 0 && c.Version.Duplex()
		}
		for _, p := range at.Governor().Peers(0) {
			if to, ok := n.faults.at[p.Peer]; ok && p.Temperature != governor.Cold {
				out.Links = append(out.Links, page.Link{From: m.id, To: to, Temperature: p.Temperature.String(), Duplex: duplex[p.Peer]})
			}
		}
		for _, id := range at.pools.Peers() {
			if to := n.who(id); to > m.id { // both ends have it
				out.Links = append(out.Links, page.Link{From: m.id, To: to, Temperature: "gossip", Duplex: true})
			}
		}
	}
	return out
}

// Explain implements [page.Host].
func (n *network) Explain(id int) ([]page.Explanation, error) {
	m, err := n.member(id)
	if err != nil {
		return nil, err
	}
	at, out := m.up(), []page.Explanation{}
	if at == nil {
		return out, nil // who looks may have asked before it saw the node go
	}
	for _, e := range at.Governor().Peers(0) {
		x := page.Explanation{Peer: -1, Addr: e.Peer.String(), Temperature: e.Temperature.String(), State: e.State, Text: e.String()}
		if to, ok := n.faults.at[e.Peer]; ok {
			x.Peer = to
		}
		if e.Decision != governor.DecisionNone {
			x.Decision = e.Decision.String()
		}
		out = append(out, x)
	}
	slices.SortStableFunc(out, func(a, b page.Explanation) int { return a.Peer - b.Peer })
	return out, nil
}

// Kill implements [page.Host].
func (n *network) Kill(id int) error {
	if _, err := n.member(id); err != nil {
		return err
	}
	if err := n.kill(id); err != nil {
		return fmt.Errorf("%w: %w", page.ErrNotNow, err)
	}
	return nil
}

// Restart implements [page.Host].
func (n *network) Restart(id int) error {
	if _, err := n.member(id); err != nil {
		return err
	}
	if err := n.restart(id); err != nil {
		return fmt.Errorf("%w: %w", page.ErrNotNow, err)
	}
	return nil
}

// Partition implements [page.Host].
func (n *network) Partition(ids []int) error {
	for _, id := range ids {
		if _, err := n.member(id); err != nil {
			return err
		}
	}
	n.partition(ids)
	return nil
}

func (n *network) member(id int) (*member, error) {
	if id < 0 || id >= len(n.members) {
		return nil, fmt.Errorf("%w: %d of 0 to %d", page.ErrNoNode, id, len(n.members)-1)
	}
	return n.members[id], nil
}
