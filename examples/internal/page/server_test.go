package page

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/metrics"
	"github.com/hearthnet/hearth/governor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is two nodes whose counters grow with every look; the second is down.
type host struct {
	looks int
	calls []string
	err   error
}

func (h *host) Snapshot() Snapshot {
	h.looks++
	return Snapshot{Blocks: h.looks, Nodes: []Node{
		{ID: 0, Up: true, Metrics: &metrics.Node{Name: "0", Governor: &governor.Counters{KnownPeers: h.looks}, Connections: &connmgr.ManagerCounters{},
			Traffic: []metrics.Traffic{{Protocol: "chain-sync", In: uint64(10 * h.looks), Out: 1}}, Host: &metrics.Host{Blocks: h.looks},
			Artifacts: &metrics.Artifacts{Queues: artifact.Queues{artifact.Bulk: {Wanted: h.looks}}}}},
		{ID: 1},
	}}
}

func (h *host) Log(after uint64, limit int) []Event {
	return []Event{{Number: after + 1, Name: "x"}, {Number: after + 2, Name: "y"}}[:min(2, limit)]
}

func (h *host) Explain(node int) ([]Explanation, error) {
	if node > 0 {
		return nil, ErrNoNode
	}
	return []Explanation{{Peer: 1, Decision: "known-above"}}, nil
}

func (h *host) do(what string) error { h.calls = append(h.calls, what); return h.err }

func (h *host) Kill(node int) error    { return h.do("kill") }
func (h *host) Restart(node int) error { return h.do("restart") }
func (h *host) Partition(nodes []int) error {
	if nodes == nil {
		return h.do("heal")
	}
	return h.do("partition")
}

