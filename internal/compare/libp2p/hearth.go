package libp2p

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/artifact/bearer"
)

const (
	maxBody = 1 << 20
	// keepBytes is how much of what is everywhere a node keeps, about.
	keepBytes = 16 << 20
)

// hearth is the swarm of artifact gossip: plain TCP, one main and two bulk bearers a link, all of it as it comes. There are two kinds
// of artifacts: kind 0 is of the class normal, kind 1 urgent.
type hearth struct {
	nodes   []*artifact.Node
	nets    []*bearer.Network
	handles [][2]*artifact.Handle[[]byte]
	windows [][2]*window

	mu   sync.Mutex
	kept [2][]artifact.ID // per kind: everywhere, not forgotten yet
}

func newHearth(ctx context.Context, delivered func(delivery)) (swarm, error) {
	h := &hearth{}
	lns := make([]net.Listener, nodes)
	for i := range lns {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(err, h.close())
		}
		lns[i] = ln
	}
	cfgs := make([]bearer.Config, nodes)
	for _, l := range links() {
		cfgs[l[0]].Peers = append(cfgs[l[0]].Peers, lns[l[1]].Addr().String())
	}
	for i := range nodes {
		var handles [2]*artifact.Handle[[]byte]
		var windows [2]*window
		for k, class := range []artifact.Class{artifact.Normal, artifact.Urgent} {
			kind := artifact.BytesKind(artifact.Kind[[]byte]{ID: uint32(k), MaxSize: maxBody})
			windows[k] = &window{node: i, class: class, delivered: delivered, past: map[artifact.ID]struct{}{}}
			handles[k] = artifact.Register(kind, artifact.Client[[]byte](windows[k]))
		}
		n, err := artifact.NewNode(artifact.Config{NodeID: artifact.PeerID{byte(i + 1)}, Seed: uint64(i)}, nil, handles[0], handles[1])
		if err != nil {
			return nil, errors.Join(err, h.close())
		}
		h.nodes, h.handles, h.windows = append(h.nodes, n), append(h.handles, handles), append(h.windows, windows)
		cfgs[i].Listener = lns[i]
		nw, err := bearer.New(n, cfgs[i])
		if err != nil {
			return nil, errors.Join(err, h.close())
		}
		h.nets = append(h.nets, nw)
	}
	err := await(ctx, "the bearers", func() bool {
		for _, n := range h.nets {
			if mains, bulks := n.Bearers(); mains < 7 || bulks < 14 {
				return false
			}
		}
		return true
	})
	if err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

func kindOf(urgent bool) int {
	if urgent {
		return 1
	}
	return 0
}

func (h *hearth) publish(node int, body []byte, urgent bool) (id, error) {
	k := kindOf(urgent)
	name, err := h.handles[node][k].Publish(body, h.windows[node][k].class)
	return id(name), err
}

func (h *hearth) received() (bytes, bodies uint64) {
	for i, n := range h.nodes {
		in, _ := h.nets[i].Traffic()
		bytes += in
		bodies += n.Counters().BodiesReceived
	}
	return bytes, bodies
}

func (h *hearth) violations() (v uint64) {
	for _, n := range h.nodes {
		v += n.Counters().Violations
	}
	return v
}

func (h *hearth) close() (err error) {
	for _, n := range h.nets {
		err = errors.Join(err, n.Close())
	}
	for _, n := range h.nodes {
		err = errors.Join(err, n.Close())
	}
	return err
}

// forget is the sliding window that a host has: what has been everywhere for a while leaves the pools, with the next change that each
// node makes, and is wanted no more.
func (h *hearth) forget(name id, size int, urgent bool) {
	h.mu.Lock()
	k := kindOf(urgent)
	h.kept[k] = append(h.kept[k], artifact.ID(name))
	var old []artifact.ID
	keep := max(8, min(512, keepBytes/size))
	if n := len(h.kept[k]) - keep; n >= max(1, keep/16) { // a few at a time
		old = append(old, h.kept[k][:n]...)
		h.kept[k] = append(h.kept[k][:0], h.kept[k][n:]...)
	}
	h.mu.Unlock()
	if len(old) == 0 {
		return
	}
	for _, ws := range h.windows {
		ws[k].purge(old)
	}
}

// window is a client for whom everything is valid that is not past; what is past leaves the pool with the next change.
type window struct {
	node      int
	class     artifact.Class
	delivered func(delivery)

	mu   sync.Mutex
	old  []artifact.ID // to be removed
	past map[artifact.ID]struct{}
	ring [4096]artifact.ID // of past
	next int
}

func (w *window) purge(old []artifact.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.old = append(w.old, old...)
	for _, id := range old {
		w.past[id] = struct{}{}
		delete(w.past, w.ring[w.next])
		w.ring[w.next] = id
		w.next = (w.next + 1) % len(w.ring)
	}
}

// OnChange implements artifact.Client.
func (w *window) OnChange(r artifact.Reader[[]byte]) (out []artifact.Change[[]byte]) {
	w.mu.Lock()
	old := w.old
	w.old = nil
	w.mu.Unlock()
	news := r.Unvalidated()
	out = make([]artifact.Change[[]byte], 0, len(news)+len(old))
	for _, e := range news {
		w.delivered(delivery{w.node, id(e.ID), e.Value, time.Now()})
		out = append(out, artifact.Change[[]byte]{Op: artifact.MoveToValidated, ID: e.ID})
	}
	for _, id := range old {
		out = append(out, artifact.Change[[]byte]{Op: artifact.RemoveFromValidated, ID: id})
	}
	return out
}

// Bouncer implements artifact.Client.
func (w *window) Bouncer(artifact.Reader[[]byte]) func(artifact.ID, []byte) artifact.Interest {
	return w.interest
}

func (w *window) interest(name artifact.ID, _ []byte) artifact.Interest {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.past[name]; ok {
		return artifact.NotWanted
	}
	return artifact.Wants(w.class)
}

// Quota implements artifact.Client.
func (*window) Quota(artifact.PeerID) int64 { return 0 }
