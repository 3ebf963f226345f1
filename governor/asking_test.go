package governor

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// outcome is all that a generated run decided, ordered and wanted to be woken at, hashed.
func outcome(t *testing.T, seed uint64, askAll bool) [32]byte {
	m := generate(t, randomKnobs(seed))
	m.core.asking.all = askAll
	h := sha256.New()
	m.check = func(m *mock, s step) error {
		fmt.Fprintf(h, "%v %T %v %v %v\n", s.at, s.event, s.trace, s.effects, m.core.out.Wake)
		return nil
	}
	m.noLog = true
	m.start()
	m.run(time.Hour)
	require.NoError(t, m.err)
	return [32]byte(h.Sum(nil))
}

// TestPassedOver: a core that asks every rule in every walk decides nothing else, and wants to be woken at the same times.
func TestPassedOver(t *testing.T) {
	seeds := uint64(100)
	if soak() {
		seeds = 5000
	}
	for seed := range seeds {
		if outcome(t, seed, false) != outcome(t, seed, true) {
			t.Fatalf("seed %d: a rule was passed over that had something to do", seed)
		}
	}
}

// TestPassages: a peer that goes from one place to another and from there to a third changes as much as if it went straight.
func TestPassages(t *testing.T) {
	for a := range nowhere + 1 {
		for b := range nowhere + 1 {
			for c := range nowhere + 1 {
				sum := passages[a][b].tally
				sum.add(passages[b][c].tally)
				require.Equal(t, passages[a][c].tally, sum)
				require.Equal(t, passages[a][c].live, passages[a][b].live+passages[b][c].live)
			}
		}
	}
}

// TestConcerns: what is not said to concern a rule does not change its mind. The counts are made up: but for one peer now and then
// nobody stands behind them, which guards do not see.
func TestConcerns(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	rounds := 3_000
	if soak() {
		rounds = 50_000
	}
	var changed [DecisionNone]int
	for round := range rounds {
		c, err := NewCore(Relay())
		require.NoError(t, err)
		c.groups = make([]group, 1)
		c.groups[0].Warm, c.groups[0].Hot = rnd.IntN(4), rnd.IntN(4)
		for _, n := range []*int{&c.targets.Roots, &c.targets.Known, &c.targets.Established, &c.targets.Active,
			&c.targets.KnownBigLedger, &c.targets.EstablishedBigLedger, &c.targets.ActiveBigLedger} {
			*n = rnd.IntN(16)
		}
		c.offered, c.restored = c.targets, make([]StoredPeer, 1)
		if round%20 == 0 { // somebody to forget or to ask
			c.sharing.askable.put(c.learn(ip(2), classPlain, SourceShared, yes).id)
		}
		c.churning.phase, c.churning.step, c.churning.until = churnStep, rnd.IntN(len(churnSteps)), time.Hour
		for cl := range classes {
			for p := range places {
				for range max(0, rnd.IntN(12)-9) {
					c.pretend(cl, nowhere, p)
				}
			}
		}
		cl, from, to := class(rnd.IntN(int(classes))), place(rnd.IntN(int(nowhere)+1)), place(rnd.IntN(int(nowhere)+1))
		k := kindOf[cl]
		if from != nowhere && c.n[k][from] == 0 {
			continue
		}
		before := c.minds()
		c.pretend(cl, from, to)
		for d, v := range c.minds() {
			if v == before[d] {
				continue
			}
			changed[d]++
			if passages[from][to].concerns[k]&(1<<d) == 0 {
				t.Fatalf("%v: a peer of kind %d from %d to %d changes its mind from %v to %v", Decision(d), k, from, to, before[d], v)
			}
		}
	}
	for d, n := range changed {
		if soak() && looksAt[d] != 0 && n == 0 {
			t.Errorf("%v never changes its mind: the test sees nothing", Decision(d))
		}
	}
}

// pretend counts one more peer that went from one place to another.
func (c *Core) pretend(cl class, from, to place) {
	p := &peer{addr: ip(3), class: cl, group: -1}
	if cl == classLocal {
		p.group = 0
	}
	if from != nowhere {
		p.place = from
		c.count(p, -1)
	}
	if to != nowhere {
		p.place = to
		c.count(p, 1)
	}
	c.book(p, from, to)
	d := passages[from][to].known
	c.known[cl] += d // which enter and leave do
	c.table.count += d
}

// TestFindForgets: nobody who is no longer known is found, whatever was looked for before and whoever has the place now.
func TestFindForgets(t *testing.T) {
	table := newTable()
	for i := range 2000 {
		table.insert(wide(i))
	}
	for i := range 2000 {
		p := table.find(wide(i))
		require.Equal(t, wide(i), p.addr)
		table.expect(p)
		table.remove(p)
		require.Nil(t, table.find(wide(i)))
		require.Nil(t, table.find(netip.AddrPort{}))
		if i%2 == 0 {
			table.insert(wide(2000 + i))
			require.Nil(t, table.find(wide(i)))
		}
	}
}

// minds is what every rule would answer.
func (c *Core) minds() (vs [DecisionNone]verdict) {
	for d := range vs {
		copied := *c
		copied.rnd, copied.out = rand.New(rand.NewPCG(1, 1)), Output{}
		if c.table.count > 0 && len(c.pages) > 0 {
			copied = *c.clone()
		}
		vs[d] = rules[d].try(&copied)
	}
	return vs
}
