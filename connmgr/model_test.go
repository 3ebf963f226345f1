package connmgr

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// tally counts the rows and transitions that a search takes, and keeps the first way to each, which is a shortest one.
type tally struct {
	rows  map[string]*rowHit
	sent  map[[2]State]int
	where func() []string
}

type rowHit struct {
	count  int
	config string
	path   []string
}

func newTally() *tally {
	return &tally{rows: map[string]*rowHit{}, sent: map[[2]State]int{}, where: func() []string { return nil }}
}

func (y *tally) row(name string) {
	h := y.rows[name]
	if h == nil {
		h = &rowHit{path: y.where()}
		y.rows[name] = h
	}
	h.count++
}

func (y *tally) transition(from, to State) { y.sent[[2]State{from, to}]++ }

// explore visits everything that is at most depth moves away from the start: all interleavings of what can happen. It returns the
// number of states and the depth that it has searched completely.
func explore(t *testing.T, cfg modelConfig, depth, limit int) (states, complete int, y *tally) {
	type node struct {
		w      *world
		parent *node
		move   string
		depth  int
	}
	path := func(n *node, last string) []string {
		p := []string{last}
		for ; n.parent != nil; n = n.parent {
			p = append(p, n.move)
		}
		slices.Reverse(p)
		return append(slices.Clone(cfg.prefix), p...)
	}
	start := newWorld(cfg)
	y = start.tally
	from := &node{w: start}
	var last string
	y.where = func() []string { return path(from, last) }
	fail := func(format string, args ...any) {
		t.Fatalf("%s: %s\nafter:\n  %s", cfg.name, fmt.Sprintf(format, args...), strings.Join(path(from, last), "\n  "))
	}
	for _, name := range cfg.prefix {
		last = name
		start.move(name, fail)
	}
	seen := map[string]bool{start.key(): true}
	queue := []*node{from}
	for len(queue) > 0 && len(seen) < limit {
		from = queue[0]
		queue = queue[1:]
		if from.depth == depth {
			return len(seen), depth, y
		}
		complete = from.depth
		for _, m := range from.w.moves() {
			w := from.w.clone()
			last = m.name
			m.do(w, fail)
			w.check(fail)
			if k := w.key(); !seen[k] {
				seen[k] = true
				queue = append(queue, &node{w, from, m.name, from.depth + 1})
			}
		}
		from.w = nil
	}
	if len(queue) == 0 {
		complete = depth // there is nothing more
	}
	return len(seen), complete, y
}

// wander walks at random, deeper than the search, and then lets everything run out: with governors that ask for nothing more
// both ends must become empty.
func wander(t *testing.T, cfg modelConfig, walks int) {
	start := newWorld(cfg)
	for seed := range walks {
		rnd := rand.New(rand.NewPCG(uint64(seed), 7))
		w := start.clone()
		var path []string
		fail := func(format string, args ...any) {
			t.Fatalf("%s, walk %d: %s\nafter:\n  %s", cfg.name, seed, fmt.Sprintf(format, args...), strings.Join(path, "\n  "))
		}
		take := func(m move) {
			path = append(path, m.name)
			m.do(w, fail)
			w.check(fail)
		}
		for _, name := range cfg.prefix {
			w.move(name, fail)
		}
		w.cfg.acquires, w.cfg.links = 6, 8
		for range 120 {
			moves := w.moves()
			if len(moves) == 0 {
				break
			}
			take(moves[rnd.IntN(len(moves))])
		}
		for range 2000 {
			moves := slices.DeleteFunc(w.moves(), func(m move) bool {
				return strings.Contains(m.name, "acquires") || strings.Contains(m.name, "starts") || strings.Contains(m.name, "late")
			})
			if len(moves) == 0 {
				break
			}
			take(moves[rnd.IntN(len(moves))])
		}
		for x, e := range w.end {
			if n := len(e.core.records) + len(e.core.byRemote) + len(e.core.busy) + len(e.core.timers.heap) + len(e.last) + len(e.mail); n != 0 || e.gov != govIdle {
				fail("end %d does not come to rest: %d left, %+v", x, n, e.core.counters)
			}
		}
	}
}

// Every interleaving of two ends, of the kernels between them and of the notices within them, to the depth at which every row of
// connmgr §1.4 as amended is taken.
func TestModelCheck(t *testing.T) {
	soak := os.Getenv("HEARTH_SOAK") != ""
	rows := map[string]*rowHit{}
	sent := map[[2]State]int{}
	for _, cfg := range modelConfigs {
		begin := time.Now()
		depth, limit := cfg.depth, 1_000_000
		if soak {
			depth = cfg.depth + 4
			limit = 150_000
		}
		if raceEnabled {
			limit = 300
		}
		n, complete, y := explore(t, cfg, depth, limit)
		t.Logf("%s: %d states, all to depth %d, in %v", cfg.name, n, len(cfg.prefix)+complete, time.Since(begin).Round(time.Millisecond))
		for row, h := range y.rows {
			h.config = cfg.name
			old := rows[row]
			if old == nil {
				rows[row] = h
				continue
			}
			old.count += h.count
			if len(h.path) < len(old.path) {
				old.path, old.config = h.path, h.config
			}
		}
		for k, v := range y.sent {
			sent[k] += v
		}
	}
	var missing []string
	for _, row := range allRows(t) {
		if h := rows[row]; h != nil {
			t.Logf("%-3s %7d times, first %s: %s", row, h.count, h.config, strings.Join(h.path, " · "))
		} else {
			missing = append(missing, row)
		}
	}
	t.Logf("%d different transitions", len(sent))
	require.NotContains(t, rows, "?", "an input that the table does not know")
	if raceEnabled {
		return // the search is too short there
	}
	for from := range StateTerminating { // what comes after is another record's
		for to := StateReservedOutbound; to < StateTerminated; to++ {
			if from != to && LegalTransition(from, to) && sent[[2]State{from, to}] == 0 {
				t.Errorf("no interleaving makes %v → %v", from, to)
			}
		}
	}
	require.Empty(t, missing, "rows that no interleaving takes")
}

// Longer walks than a search can go end in nothing.
func TestModelComesToRest(t *testing.T) {
	walks := 200
	if raceEnabled {
		walks = 40
	}
	if os.Getenv("HEARTH_SOAK") != "" {
		walks = 5_000
	}
	for _, cfg := range modelConfigs {
		wander(t, cfg, walks)
	}
}
