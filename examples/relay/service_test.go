package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/internal/page"
	"github.com/hearthnet/hearth/governor"
)

func fetch(t *testing.T, h running, path string) (int, []byte) {
	t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	resp, err := http.Get("http://" + h.web.Addr().String() + path)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode, body
}

// TestMetrics: what a relay exports can be read, is explained, and has the names that dashboards know.
func TestMetrics(t *testing.T) {
	t.Parallel()
	_, peer := neighbour(t)
	socket := filepath.Join(t.TempDir(), "s")
	h := startNode(t, nodeOptions{http: "127.0.0.1:0", socket: socket, peers: []string{peer.String()}})
	client, err := connmgr.DialLocal(testContext(t), socket, testMagic)
	require.NoError(t, err)
	defer client.Close()
	var families map[string]*dto.MetricFamily
	var text []byte
	value := func(name string) float64 { return families[name].GetMetric()[0].GetGauge().GetValue() }
	const p = "cardano_node_metrics_"
	require.Eventually(t, func() bool {
		_, text = fetch(t, h, "/metrics")
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err = parser.TextToMetricFamilies(bytes.NewReader(text))
		require.NoError(t, err)
		return value(p+"peerSelection_ActivePeers_int") == 1 && value(p+"localInboundGovernor_idle_int") == 1 && families["hearth_mux_bytes_total"] != nil
	}, 10*time.Second, 100*time.Millisecond)
	require.Greater(t, len(families), 60)
	for name, f := range families {
		require.Contains(t, string(text), "# HELP "+name+" ")
		require.Contains(t, string(text), "# TYPE "+name+" ")
		require.NotEqual(t, dto.MetricType_UNTYPED, f.GetType(), name)
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				require.NotEqual(t, "node", l.GetName(), "there is only one")
			}
		}
	}
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	require.NoError(t, err)
	for _, problem := range problems {
		require.Equal(t, "metric names should be written in 'snake_case' not 'camelCase'", problem.Text, problem.Metric)
		require.True(t, strings.HasPrefix(problem.Metric, p), problem.Metric)
	}
}

// TestPage: the page shows the relay in the middle of its peers, whoever uses the connection, and explains them; there is nothing to
// break.
func TestPage(t *testing.T) {
	t.Parallel()
	_, peer := neighbour(t)
	h := startNode(t, nodeOptions{http: "127.0.0.1:0", peers: []string{peer.String(), "127.0.0.1:1"}, token: "t"})
	guest := startNode(t, nodeOptions{preset: wallet, peers: []string{h.addr()}})
	var s page.Snapshot
	require.Eventually(t, func() bool {
		_, body := fetch(t, h, "/api/state")
		s = page.Snapshot{}
		require.NoError(t, json.Unmarshal(body, &s))
		return len(s.Nodes) == 4 && len(s.Links) == 3
	}, 10*time.Second, 100*time.Millisecond)
	require.False(t, s.Faults)
	require.Contains(t, s.Title, h.addr())
	require.NotEmpty(t, s.Nodes[0].Counters)
	links := map[string]string{}
	for _, l := range s.Links {
		other, way := l.To, "→"
		if l.From != 0 {
			other, way = l.From, "←"
		}
		require.True(t, s.Nodes[other].Peer)
		require.Equal(t, other, s.Nodes[other].ID)
		what := s.Nodes[other].Addr
		if way == "←" {
			what = "guest"
		}
		links[what] = way + l.Temperature
	}
	require.Equal(t, map[string]string{peer.String(): "→hot", "127.0.0.1:1": "→cold", "guest": "←hot"}, links)

	_, body := fetch(t, h, "/api/explain?node=0")
	var why []page.Explanation
	require.NoError(t, json.Unmarshal(body, &why))
	require.Len(t, why, 3)
	for _, e := range why {
		require.Equal(t, s.Nodes[e.Peer].Addr, e.Addr)
		require.Contains(t, e.Text, e.Addr)
		if e.Addr == peer.String() {
			require.Equal(t, governor.OrderFinished.String(), e.Decision)
			require.Contains(t, e.Text, "initiator of chain-sync")
		}
	}
	code, _ := fetch(t, h, "/api/explain?node=1")
	require.Equal(t, http.StatusNotFound, code)
	_, body = fetch(t, h, "/api/log?limit=500")
	require.Contains(t, string(body), `"name":"PromoteWarmDone"`)
	require.Contains(t, string(body), `"name":"accepted"`)
	guest.end()
}

// TestServiceManager is told when the relay is ready, reloads and stops.
func TestServiceManager(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	told := func() string {
		b := make([]byte, 1000)
		require.NoError(t, manager.SetReadDeadline(time.Now().Add(5*time.Second)))
		n, err := manager.Read(b)
		require.NoError(t, err)
		return string(b[:n])
	}
	h := startNode(t, nodeOptions{})
	require.Equal(t, "READY=1", told())
	require.NoError(t, syscall.Kill(syscall.Getpid(), syscall.SIGHUP))
	require.Regexp(t, `^RELOADING=1\nMONOTONIC_USEC=\d+$`, told())
	require.Equal(t, "READY=1", told())
	h.end()
	require.Equal(t, "STOPPING=1", told())
}

// TestFailureOfAPart: when the page cannot go on the relay stops, with an error.
func TestFailureOfAPart(t *testing.T) {
	h, err := newNode(t, nodeOptions{http: "127.0.0.1:0"})
	require.NoError(t, err)
	require.NoError(t, h.web.Close())
	require.ErrorIs(t, h.run(t.Context()), net.ErrClosed)
	require.NoError(t, h.close())
}
