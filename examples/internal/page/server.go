package page

import (
	"bytes"
	"context"
	"crypto/subtle"
	_ "embed" // for the page
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hearthnet/hearth/examples/metrics"
)

//go:embed page.html
var html []byte

// Bounds.
const (
	keep       = 64 // snapshots
	maxStreams = 16
	maxLog     = 500 // events in one answer
)

// Errors of hosts.
var (
	ErrNoNode = errors.New("there is no such node")
	ErrNotNow = errors.New("not possible now")
)

// Snapshot is everything at one moment.
type Snapshot struct {
	Number    uint64            `json:"snapshot"`
	At        time.Time         `json:"at"`
	Seconds   float64           `json:"seconds"` // since the start
	Blocks    int               `json:"blocks"`  // made
	Txs       int               `json:"txs"`     // that entered
	Artifacts int               `json:"artifacts"`
	Complete  int               `json:"complete"` // nodes that hold everything
	P50       float64           `json:"p50_ms"`
	P95       float64           `json:"p95_ms"`
	Nodes     []Node            `json:"nodes"`
	Links     []Link            `json:"links"`
	Traffic   []metrics.Traffic `json:"traffic"` // of all nodes
	Faults    bool              `json:"faults"`  // the host implements [Faults]
}

// Node is one node. Where only one node is shown, it is the first, and its peers are nodes that it knows only from outside.
type Node struct {
	ID       int                `json:"id"` // its place in the list
	Addr     string             `json:"addr"`
	Peer     bool               `json:"peer,omitempty"` // a peer of the node that is shown, not one of the host's own
	Up       bool               `json:"up"`
	Apart    bool               `json:"apart"` // on the small side of a partition
	Slow     bool               `json:"slow"`
	Blocks   int                `json:"blocks"`
	Txs      int                `json:"txs"`
	Cold     int                `json:"cold"`
	Warm     int                `json:"warm"`
	Hot      int                `json:"hot"`
	Counters map[string]float64 `json:"counters,omitempty"` // as in /metrics, without the label of the node
	Metrics  *metrics.Node      `json:"-"`                  // nil while it is down
}

// Link is a peer as a node sees it.
type Link struct {
	From        int    `json:"from"`
	To          int    `json:"to"`
	Temperature string `json:"temperature"`
	Duplex      bool   `json:"duplex"` // both ends may use the connection
}

// Event is a line of the event log.
type Event struct {
	Number   uint64    `json:"n"`
	At       time.Time `json:"at"`
	Node     int       `json:"node"` // −1: all
	Name     string    `json:"name"`
	Decision string    `json:"decision,omitempty"`
	Peers    []int     `json:"peers,omitempty"`
	Detail   string    `json:"detail,omitempty"`
}

// Explanation is why a peer is where it is.
type Explanation struct {
	Peer        int    `json:"peer"` // −1: not one of ours
	Addr        string `json:"addr"`
	Temperature string `json:"temperature"`
	State       string `json:"state"`
	Decision    string `json:"decision"` // the one that last touched it
	Text        string `json:"text"`
}

// Host is what is shown. Its methods are called from several goroutines. Errors wrap [ErrNoNode] or [ErrNotNow] where they apply.
type Host interface {
	Snapshot() Snapshot // without number, totals and counters
	Log(after uint64, limit int) []Event
	Explain(node int) ([]Explanation, error)
}

// Faults is what a host implements as well whose nodes may be broken from the page.
type Faults interface {
	Kill(node int) error
	Restart(node int) error
	Partition(nodes []int) error // nil heals
}

// Server serves one host.
type Server struct {
	host  Host
	token string
	mux   *http.ServeMux

	mu      sync.Mutex
	kept    []Snapshot // the latest, at most keep
	number  uint64
	changed chan struct{} // closed by the next snapshot
	streams int
}

// New returns a server. token guards what changes state; with an empty one nothing can be changed.
func New(host Host, token string) *Server {
	s := &Server{host: host, token: token, mux: http.NewServeMux(), changed: make(chan struct{})}
	s.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'self' 'unsafe-inline'; img-src 'self' data:")
		_, _ = w.Write(html)
	})
	s.mux.HandleFunc("GET /metrics", s.metrics)
	s.mux.HandleFunc("GET /api/state", s.state)
	s.mux.HandleFunc("GET /api/log", s.log)
	s.mux.HandleFunc("GET /api/explain", s.explain)
	s.mux.HandleFunc("GET /api/stream", s.stream)
	s.mux.HandleFunc("POST /api/{action}", s.act)
	s.take()
	return s
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Serve serves on ln, which it closes, and takes a snapshot a second, until ctx ends. Nothing is left running.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
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
	_, n.Faults = s.host.(Faults)
	if n.Links == nil {
		n.Links = []Link{} // an empty list in JSON
	}
	n.Traffic = []metrics.Traffic{}
	sum := map[string]int{}
	for i := range n.Nodes {
		node := &n.Nodes[i]
		if node.Metrics == nil {
			continue
		}
		node.Counters = map[string]float64{}
		for _, v := range node.Metrics.Samples() {
			node.Counters[v.Key()] = v.Value
		}
		for _, t := range node.Metrics.Traffic {
			at, ok := sum[t.Protocol]
			if !ok {
				at = len(n.Traffic)
				sum[t.Protocol] = at
				n.Traffic = append(n.Traffic, metrics.Traffic{Protocol: t.Protocol})
			}
			n.Traffic[at].In += t.In
			n.Traffic[at].Out += t.Out
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number++
	n.Number = s.number
	if len(s.kept) == keep {
		s.kept = append(s.kept[:0], s.kept[1:]...)
	}
	s.kept = append(s.kept, n)
	close(s.changed)
	s.changed = make(chan struct{})
	return n
}

// latest returns the latest snapshot and a channel that is closed when there is another one.
func (s *Server) latest() (Snapshot, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[len(s.kept)-1], s.changed
}

// wanted returns the snapshot that a request asks for; if there is none, it has answered.
func (s *Server) wanted(w http.ResponseWriter, r *http.Request) (n Snapshot, ok bool) {
	v := r.FormValue("snapshot")
	if v == "" {
		n, _ = s.latest()
		return n, true
	}
	number, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("snapshot %q is no number", v))
		return n, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kept {
		if k.Number == number {
			return k, true
		}
	}
	fail(w, http.StatusNotFound, fmt.Errorf("snapshot %d is not there: the last %d are kept, the latest is %d", number, keep, s.number))
	return n, false
}

