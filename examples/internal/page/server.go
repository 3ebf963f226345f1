package page

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/examples/metrics"
)

// Bounds.
const (
	keep       = 64  // snapshots, with all counters
	keepPoints = 600 // points of the history, a few numbers each
	maxStreams = 16
	maxLog     = 500 // events in one answer
)

// Server serves one host.
type Server struct {
	host   Host
	faults Faults // nil: the host's nodes cannot be broken from here
	token  string
	mux    *http.ServeMux

	mu      sync.Mutex
	kept    []Snapshot // the latest, at most keep
	points  []Point    // of the latest snapshots, at most keepPoints
	number  uint64
	changed chan struct{} // closed by the next snapshot
	streams int
}

// New returns a server. token guards what changes state; with an empty one nothing can be changed.
func New(host Host, token string) *Server {
	s := &Server{host: host, token: token, mux: http.NewServeMux(), changed: make(chan struct{})}
	s.faults, _ = host.(Faults)
	s.routes()
	s.take()
	return s
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Serve serves on ln, which it closes, and takes a snapshot a second, until ctx ends. Nothing is left running.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.take()
		case err := <-served:
			return err
		case <-ctx.Done():
			ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			if srv.Shutdown(ending) != nil {
				_ = srv.Close()
			}
			<-served
			return nil
		}
	}
}

// take takes a snapshot.
func (s *Server) take() Snapshot {
	n := s.host.Snapshot()
	n.Faults = s.faults != nil
	n.sum()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number++
	n.Number = s.number
	s.kept = push(s.kept, n, keep)
	s.points = push(s.points, n.point(), keepPoints)
	close(s.changed)
	s.changed = make(chan struct{})
	return n
}

// push appends v to a list of at most most, whose oldest gives way.
func push[T any](list []T, v T, most int) []T {
	if len(list) == most {
		list = append(list[:0], list[1:]...)
	}
	return append(list, v)
}

// sum fills in what follows from the nodes' metrics. Empty lists are lists in JSON.
func (n *Snapshot) sum() {
	if n.Links == nil {
		n.Links = []Link{}
	}
	if n.Spread == nil {
		n.Spread = []Spread{}
	}
	n.Queues = []Queue{}
	var all [][]metrics.Traffic
	for i := range n.Nodes {
		node := &n.Nodes[i]
		if node.Metrics == nil {
			continue
		}
		node.Counters = map[string]float64{}
		for _, v := range node.Metrics.Samples() {
			node.Counters[v.Key()] = v.Value
		}
		all = append(all, node.Metrics.Traffic)
		if a := node.Metrics.Artifacts; a != nil {
			for class, q := range a.Queues {
				if class == len(n.Queues) {
					n.Queues = append(n.Queues, Queue{Class: artifact.Class(class).String()})
				}
				n.Queues[class].add(q)
			}
		}
	}
	if n.Traffic = metrics.Sum(all...); n.Traffic == nil {
		n.Traffic = []metrics.Traffic{}
	}
}

// latest returns the latest snapshot and a channel that is closed when there is another one.
func (s *Server) latest() (Snapshot, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[len(s.kept)-1], s.changed
}

// all returns the snapshots that are kept, oldest first.
func (s *Server) all() []Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Snapshot(nil), s.kept...)
}

// history returns the points that are kept, oldest first.
func (s *Server) history() []Point {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Point(nil), s.points...)
}
