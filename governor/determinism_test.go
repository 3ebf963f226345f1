package governor

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// digest is everything a run decided and ordered, hashed.
func (m *mock) digest() [32]byte {
	h := sha256.New()
	for _, s := range m.log {
		fmt.Fprintf(h, "%v %T %v %v\n", s.at, s.event, s.trace, s.effects)
	}
	return [32]byte(h.Sum(nil))
}

// TestSameSeedSameTrace: twice, on one processor and on two. Map orders differ from run to run, so a map that reached a decision
// would show.
func TestSameSeedSameTrace(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	different := 0
	for seed := range uint64(12) {
		var first [32]byte
		for round := range 4 {
			runtime.GOMAXPROCS(1 + round%2)
			m := generate(t, randomKnobs(seed))
			m.start()
			m.run(time.Hour)
			switch d := m.digest(); {
			case round == 0:
				first = d
			case d != first:
				t.Fatalf("seed %d, round %d: another trace", seed, round)
			}
		}
		k := randomKnobs(seed)
		m := generate(t, k)
		m.core.pcg.Seed(k.Seed+1, 2) // the environment stays, the core's randomness differs
		m.start()
		m.run(time.Hour)
		if m.digest() != first {
			different++
		}
	}
	require.Greater(t, different, 6, "seeds hardly matter: the digest sees nothing")
}

// recorded runs a generated network with a recorder on.
func recorded(t *testing.T, k knobs) (*mock, []byte) {
	m := generate(t, k)
	var b bytes.Buffer
	rec, err := NewRecorder(&b, m.core.cfg)
	require.NoError(t, err)
	m.check = func(_ *mock, s step) error { return rec.Record(s.event, s.at) }
	m.start()
	m.run(time.Hour)
	require.NoError(t, m.err)
	return m, b.Bytes()
}

// TestReplay: a recording gives the identical trace, and recorded again the identical bytes.
func TestReplay(t *testing.T) {
	for seed := range uint64(12) {
		m, rec := recorded(t, randomKnobs(seed))
		replayed := &mock{}
		var again bytes.Buffer
		var r *Recorder
		err := Replay(bytes.NewReader(rec), nil, func(ev Event, at time.Duration, c *Core, out Output) (err error) {
			if r == nil {
				if r, err = NewRecorder(&again, m.core.cfg); err != nil {
					return err
				}
			}
			replayed.log = append(replayed.log, step{at: at, event: ev, trace: append([]Trace(nil), out.Trace...),
				effects: append([]Effect(nil), out.Effects...)})
			return r.Record(ev, at)
		})
		require.NoError(t, err)
		require.Equal(t, len(m.log), len(replayed.log))
		require.Equal(t, m.digest(), replayed.digest(), "seed %d", seed)
		m.core.cfg.Targets = m.core.cfg.SyncTargets // scripts change the configuration; the header is that of the start
		head, body, _ := bytes.Cut(rec, []byte("\n"))
		require.NotEmpty(t, head)
		_, body2, _ := bytes.Cut(again.Bytes(), []byte("\n"))
		require.Equal(t, body, body2)
	}
}

func TestReplayRefuses(t *testing.T) {
	_, rec := recorded(t, randomKnobs(1))
	nothing := func(Event, time.Duration, *Core, Output) error { return nil }
	stop := errors.New("stop")
	for name, c := range map[string]struct {
		text   string
		policy Policy
		want   string
	}{
		"empty":          {"", nil, "empty"},
		"another policy": {string(rec), DiversePolicy{}, "made with policy"},
		"another format": {`{"Hearth":2}` + "\n", nil, "version 2"},
		"no event":       {strings.SplitAfter(string(rec), "\n")[0] + `{"At":1,"Type":"Nonsense","Event":{}}` + "\n", nil, "line 2"},
		"no JSON":        {strings.SplitAfter(string(rec), "\n")[0] + "?\n", nil, "line 2"},
	} {
		err := Replay(strings.NewReader(c.text), c.policy, nothing)
		require.ErrorIs(t, err, ErrRecording, name)
		require.ErrorContains(t, err, c.want, name)
	}
	require.ErrorIs(t, Replay(bytes.NewReader(rec), nil, func(Event, time.Duration, *Core, Output) error { return stop }), stop)
}

// FuzzReplay: a damaged recording is an error or a shorter run, never a crash, and the invariants hold.
func FuzzReplay(f *testing.F) {
	f.Add([]byte(`{"Hearth":1,"Policy":"governor.SimplePolicy","Config":{"Targets":{"Known":5,"Established":2,"Active":1,"Roots":2},"NoChurn":true}}
{"At":0,"Type":"Begin","Event":{"Settings":{"UseLedger":true}}}
{"At":1,"Type":"RootsAnswered","Event":{"Job":1,"Peers":[{"Peer":"1.2.3.4:5"}],"TTL":5}}
{"At":2,"Type":"Connected","Event":{"Peer":"1.2.3.4:5"}}
{"At":3,"Type":"StatusSeen","Event":{"Peer":"1.2.3.4:5","Temperature":1}}
`))
	f.Fuzz(func(t *testing.T, b []byte) {
		steps := 0
		_ = Replay(bytes.NewReader(b), nil, func(ev Event, _ time.Duration, c *Core, _ Output) error {
			if steps++; steps > 200 {
				return errors.New("enough")
			}
			if err := c.Check(); err != nil {
				t.Fatalf("after %T%+v: %v", ev, ev, err)
			}
			return nil
		})
	})
}

// TestWhatIfChangesNothing: asking leaves no mark on what follows.
func TestWhatIfChangesNothing(t *testing.T) {
	for seed := range uint64(6) {
		run := func(ask bool) [32]byte {
			m := generate(t, randomKnobs(seed))
			m.check = func(m *mock, s step) error {
				if ask {
					m.core.WhatIf(LocalRootsSet{})
					m.core.WhatIf(TargetsSet{Targets: Targets{Known: 3, Established: 2, Active: 1}})
					m.core.Shareable(10, m.now)
					m.core.ExplainTargets()
					m.core.Peers(5)
					m.core.Stored()
				}
				return m.core.Check()
			}
			m.start()
			m.run(40 * time.Minute)
			require.NoError(t, m.err)
			return m.digest()
		}
		require.Equal(t, run(false), run(true))
	}
}
