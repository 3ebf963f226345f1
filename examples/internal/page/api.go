package page

import (
	"crypto/subtle"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hearthnet/hearth/examples/metrics"
)

// files is the page, and the documentation of the API in the package's comment.
//
//go:embed page.html page.css *.js doc.go
var files embed.FS

// routes says who answers what.
func (s *Server) routes() {
	s.mux.HandleFunc("GET /{$}", s.file("page.html"))
	for _, name := range []string{"page.css", "page.js", "graph.js", "charts.js"} {
		s.mux.HandleFunc("GET /"+name, s.file(name))
	}
	s.mux.HandleFunc("GET /metrics", s.metrics)
	s.mux.HandleFunc("GET /api/{$}", s.help)
	s.mux.HandleFunc("GET /api/state", s.state)
	s.mux.HandleFunc("GET /api/series", s.series)
	s.mux.HandleFunc("GET /api/log", s.log)
	s.mux.HandleFunc("GET /api/explain", s.explain)
	s.mux.HandleFunc("GET /api/stream", s.stream)
	s.mux.HandleFunc("POST /api/{action}", s.act)
}

// file answers with a part of the page, which may load nothing from elsewhere.
func (s *Server) file(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		b, _ := files.ReadFile(name) // it is embedded
		h := w.Header()
		h.Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
		h.Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache")
		_, _ = w.Write(b) // the client has gone if it fails
	}
}

// help answers with the package's comment.
func (s *Server) help(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	doc, _ := files.ReadFile("doc.go") // it is embedded
	for line := range strings.Lines(string(doc)) {
		if text, ok := strings.CutPrefix(line, "//"); ok {
			_, _ = fmt.Fprint(w, strings.TrimPrefix(text, " "))
		}
	}
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
	all := s.all()
	for _, k := range all {
		if k.Number == number {
			return k, true
		}
	}
	fail(w, http.StatusNotFound, fmt.Errorf("snapshot %d is not there: the last %d are kept, the latest is %d", number, keep, all[len(all)-1].Number))
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

// series follows one counter through the snapshots.
func (s *Server) series(w http.ResponseWriter, r *http.Request) {
	type value struct {
		Number  uint64  `json:"snapshot"`
		Seconds float64 `json:"seconds"`
		Value   float64 `json:"value"`
	}
	counter, node := r.FormValue("counter"), -1
	if v := r.FormValue("node"); v != "" {
		var err error
		if node, err = strconv.Atoi(v); err != nil {
			fail(w, http.StatusBadRequest, errors.New("node is a number"))
			return
		}
	}
	out := []value{}
	known := false
	for _, n := range s.all() {
		x := value{n.Number, n.Seconds, 0}
		here := false
		for _, k := range n.Nodes {
			if v, ok := k.Counters[counter]; ok && (node < 0 || k.ID == node) {
				x.Value += v
				here = true
			}
		}
		if here {
			out = append(out, x)
		}
		known = known || here
	}
	if !known {
		fail(w, http.StatusNotFound, fmt.Errorf("no snapshot that is kept has a counter %q there", counter))
		return
	}
	answer(w, out)
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

// act does what the buttons say, for whoever has the token.
func (s *Server) act(w http.ResponseWriter, r *http.Request) {
	given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if s.token == "" || subtle.ConstantTimeCompare([]byte(given), []byte(s.token)) != 1 {
		w.Header().Set("WWW-Authenticate", "Bearer")
		fail(w, http.StatusUnauthorized, errors.New("this needs the token that was printed at the start"))
		return
	}
	action, query := r.PathValue("action"), r.URL.Query()
	if s.faults == nil {
		fail(w, http.StatusNotFound, fmt.Errorf("there is no action %q: nothing can be broken from here", action))
		return
	}
	id, idErr := strconv.Atoi(query.Get("node"))
	var err error
	switch action {
	case "kill", "restart":
		if idErr != nil {
			fail(w, http.StatusBadRequest, errors.New("node is a number"))
			return
		}
		if action == "kill" {
			err = s.faults.Kill(id)
		} else {
			err = s.faults.Restart(id)
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
		err = s.faults.Partition(ids)
	case "heal":
		err = s.faults.Partition(nil)
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
