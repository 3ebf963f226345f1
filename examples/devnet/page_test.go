package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/examples/internal/page"
	"github.com/hearthnet/hearth/examples/internal/page/pagetest"
)

// shown runs a network and shows it, until the test ends.
func shown(t *testing.T, nodes int) (url string) {
	t.Helper()
	n, err := newNetwork(config{nodes: nodes, seed: 1, token: "t"}, t.TempDir())
	require.NoError(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.run(ctx, ln, newReport(io.Discard, n.c)) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
		http.DefaultClient.CloseIdleConnections()
	})
	return "http://" + ln.Addr().String()
}

func fetch(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 200, resp.StatusCode, string(body))
	return body
}

// TestStartIsQuick: twelve nodes show themselves within 3 s and have met their targets within 15 s, and all that the page says of peers
// comes true.
func TestStartIsQuick(t *testing.T) {
	t.Parallel()
	began := time.Now()
	url := shown(t, 12)
	require.Contains(t, string(fetch(t, url+"/")), "<html")
	require.Less(t, time.Since(began), 3*time.Second)
	require.Eventually(t, func() bool {
		var s page.Snapshot
		require.NoError(t, json.Unmarshal(fetch(t, url+"/api/state"), &s))
		links := map[string]int{}
		for _, l := range s.Links {
			links[l.Temperature]++
			require.True(t, l.Temperature != "hot" || l.Duplex)
		}
		for _, n := range s.Nodes {
			if n.Hot != targets(12).Active || n.Counters["hearth_artifact_peers"] != 6 {
				return false
			}
		}
		return links["hot"] == 12*11 && links["gossip"] == 12*6/2
	}, 15*time.Second-time.Since(began), 50*time.Millisecond)
	t.Logf("targets met after %v", time.Since(began))
}

// TestMetricsEqualThePage: at three moments, every value of /metrics is that of the JSON of the same snapshot.
func TestMetricsEqualThePage(t *testing.T) {
	t.Parallel()
	url := shown(t, 4)
	last := uint64(0)
	for range 3 {
		var s page.Snapshot
		require.Eventually(t, func() bool {
			s = page.Snapshot{}
			return json.Unmarshal(fetch(t, url+"/api/state"), &s) == nil && s.Number > last && s.Nodes[3].Hot == 3
		}, 20*time.Second, 50*time.Millisecond)
		last = s.Number
		p := expfmt.NewTextParser(model.LegacyValidation)
		text := string(fetch(t, fmt.Sprintf("%s/metrics?snapshot=%d", url, s.Number)))
		families, err := p.TextToMetricFamilies(strings.NewReader(text))
		require.NoError(t, err)
		problems, err := promlint.New(strings.NewReader(text)).Lint()
		require.NoError(t, err)
		for _, p := range problems {
			require.Contains(t, p.Metric, "cardano_node_metrics_", p.Text)
			require.Contains(t, p.Text, "camelCase", p.Metric)
		}
		values := 0
		for name, f := range families {
			require.NotEmpty(t, f.GetHelp(), name)
			require.Contains(t, text, "# TYPE "+name+" ")
			for _, m := range f.GetMetric() {
				node := -1
				var pairs []string // sorted by the text format
				for _, l := range m.GetLabel() {
					if l.GetName() != "node" {
						pairs = append(pairs, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
						continue
					}
					_, err := fmt.Sscan(l.GetValue(), &node)
					require.NoError(t, err)
				}
				key := name
				if len(pairs) > 0 {
					key += "{" + strings.Join(pairs, ",") + "}"
				}
				v, ok := s.Nodes[node].Counters[key]
				require.True(t, ok, key)
				require.Equal(t, v, m.GetGauge().GetValue()+m.GetCounter().GetValue(), key)
				values++
			}
		}
		for _, n := range s.Nodes {
			values -= len(n.Counters)
		}
		require.Zero(t, values)
	}
}

// TestDownNodeExplainsNobody: who asks about a node that it has not seen go is told of no peers, which is no error.
func TestDownNodeExplainsNobody(t *testing.T) {
	t.Parallel()
	url := shown(t, 3)
	require.Eventually(t, func() bool { return len(fetch(t, url+"/api/explain?node=1")) > len("[]\n") }, 20*time.Second, 20*time.Millisecond)
	req, err := http.NewRequest(http.MethodPost, url+"/api/kill?node=1", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer t")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 200, resp.StatusCode)
	require.JSONEq(t, "[]", string(fetch(t, url+"/api/explain?node=1")))
}

// TestPageInABrowser loads the page in a browser, looks at the graph, kills a node there and asks why a peer is where it is. With
// HEARTH_SHOTS=DIR it leaves screenshots.
func TestPageInABrowser(t *testing.T) {
	t.Parallel()
	b := pagetest.Open(t, shown(t, 6)+"/#token=t", "devnet-")
	var nodes int
	var explanation, decision string
	b.Do(b.Until(`document.querySelectorAll("#graph .node").length === 6 && document.querySelectorAll("#graph path.hot").length === 30`),
		chromedp.Evaluate(`document.querySelectorAll("#graph .node:not(.down)").length`, &nodes), b.Shot("start"),
		chromedp.Click(`.node[data-node="2"] circle`),
		b.Until(`document.querySelectorAll("#peers tbody tr").length === 5`),
		chromedp.Click(`#peers tbody tr`, chromedp.ByQuery),
		b.Until(`document.querySelector("#explanation").textContent !== ""`),
		chromedp.Text(`#explanation`, &explanation), chromedp.Text(`#peers tbody tr td:nth-child(3)`, &decision, chromedp.ByQuery), b.Shot("explain"))
	require.Equal(t, 6, nodes)
	require.NotEmpty(t, decision)
	require.Contains(t, explanation, decision)

	var took float64 // ms
	b.Do(chromedp.Evaluate(`window.pressed = performance.now()`, nil), chromedp.Click(`#kill`),
		b.Until(`!!document.querySelector('.node.down[data-node="2"]')`),
		chromedp.Evaluate(`performance.now() - window.pressed`, &took), b.Shot("killed"))
	require.Less(t, took, 2000.0)
	t.Logf("a kill is seen after %.0f ms", took)
	b.Do(b.Until(`!document.querySelector("#restart").disabled`), chromedp.Click(`#restart`),
		b.Until(`document.querySelectorAll("#graph .node:not(.down)").length === 6`),
		b.Phone(), b.Shot("phone"))
}
