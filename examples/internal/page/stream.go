package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Point is what the page's charts show of one snapshot.
type Point struct {
	Number  uint64  `json:"snapshot"`
	Seconds float64 `json:"seconds"`
	Up      int     `json:"up"` // nodes
	Cold    int     `json:"cold"`
	Warm    int     `json:"warm"`
	Hot     int     `json:"hot"`
	P50     float64 `json:"p50_ms"`
	P95     float64 `json:"p95_ms"`
	Waiting []int   `json:"waiting"` // artifacts under way, by class
}

func (n *Snapshot) point() Point {
	p := Point{Number: n.Number, Seconds: n.Seconds, P50: n.P50, P95: n.P95, Waiting: []int{}}
	for _, v := range n.Nodes {
		if v.Up && !v.Peer {
			p.Up++
		}
		p.Cold, p.Warm, p.Hot = p.Cold+v.Cold, p.Warm+v.Warm, p.Hot+v.Hot
	}
	for _, q := range n.Queues {
		p.Waiting = append(p.Waiting, q.Wanted+q.Unjudged)
	}
	return p
}

// stream sends the history, then a snapshot whenever there is one, and the events since the last.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		fail(w, http.StatusServiceUnavailable, fmt.Errorf("%d streams are open, which is the limit", maxStreams))
		return
	}
	defer s.leave()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	// say sends events; a reader that stalls is given up.
	say := func(named ...any) bool {
		var b bytes.Buffer
		for i := 0; i < len(named); i += 2 {
			j, err := json.Marshal(named[i+1])
			if err != nil {
				return false
			}
			fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", named[i], j)
		}
		_ = out.SetWriteDeadline(time.Now().Add(10 * time.Second))
		_, err := w.Write(b.Bytes())
		return err == nil && out.Flush() == nil
	}
	if !say("history", s.history()) {
		return
	}
	after := uint64(0)
	for {
		n, changed := s.latest()
		events := s.host.Log(after, maxLog)
		if k := len(events); k > 0 {
			after = events[k-1].Number
		}
		if !say("state", n.light(), "log", events) {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// light is the snapshot without counters.
func (n Snapshot) light() Snapshot {
	nodes := make([]Node, len(n.Nodes))
	for i, k := range n.Nodes {
		k.Counters = nil
		nodes[i] = k
	}
	n.Nodes = nodes
	return n
}

func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams == maxStreams {
		return false
	}
	s.streams++
	return true
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams--
}
