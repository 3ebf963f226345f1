package artifact

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is the consumer end of one link: its record of every slot, and what it holds.
type model struct {
	seen    map[uint32]uint64
	settled map[uint32]bool
	held    map[uint32]entry
	answers uint64
	window  int
}

func (m *model) digests(blocks int) (out []digest, highest uint64) {
	for b := range blocks {
		out = append(out, blockDigest(func(i int) uint64 {
			if m.settled[uint32(i)] {
				return m.seen[uint32(i)]
			}
			return 0
		}, b*blockSlots))
	}
	for _, c := range m.seen {
		highest = max(highest, c)
	}
	return out, highest
}

func (m *model) read(t *rapid.T, es []entry) {
	m.answers++
	for _, e := range es {
		switch e.tag {
		case entryWithdraw:
			if e.commit == 0 || e.commit >= m.seen[e.slot] {
				m.settled[e.slot] = false
				delete(m.held, e.slot)
			}
		case entryKnown:
			m.seen[e.slot], m.settled[e.slot] = e.commit, true
		case entryOffer, entryPush:
			if e.commit < m.seen[e.slot] {
				t.Fatalf("slot %d: commit %d after %d", e.slot, e.commit, m.seen[e.slot])
			}
			m.seen[e.slot], m.settled[e.slot] = e.commit, false
			m.held[e.slot] = e
			if len(m.held) > m.window {
				t.Fatalf("%d outstanding", len(m.held))
			}
		}
	}
}

// P1, P2, P5, P9: the model of one link of artifact §6.11: random publish, clear, reuse, verdicts, cuts, comparisons and messages
// that cross. After quiescence the consumer has settled exactly what the table shows, every digest is equal, and a reconnect
// re-offers nothing.
func TestOneLinkModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		rnd := rand.New(rand.NewPCG(seed, 2))
		cfg := Config{Slots: 128, Kinds: []KindConfig{{ID: 1, MaxSize: 1000}}}
		cfg = cfg.withDefaults()
		tab := newTable(&cfg, newKindTable(cfg.Kinds), [8]byte{1})
		m := &model{seen: map[uint32]uint64{}, settled: map[uint32]bool{}, held: map[uint32]entry{}, window: 64}
		vc := func(r *resumeClaim) viewConfig {
			return viewConfig{kinds: []bool{true}, eager: []bool{rnd.IntN(2) == 0}, window: 64, reserve: 8, resume: r}
		}
		v, _ := tab.newView(0, vc(nil))
		var toConsumer [][]entry
		var toProvider []func() error
		n := 0
		var ids []ID
		now := time.Duration(0)
		read := func(i int) []entry {
			out := v.next(now, 1+rnd.IntN(64), rnd.IntN(4000), true, nil)
			d, err := decodeFromProvider(appendOffers(nil, out.n, out.entries), 2048, nil)
			if err != nil {
				t.Fatal(err)
			}
			return d.offers
		}
		say := func(slot uint32, e entry, verdict Verdict) {
			if m.held[slot].commit != e.commit {
				return
			}
			delete(m.held, slot)
			if verdict.terminal() {
				m.settled[slot] = true
			}
			vv := v
			toProvider = append(toProvider, func() error {
				if vv != v {
					return nil // of a session that was cut
				}
				return v.dispose(disposition{slot, e.commit, verdict})
			})
		}
		deliver := func(all bool) {
			for len(toConsumer) > 0 && (all || rnd.IntN(3) > 0) {
				m.read(t, toConsumer[0])
				toConsumer = toConsumer[1:]
			}
			for len(toProvider) > 0 && (all || rnd.IntN(3) > 0) {
				if err := toProvider[0](); err != nil {
					t.Fatalf("false violation: %v", err)
				}
				toProvider = toProvider[1:]
			}
		}
		cut := func() {
			toConsumer, toProvider = nil, nil
			tab.dropView(v)
			m.held = map[uint32]entry{}
			for s := range m.seen {
				if !m.settled[s] {
					delete(m.seen, s)
				}
			}
			m.answers = 0
			ds, h := m.digests(2)
			var ok bool
			v, ok = tab.newView(now, vc(&resumeClaim{epoch: tab.epoch, highest: h, digests: ds}))
			if !ok {
				t.Fatal("not resumed")
			}
		}
		for range 400 {
			now += time.Duration(rnd.IntN(50)) * time.Millisecond
			switch rnd.IntN(12) {
			case 0, 1, 2:
				n++
				a, _ := NewArtifact(cfg.Kinds[0], []byte(fmt.Sprint(seed, n)), nil, Class(rnd.IntN(4)))
				if _, err := tab.Publish(now, a); err == nil {
					ids = append(ids, a.ID)
				}
			case 3, 4:
				if len(ids) > 0 {
					i := rnd.IntN(len(ids))
					tab.Abort(now, ids[i])
					ids = append(ids[:i], ids[i+1:]...)
				}
			case 5, 6:
				toConsumer = append(toConsumer, read(0))
			case 7, 8:
				deliver(false)
			case 9:
				for i := range uint32(128) {
					if e, ok := m.held[i]; ok && rnd.IntN(2) == 0 {
						say(i, e, Verdict(rnd.IntN(6)))
					}
				}
			case 10:
				v.repend(v.parked(1+rnd.IntN(3), 0))
				ds, _ := m.digests(2)
				answers := m.answers
				vv := v
				toProvider = append(toProvider, func() error {
					if vv == v {
						for b, d := range ds {
							v.compare(now, b, d, answers)
						}
					}
					return nil
				})
			case 11:
				if rnd.IntN(10) == 0 {
					cut()
				}
			}
			if err := v.recount(); err != nil {
				t.Fatal(err)
			}
		}
		for range 100 { // quiescence
			toConsumer = append(toConsumer, read(0))
			deliver(true)
			for i := range uint32(128) {
				if e, ok := m.held[i]; ok {
					say(i, e, Delivered)
				}
			}
			deliver(true)
			v.repend(v.parked(3, 0))
		}
		for i := range tab.regs {
			want := tab.digestValue(v, i)
			got := uint64(0)
			if m.settled[uint32(i)] {
				got = m.seen[uint32(i)]
			}
			if got != want {
				t.Fatalf("slot %d: consumer settled %d, table shows %d, state %d", i, got, want, v.state(i))
			}
		}
		cut()
		es := read(0)
		if len(es) != 1 || es[0].tag != entrySynced {
			t.Fatalf("a quiet reconnect re-offers %v", es)
		}
	})
}