func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	n, ok := s.wanted(w, r)
	if !ok {
		return
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewCollector("node", func() []metrics.Node {
		var nodes []metrics.Node
		for _, k := range n.Nodes {
			if k.Metrics != nil {
				nodes = append(nodes, *k.Metrics)
			}
		}
		return nodes
	}))
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

func (s *Server) state(w http.ResponseWriter, r *http.Request) {
	if n, ok := s.wanted(w, r); ok {
		answer(w, n)
	}
}

func (s *Server) log(w http.ResponseWriter, r *http.Request) {
	var after uint64
	limit := 200
	var errs [2]error
	if v := r.FormValue("after"); v != "" {
		after, errs[0] = strconv.ParseUint(v, 10, 64)
	}
	if v := r.FormValue("limit"); v != "" {
		limit, errs[1] = strconv.Atoi(v)
	}
	if err := errors.Join(errs[:]...); err != nil || limit < 0 {
		fail(w, http.StatusBadRequest, errors.New("after and limit are numbers"))
		return
	}
	answer(w, s.host.Log(after, min(limit, maxLog)))
}

func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.FormValue("node"))
	if err != nil {
		fail(w, http.StatusBadRequest, errors.New("node is a number"))
		return
	}
	e, err := s.host.Explain(id)
	if err != nil {
		fail(w, status(err), err)
		return
	}
	answer(w, e)
}

// stream sends a snapshot whenever there is one, and the events since the last.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	full := s.streams == maxStreams
	if !full {
		s.streams++
	}
	s.mu.Unlock()
	if full {
		fail(w, http.StatusServiceUnavailable, fmt.Errorf("%d streams are open, which is the limit", maxStreams))
		return
	}
	defer func() {
		s.mu.Lock()
		s.streams--
		s.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	var after uint64
	for {
		n, changed := s.latest()
		nodes := make([]Node, len(n.Nodes))
		for i, k := range n.Nodes {
			k.Counters = nil
			nodes[i] = k
		}
		n.Nodes = nodes
		events := s.host.Log(after, maxLog)
		if k := len(events); k > 0 {
			after = events[k-1].Number
		}
		var b bytes.Buffer
		for _, m := range []struct {
			name string
			v    any
		}{{"state", n}, {"log", events}} {
			j, err := json.Marshal(m.v)
			if err != nil {
				return
			}
			fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", m.name, j)
		}
		_ = out.SetWriteDeadline(time.Now().Add(10 * time.Second)) // a reader that stalls is given up
		if _, err := w.Write(b.Bytes()); err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (s *Server) act(w http.ResponseWriter, r *http.Request) {
	given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if s.token == "" || subtle.ConstantTimeCompare([]byte(given), []byte(s.token)) != 1 {
		w.Header().Set("WWW-Authenticate", "Bearer")
		fail(w, http.StatusUnauthorized, errors.New("this needs the token that was printed at the start"))
		return
	}
	faults, ok := s.host.(Faults)
	if !ok {
		fail(w, http.StatusNotFound, errors.New("this host cannot be broken from here"))
		return
	}
	query := r.URL.Query()
	id, idErr := strconv.Atoi(query.Get("node"))
	var err error
	switch action := r.PathValue("action"); action {
	case "kill", "restart":
		if idErr != nil {
			fail(w, http.StatusBadRequest, errors.New("node is a number"))
			return
		}
		if action == "kill" {
			err = faults.Kill(id)
		} else {
			err = faults.Restart(id)
		}
	case "partition":
		var ids []int
		for part := range strings.SplitSeq(query.Get("nodes"), ",") {
			id, err := strconv.Atoi(part)
			if err != nil {
				fail(w, http.StatusBadRequest, errors.New("nodes are numbers with commas between them"))
				return
			}
			ids = append(ids, id)
		}
		err = faults.Partition(ids)
	case "heal":
		err = faults.Partition(nil)
	default:
		fail(w, http.StatusNotFound, fmt.Errorf("there is no action %q", action))
		return
	}
	if err != nil {
		fail(w, status(err), err)
		return
	}
	answer(w, map[string]uint64{"snapshot": s.take().Number})
}

func status(err error) int {
	switch {
	case errors.Is(err, ErrNoNode):
		return http.StatusNotFound
	case errors.Is(err, ErrNotNow):
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // the client has gone if it fails
}

func fail(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
}
