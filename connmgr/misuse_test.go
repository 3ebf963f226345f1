package connmgr

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// One core under a shell and a kernel that do anything at any time: it never contradicts itself, and what it calls unexpected is
// the only thing that leaves the oracle.
func TestMisuse(t *testing.T) {
	hit := map[string]bool{}
	for seed := range uint64(map[bool]int{false: 300, true: 60}[raceEnabled]) {
		misuse(t, seed, 1000, hit)
	}
	require.False(t, hit["?"], "an input that the table does not know")
}

func misuse(t *testing.T, seed uint64, steps int, hit map[string]bool) {
	rnd := rand.New(rand.NewPCG(seed, 3))
	w := newWorld(modelConfig{hard: int(seed % 4)})
	c := w.end[0].core
	c.hit = func(row string) { hit[row] = true }
	last := map[RecordID]State{}
	sockets := map[sockID]RecordID{}
	asked, answered := map[ticket]bool{}, map[ticket]bool{}
	var tickets ticket
	var socks sockID
	now := time.Duration(0)
	var trail []string
	fail := func(format string, args ...any) {
		t.Fatalf("seed %d: %s\n%s", seed, fmt.Sprintf(format, args...), strings.Join(trail[max(0, len(trail)-12):], "\n"))
	}
	do := func(e event) {
		trail = append(trail, fmt.Sprintf("kind %d id %d sock %d ticket %d %v outcome %d fail %d flow %v hot %v at %v", e.kind, e.id, e.sock, e.ticket, e.local, e.outcome, e.fail, e.flow, e.hot, now))
		if e.ticket != 0 {
			asked[e.ticket] = true
		}
		res, id, effects := c.step(now, e)
		if e.kind == evAccepted && res == resProceed || e.kind == evDialled && res == resProceed {
			sockets[e.sock] = id
		}
		for _, f := range effects {
			switch f.kind {
			case effTrace:
				if last[f.trace.Record] != f.trace.From {
					fail("%+v does not follow %v", f.trace, last[f.trace.Record])
				}
				if f.trace.From != f.trace.To && !f.trace.Unexpected && !LegalTransition(f.trace.From, f.trace.To) {
					fail("illegal: %+v", f.trace)
				}
				last[f.trace.Record] = f.trace.To
			case effReply:
				if f.ticket == 0 || answered[f.ticket] {
					fail("ticket %d answered twice", f.ticket)
				}
				answered[f.ticket] = true
			case effRemote:
				if !LegalRemoteTransition(f.remoteFrom, f.remoteTo) {
					fail("remote %v → %v", f.remoteFrom, f.remoteTo)
				}
			}
		}
		checkCore(c, fail)
	}
	for range steps {
		now += time.Duration(rnd.IntN(3)) * time.Second
		all := c.sorted()
		id := RecordID(0)
		var r *record
		if len(all) > 0 {
			r = all[rnd.IntN(len(all))]
			id = r.id
		}
		sock := func() sockID {
			if r == nil {
				return 0
			}
			if r.out != 0 && (r.in == 0 || rnd.IntN(2) == 0) {
				return r.out
			}
			return r.in
		}
		flow := DataFlow(rnd.IntN(2))
		local := []netip.AddrPort{modelAddr[0], ephemeralAddr(0), modelAddr[1]}[rnd.IntN(3)]
		switch rnd.IntN(14) {
		case 0, 1:
			tickets++
			e := event{kind: evAcquire, ticket: tickets, remote: modelAddr[1], reuseOnly: rnd.IntN(5) == 0}
			if rnd.IntN(2) == 0 {
				e.bound = modelAddr[0]
			}
			if rnd.IntN(40) > 0 { // seldom the other address, so that a self connection does not end the game
				do(e)
			}
		case 2:
			socks++
			if local == modelAddr[1] && rnd.IntN(50) > 0 {
				local = modelAddr[0]
			}
			do(event{kind: evDialled, id: id, sock: socks, local: local})
		case 3:
			do(event{kind: evDialFailed, id: id, fail: dialFailure(rnd.IntN(3)), err: errModel})
		case 4, 5:
			if s := sock(); s != 0 {
				do(event{kind: evOutHandshake, id: id, sock: s, outcome: outcome(max(0, rnd.IntN(8)-4)), flow: flow, err: errModel})
			}
		case 6:
			socks++
			do(event{kind: evAccepted, sock: socks, local: []netip.AddrPort{modelAddr[0], ephemeralAddr(0)}[rnd.IntN(2)], remote: modelAddr[1], protected: rnd.IntN(3) == 0})
		case 7, 8:
			if s := sock(); s != 0 {
				do(event{kind: evInHandshake, id: id, sock: s, outcome: outcome(max(0, rnd.IntN(8)-4)), flow: flow, err: errModel})
			}
		case 9:
			do(event{kind: evResponderStarted, id: id, sock: sock(), hot: rnd.IntN(2) == 0})
		case 10:
			do(event{kind: evResponderEnded, id: id, sock: sock(), hot: rnd.IntN(2) == 0})
		case 11:
			tickets++
			do(event{kind: evRelease, id: id, ticket: tickets})
		case 12:
			tickets++
			do(event{kind: evWatch, id: id, ticket: tickets})
		case 13:
			switch rnd.IntN(4) {
			case 0:
				if s := sock(); s != 0 {
					do(event{kind: evEnded, id: id, sock: s, err: errModel})
				}
			case 1:
				if due, ok := c.nextTimer(); ok {
					now = max(now, due)
				}
				fallthrough
			default:
				do(event{kind: evTimers})
			}
		}
	}
	do(event{kind: evShutdown})
	for range 10 {
		for _, r := range c.sorted() {
			for _, s := range []sockID{r.out, r.in} {
				if s != 0 {
					do(event{kind: evEnded, id: r.id, sock: s})
				}
			}
		}
		now += time.Hour
		do(event{kind: evTimers})
	}
	if len(c.records)+len(c.byRemote)+len(c.busy)+len(c.timers.heap) != 0 {
		fail("not empty after shutdown")
	}
	for tk := ticket(1); tk <= tickets; tk++ {
		if !answered[tk] && asked[tk] {
			fail("ticket %d was never answered", tk)
		}
	}
}
