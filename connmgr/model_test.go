package connmgr

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// explore visits every state that can be reached within the budget.
func explore(t *testing.T, cfg modelConfig, limit int) (states int, hit map[string]bool, sent map[[2]State]bool) {
	type node struct {
		w    *world
		path []string
	}
	start := newWorld(cfg)
	seen := map[string]bool{start.key(): true}
	queue := []node{{start, nil}}
	for len(queue) > 0 && len(seen) < limit {
		n := queue[0]
		queue[0] = node{}
		queue = queue[1:]
		for _, m := range n.w.moves() {
			w := n.w.clone()
			fail := func(format string, args ...any) {
				t.Fatalf("%s: %s\nafter:\n  %s\n  %s", cfg.name, fmt.Sprintf(format, args...), strings.Join(n.path, "\n  "), m.name)
			}
			m.do(w, fail)
			w.check(fail)
			if k := w.key(); !seen[k] {
				seen[k] = true
				queue = append(queue, node{w, append(slices.Clip(n.path), m.name)})
			}
		}
	}
	return len(seen), start.hit, start.sent
}

var modelConfigs = []modelConfig{
	{name: "plain", hard: 9, acquires: 2, links: 2},
	{name: "faults", hard: 9, acquires: 1, links: 2, faults: true, refusals: true},
	{name: "half-open", hard: 9, acquires: 2, links: 2, lostResets: true, single: true, faults: true},
	{name: "ephemeral", hard: 9, acquires: 1, links: 2, ephemeral: true, reuse: true},
	{name: "limit", hard: 1, acquires: 2, links: 3, ephemeral: true},
	{name: "no room", hard: 0, acquires: 1, links: 2, ephemeral: true},
	{name: "unidirectional", hard: 9, acquires: 1, links: 2, uni: true},
	{name: "impatient", hard: 9, acquires: 2, links: 1, impatient: true},
	{name: "shutdown", hard: 9, acquires: 1, links: 1, shutdown: true, faults: true},
}

// rowsByMisuse are the rows that two correct ends never take: the shell, the kernel or a second socket for one 4-tuple (a self
// connection that is not visible by its addresses) has to do something odd. TestMisuse takes them.
var rowsByMisuse = strings.Fields("B3 B5 B7 B8 C3 C4 C5 C6 C10 D4 D6 F2 F3 F4 F5 F10 G5 I5 J6")

// rowsByRaces are the rows of calls that cross a change of state. Here the inbound governor shares its step with the
// connection's record, so the crossing cannot happen at all; only the table itself can be asked about them.
var rowsByRaces = strings.Fields("D5 D7 G1 G2 G7 G8 G9 H1 H2 H3 H6 I1 I2 I4 I7 I8 I9 I10")

func allRows() []string {
	rows := map[string]bool{}
	for _, r := range rules {
		rows[r.row] = true
	}
	for _, row := range []string{"B3", "J1", "K2", "K3", "E5"} {
		rows[row] = true
	}
	return slices.Sorted(maps.Keys(rows))
}

// Every interleaving of two ends up to a depth that covers every transition; every row of the table is taken, here
// or, where correct ends cannot, under misuse.
func TestModelCheck(t *testing.T) {
	limit := 6_000
	if raceEnabled {
		limit = 1_500
	}
	if os.Getenv("HEARTH_SOAK") != "" {
		limit = 150_000
	}
	hit := map[string]bool{}
	sent := map[[2]State]bool{}
	for _, cfg := range modelConfigs {
		begin := time.Now()
		n, h, s := explore(t, cfg, limit)
		t.Logf("%s: %d states in %v, complete: %v", cfg.name, n, time.Since(begin).Round(time.Millisecond), n < limit)
		maps.Copy(hit, h)
		maps.Copy(sent, s)
	}
	for i := range modelConfigs {
		h, s := wander(t, modelConfigs[i], limit/20)
		maps.Copy(hit, h)
		maps.Copy(sent, s)
	}
	t.Logf("%d different transitions", len(sent))
	var missing []string
	for _, row := range allRows() {
		if !hit[row] && !slices.Contains(rowsByMisuse, row) && !slices.Contains(rowsByRaces, row) {
			missing = append(missing, row)
		}
	}
	if !raceEnabled { // the search is too short there
		require.Empty(t, missing, "rows that no interleaving takes")
	}
	require.False(t, hit["?"], "an input that the table does not know")
	for _, row := range rowsByRaces {
		require.False(t, hit[row], "row %s was said to be impossible", row)
	}
}

// wander walks at random, deeper than the search, and then lets everything run out: with governors that ask for nothing more
// both ends must become empty.
func wander(t *testing.T, cfg modelConfig, walks int) (map[string]bool, map[[2]State]bool) {
	start := newWorld(cfg)
	for seed := range walks {
		rnd := rand.New(rand.NewPCG(uint64(seed), 7))
		w := start.clone()
		w.cfg.acquires, w.cfg.links = 6, 8
		var path []string
		fail := func(format string, args ...any) {
			t.Fatalf("%s, walk %d: %s\nafter:\n  %s", cfg.name, seed, fmt.Sprintf(format, args...), strings.Join(path, "\n  "))
		}
		take := func(m move) {
			path = append(path, m.name)
			m.do(w, fail)
			w.check(fail)
		}
		for range 120 {
			moves := w.moves()
			if len(moves) == 0 {
				break
			}
			take(moves[rnd.IntN(len(moves))])
		}
		for range 2000 {
			moves := slices.DeleteFunc(w.moves(), func(m move) bool {
				return strings.Contains(m.name, "acquire") || strings.Contains(m.name, "starts") || strings.Contains(m.name, "late")
			})
			if len(moves) == 0 {
				break
			}
			take(moves[rnd.IntN(len(moves))])
		}
		for x, e := range w.end {
			if n := len(e.core.records) + len(e.core.byRemote) + len(e.core.busy) + len(e.core.timers.heap) + len(e.last); n != 0 || e.gov != govIdle {
				fail("end %d does not come to rest: %d left, %+v", x, n, e.core.counters)
			}
		}
	}
	return start.hit, start.sent
}