func get(t *testing.T, s http.Handler, method, url, token string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(method, url, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// TestMetricsAndStateAreOneSnapshot: at several moments every value of a scrape is the one in the JSON of the same number.
func TestMetricsAndStateAreOneSnapshot(t *testing.T) {
	h := &host{}
	s := New(h, "")
	var numbers []string
	for range 3 {
		s.take()
		_, body := get(t, s, "GET", "/api/state", "")
		var n Snapshot
		require.NoError(t, json.Unmarshal([]byte(body), &n))
		j, _ := json.Marshal(n.Number)
		numbers = append(numbers, string(j))
	}
	require.Equal(t, []string{"2", "3", "4"}, numbers)
	for i, number := range numbers {
		code, text := get(t, s, "GET", "/metrics?snapshot="+number, "")
		require.Equal(t, 200, code)
		p := expfmt.NewTextParser(model.LegacyValidation)
		families, err := p.TextToMetricFamilies(strings.NewReader(text))
		require.NoError(t, err)
		_, body := get(t, s, "GET", "/api/state?snapshot="+number, "")
		var n Snapshot
		require.NoError(t, json.Unmarshal([]byte(body), &n))
		seen := 0
		for name, f := range families {
			for _, m := range f.GetMetric() {
				labels := map[string]string{}
				for _, l := range m.GetLabel() {
					labels[l.GetName()] = l.GetValue()
				}
				require.Equal(t, "0", labels["node"])
				key := name
				delete(labels, "node")
				if len(labels) > 0 {
					pairs := []string{}
					for _, l := range slices.Sorted(maps.Keys(labels)) {
						pairs = append(pairs, fmt.Sprintf("%s=%q", l, labels[l]))
					}
					key += "{" + strings.Join(pairs, ",") + "}"
				}
				v, ok := n.Nodes[0].Counters[key]
				require.True(t, ok, key)
				require.Equal(t, v, m.GetGauge().GetValue()+m.GetCounter().GetValue(), key)
				seen++
			}
		}
		require.Len(t, n.Nodes[0].Counters, seen)
		require.Equal(t, float64(i+2), n.Nodes[0].Counters["cardano_node_metrics_peerSelection_KnownPeers_int"])
		require.Equal(t, []metrics.Traffic{{Protocol: "chain-sync", In: uint64(10 * (i + 2)), Out: 1}}, n.Traffic)
		require.Equal(t, []Queue{{Class: "urgent"}, {Class: "normal"}, {Class: "bulk", Wanted: i + 2}, {Class: "idle"}}, n.Queues)
		require.Empty(t, n.Nodes[1].Counters)
	}
	for range keep {
		s.take()
	}
	_, body := get(t, s, "GET", "/api/state", "")
	require.NotContains(t, body, "null")
	for path, want := range map[string]int{"/metrics?snapshot=2": 404, "/api/state?snapshot=999": 404, "/api/state?snapshot=x": 400} {
		code, _ := get(t, s, "GET", path, "")
		require.Equal(t, want, code, path)
	}
	require.Len(t, s.kept, keep)
}

func TestOnlyTheTokenChangesAnything(t *testing.T) {
	h := &host{}
	s := New(h, "secret")
	for _, url := range []string{"/api/kill?node=0", "/api/restart?node=0", "/api/partition?nodes=0,1", "/api/heal"} {
		for _, token := range []string{"", "wrong", "secre", "secrets"} {
			code, _ := get(t, s, "POST", url, token)
			require.Equal(t, 401, code)
		}
		code, _ := get(t, New(h, ""), "POST", url, "")
		require.Equal(t, 401, code, "without a token nobody may")
	}
	require.Empty(t, h.calls)
	for _, url := range []string{"/api/kill?node=0", "/api/restart?node=0", "/api/partition?nodes=0,1", "/api/heal"} {
		code, body := get(t, s, "POST", url, "secret")
		require.Equal(t, 200, code, body)
		code, _ = get(t, s, "GET", url, "secret")
		require.Equal(t, 405, code)
	}
	require.Equal(t, []string{"kill", "restart", "partition", "heal"}, h.calls)
	for path, want := range map[string]int{"/api/kill": 400, "/api/partition?nodes=a": 400, "/api/explode": 404} {
		code, _ := get(t, s, "POST", path, "secret")
		require.Equal(t, want, code, path)
	}
	for err, want := range map[error]int{ErrNoNode: 404, ErrNotNow: 409, errors.New("x"): 500} {
		h.err = err
		code, body := get(t, s, "POST", "/api/kill?node=0", "secret")
		require.Equal(t, want, code)
		require.Contains(t, body, `{"error":`)
	}
}

// TestHostWithoutFaults: a host that cannot be broken has no buttons, and nothing behind them.
func TestHostWithoutFaults(t *testing.T) {
	s := New(struct{ Host }{&host{}}, "secret")
	_, body := get(t, s, "GET", "/api/state", "")
	require.Contains(t, body, `"faults":false`)
	for _, url := range []string{"/api/kill?node=0", "/api/restart?node=0", "/api/partition?nodes=0,1", "/api/heal"} {
		code, _ := get(t, s, "POST", url, "secret")
		require.Equal(t, 404, code)
	}
	_, body = get(t, New(&host{}, ""), "GET", "/api/state", "")
	require.Contains(t, body, `"faults":true`)
}

func TestQuestions(t *testing.T) {
	s := New(&host{}, "")
	for path, want := range map[string]string{
		"/":                       "<html",
		"/page.css":               "color-scheme",
		"/page.js":                "EventSource",
		"/api/":                   "GET  /api/state[?snapshot=N]",
		"/api/log?after=5":        `"n":6`,
		"/api/explain?node=0":     `"decision":"known-above"`,
		"/api/explain?node=7":     ErrNoNode.Error(),
		"/api/explain":            "node is a number",
		"/api/log?after=x":        "are numbers",
		"/api/log?limit=-1":       "are numbers",
		"/api/log?after=&limit=1": `"n":1`,
	} {
		_, body := get(t, s, "GET", path, "")
		require.Contains(t, body, want, path)
	}
	list, err := files.ReadDir(".")
	require.NoError(t, err)
	for _, f := range list {
		b, err := files.ReadFile(f.Name())
		require.NoError(t, err)
		require.NotRegexp(t, `(?:src|href|from|import)[="' ]+https?:|url\(|@import`, string(b), "everything the page needs is in it")
		if f.Name() != "doc.go" && f.Name() != "page.html" {
			code, _ := get(t, s, "GET", "/"+f.Name(), "")
			require.Equal(t, 200, code, f.Name())
		}
	}
}

// TestSeriesFollowsACounter: through the snapshots that are kept, of one node or of all.
func TestSeriesFollowsACounter(t *testing.T) {
	s := New(&host{}, "")
	for range keep + 5 {
		s.take()
	}
	key := url.QueryEscape(`hearth_mux_bytes_total{direction="in",protocol="chain-sync"}`)
	for _, node := range []string{"", "&node=0"} {
		code, body := get(t, s, "GET", "/api/series?counter="+key+node, "")
		require.Equal(t, 200, code, body)
		var points []struct {
			Snapshot uint64
			Value    float64
		}
		require.NoError(t, json.Unmarshal([]byte(body), &points))
		require.Len(t, points, keep)
		for _, p := range points {
			require.Equal(t, float64(10*p.Snapshot), p.Value)
		}
	}
	for q, want := range map[string]int{"counter=nothing": 404, "counter=" + key + "&node=1": 404, "counter=" + key + "&node=x": 400} {
		code, _ := get(t, s, "GET", "/api/series?"+q, "")
		require.Equal(t, want, code, q)
	}
}

// TestStreamTellsOfEverySnapshot reads events over a real connection, and the number of streams is bounded.
func TestStreamTellsOfEverySnapshot(t *testing.T) {
	s := New(&host{}, "")
	ctx, cancel := context.WithCancel(context.Background())
	srv := httptest.NewServer(s)
	defer srv.Close()
	defer cancel()
	var first *bufio.Reader
	for i := range maxStreams + 1 {
		r, err := http.NewRequestWithContext(ctx, "GET", srv.URL+"/api/stream", nil)
		require.NoError(t, err)
		resp, err := srv.Client().Do(r)
		require.NoError(t, err)
		defer func() { require.NoError(t, resp.Body.Close()) }()
		if i == maxStreams {
			require.Equal(t, 503, resp.StatusCode)
			continue
		}
		require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
		if i == 0 {
			first = bufio.NewReader(resp.Body)
		}
	}
	line := func() string {
		l, err := first.ReadString('\n')
		require.NoError(t, err)
		return strings.TrimSpace(l)
	}
	require.Equal(t, "event: history", line())
	require.Regexp(t, `^data: \[\{"snapshot":1,.*"waiting":\[0,0,1,0\]\}\]$`, line())
	require.Empty(t, line())
	for _, snapshot := range []string{`"snapshot":1,`, `"snapshot":2,`} {
		require.Equal(t, "event: state", line())
		l := line()
		require.Contains(t, l, snapshot)
		require.NotContains(t, l, "counters")
		require.Empty(t, line())
		require.Equal(t, "event: log", line())
		require.Contains(t, line(), `"name":"x"`)
		require.Empty(t, line())
		s.take()
	}
}
