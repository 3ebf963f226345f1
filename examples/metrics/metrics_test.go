package metrics

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"net/http/httptest"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/governor"
	"github.com/hearthnet/hearth/mux"
)

// full is a node that exports every family.
func full(name string) Node {
	g := governor.Counters{KnownPeers: 9, EstablishedPeers: 5, ActivePeers: 3, EstablishedLocalRootPeers: 4, ActiveLocalRootPeers: 1,
		Outage: true, Decisions: map[string]uint64{governor.KnownAbove.String(): 7}, Churn: map[string]governor.ChurnCounters{}}
	for _, step := range []string{"Decreased", "Increased"} {
		for _, what := range []string{"Active", "Established", "Known"} {
			for _, kind := range []string{"Peers", "BigLedgerPeers"} {
				g.Churn[step+what+kind] = governor.ChurnCounters{Duration: 1500 * time.Millisecond, Delta: 1}
			}
		}
	}
	k := connmgr.ManagerCounters{Counters: connmgr.Counters{Inbound: 4, Outbound: 5, Duplex: 6, FullDuplex: 2, Unidirectional: 1},
		Remote: connmgr.RemoteCounters{Idle: 1, Cold: 2, Warm: 3, Hot: 4}, Accept: connmgr.LimiterCounters{Accepted: 11, Refused: 1}}
	return Node{Name: name, Governor: &g, Connections: &k, Local: &k, Host: &Host{Blocks: 1, Slot: 2, Transactions: 3, MempoolBytes: 4},
		Traffic: []Traffic{{"block-fetch", 10, 20}, {"chain-sync", 30, 35}, {"artifact-bulk", 1, 2}, {"chain-sync", 0, 5}},
		Artifacts: &Artifacts{Peers: 2, Held: 5, Counters: artifact.Counters{BodyBytes: 70, Verdicts: [...]uint64{artifact.Invalid: 3},
			Delivered: [...]uint64{artifact.Idle: 6}, DeliveryTime: [...]time.Duration{artifact.Idle: 1500 * time.Millisecond}},
			Queues: artifact.Queues{artifact.Bulk: {Wanted: 8}}}}
}

// scrape serves the nodes over HTTP and parses what comes.
func scrape(t *testing.T, label string, nodes ...Node) (text []byte, families map[string]*dto.MetricFamily) {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(NewCollector(label, func() []Node { return nodes }))
	w := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	require.Equal(t, 200, w.Code, w.Body.String())
	text = w.Body.Bytes()
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(bytes.NewReader(text))
	require.NoError(t, err)
	return text, families
}

func TestEveryFamilyHasHelpAndType(t *testing.T) {
	text, families := scrape(t, "", full(""))
	require.Greater(t, len(families), 60)
	for name, f := range families {
		require.NotEmpty(t, f.GetHelp(), name)
		require.NotContains(t, f.GetHelp(), "  ", name)
		require.Contains(t, string(text), "# TYPE "+name+" ")
		require.Contains(t, string(text), "# HELP "+name+" ")
		require.NotEqual(t, dto.MetricType_UNTYPED, f.GetType(), name)
	}
}

// TestLinter: it may complain of what the names of cardano-node are, and of nothing else.
func TestLinter(t *testing.T) {
	text, _ := scrape(t, "node", full("0"), full("1"))
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	require.NoError(t, err)
	for _, p := range problems {
		require.Equal(t, "metric names should be written in 'snake_case' not 'camelCase'", p.Text, p.Metric)
		require.True(t, strings.HasPrefix(p.Metric, "cardano_node_metrics_"), p.Metric)
	}
}

func TestNamesAndValues(t *testing.T) {
	_, families := scrape(t, "node", full("a"), full("b"))
	value := func(name string, labels map[string]string) float64 {
		for _, m := range families[name].GetMetric() {
			match := len(m.GetLabel()) == len(labels)
			for _, l := range m.GetLabel() {
				match = match && labels[l.GetName()] == l.GetValue()
			}
			if match {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		t.Fatalf("no %s %v", name, labels)
		return 0
	}
	a := map[string]string{"node": "a"}
	const p = "cardano_node_metrics_"
	require.Equal(t, 4.0, value(p+"peerSelection_Cold_int", a))
	require.Equal(t, 2.0, value(p+"peerSelection_Warm_int", a))
	require.Equal(t, 3.0, value(p+"peerSelection_Hot_int", a))
	require.Equal(t, 3.0, value(p+"peerSelection_WarmLocalRoots_int", a))
	require.Equal(t, 1.5, value(p+"peerSelection_churnDecreasedKnownPeers_duration_real", a))
	require.Equal(t, 6.0, value(p+"connectionManager_duplexConns_int", a))
	require.Equal(t, 4.0, value(p+"localInboundGovernor_hot_int", a))
	require.Equal(t, 70.0, value("hearth_artifact_body_bytes_received_total", a))
	require.Equal(t, 3.0, value("hearth_artifact_verdicts_total", map[string]string{"node": "a", "verdict": "invalid"}))
	require.Equal(t, 1.5, value("hearth_artifact_delivery_seconds_total", map[string]string{"node": "a", "class": "idle"}))
	require.Equal(t, 8.0, value("hearth_artifact_queue", map[string]string{"node": "a", "class": "bulk", "place": "wanted"}))
	require.Equal(t, 40.0, value("hearth_mux_bytes_total", map[string]string{"node": "b", "direction": "out", "protocol": "chain-sync"}))
	require.Equal(t, 7.0, value("hearth_governor_decisions_total", map[string]string{"node": "b", "decision": governor.KnownAbove.String()}))
}

// TestKeysAreThoseOfTheTextFormat: a page that shows samples by their keys shows what a scrape does.
func TestKeysAreThoseOfTheTextFormat(t *testing.T) {
	n := full("")
	text, _ := scrape(t, "", n)
	lines := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if i := strings.LastIndexByte(line, ' '); i > 0 && !strings.HasPrefix(line, "#") {
			lines[line[:i]] = true
		}
	}
	for _, s := range n.Samples() {
		require.True(t, lines[s.Key()], s.Key())
	}
	require.Len(t, lines, len(n.Samples()))
}

func TestDashboardUsesExportedNamesOnly(t *testing.T) {
	_, families := scrape(t, "node", full("a"))
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(Dashboard, &d))
	require.NotEmpty(t, d.Panels)
	word := regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*`)
	group := regexp.MustCompile(`by \([^)]*\)|\[[^]]*\]`)
	for _, p := range d.Panels {
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			used := 0
			for _, w := range word.FindAllString(group.ReplaceAllString(target.Expr, ""), -1) {
				switch w {
				case "sum", "max", "min", "rate":
					continue
				}
				require.Contains(t, families, w, target.Expr)
				used++
			}
			require.Positive(t, used, target.Expr)
		}
	}
}

func TestTallyKeepsWhatEndedConnectionsCarried(t *testing.T) {
	info := func(record uint64, in, out uint64) connmgr.Info {
		return connmgr.Info{Record: connmgr.RecordID(record), Streams: []mux.StreamCounters{
			{Number: 2, BytesIn: in, BytesOut: out}, {Number: 2, Role: 1, BytesIn: 1}, {Number: 99, BytesOut: 5}}}
	}
	var tally Tally
	require.Empty(t, tally.Look(nil))
	require.Equal(t, []Traffic{{"99", 0, 10}, {"chain-sync", 42, 7}}, tally.Look([]connmgr.Info{info(1, 10, 3), info(2, 30, 4)}))
	require.Equal(t, []Traffic{{"99", 0, 10}, {"chain-sync", 52, 8}}, tally.Look([]connmgr.Info{info(1, 20, 4)}))
	require.Equal(t, []Traffic{{"99", 0, 10}, {"chain-sync", 52, 8}}, tally.Look([]connmgr.Info{{Record: 1}}))
	require.Equal(t, []Traffic{{"99", 0, 10}, {"chain-sync", 52, 8}}, tally.Look(nil))
}

func TestStreamsAreCalledByName(t *testing.T) {
	require.Equal(t, []Traffic{{"artifact-offer", 4, 0}, {"keep-alive", 3, 5}}, Streams([]mux.StreamCounters{
		{Number: 8, BytesIn: 1, BytesOut: 2}, {Number: 8, Role: 1, BytesIn: 2, BytesOut: 3}, {Number: artifact.NumOffer, BytesIn: 4}}))
}
