package connmgr

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/protocols"
)

// A script is what happens to a few nodes on a bad network (connmgr §9.3, §9.4). Everything in it is drawn before it runs, so a
// failing one shrinks.
type script struct {
	nodes   int
	limits  Limits
	link    memnet.Link
	seed    uint64
	bearers map[[2]int][]memnet.Bearer
	steps   []scriptStep
}

type scriptStep struct {
	wait time.Duration
	kind string
	a, b int
	opt  bool
}

func (s scriptStep) String() string {
	return fmt.Sprintf("%v %s %d %d %v", s.wait, s.kind, s.a, s.b, s.opt)
}

// weights of what happens, the generator's only knowledge.
var scriptKinds = strings.Fields(`connect connect connect use use use use use-uni use-uni activate activate deactivate
	disconnect disconnect disconnect cancelled silent garbage reset vanish partition cut heal restart power emfile`)

func faultyEnd(t *rapid.T) memnet.End {
	e := memnet.End{}
	switch rapid.IntRange(0, 9).Draw(t, "fault") {
	case 0:
		e.FailWrite = rapid.IntRange(1, 6).Draw(t, "nth")
	case 1:
		e.CutAfter = int64(rapid.IntRange(1, 200).Draw(t, "bytes"))
		e.Cut = memnet.CutKind(rapid.IntRange(0, 2).Draw(t, "cut"))
	case 2:
		from := time.Duration(rapid.IntRange(0, 20_000).Draw(t, "from")) * time.Millisecond
		e.Phases = []memnet.Phase{{From: from, Until: from + time.Duration(rapid.IntRange(1, 60).Draw(t, "len"))*time.Second}}
		switch p := &e.Phases[0]; rapid.IntRange(0, 2).Draw(t, "phase") {
		case 0:
			p.Stall = true
		case 1:
			p.Bandwidth = 30
		case 2:
			p.Err = syscall.EIO
		}
	case 3:
		e.Late = time.Duration(rapid.IntRange(1, 5000).Draw(t, "late")) * time.Millisecond
	}
	return e
}

func anyScript(t *rapid.T) script {
	s := script{
		nodes:   rapid.IntRange(2, 3).Draw(t, "nodes"),
		seed:    rapid.Uint64().Draw(t, "seed"),
		bearers: map[[2]int][]memnet.Bearer{},
	}
	hard := rapid.SampledFrom([]int{1, 1, 2, 3, 512}).Draw(t, "hard")
	s.limits = Limits{Hard: hard, Soft: max(hard/2, 1), Delay: 2 * time.Second, Unnegotiated: rapid.SampledFrom([]int{2, 8, 256}).Draw(t, "budget")}
	if hard > 2 {
		s.limits.Reserve = 1
	}
	s.link = memnet.Link{
		Latency:   rapid.SampledFrom([]time.Duration{0, time.Millisecond, 50 * time.Millisecond, time.Second}).Draw(t, "latency"),
		Resplit:   rapid.Bool().Draw(t, "resplit"),
		LoseReset: rapid.IntRange(0, 4).Draw(t, "losereset") == 0,
	}
	if s.link.Latency > 0 {
		s.link.Jitter = s.link.Latency / time.Duration(rapid.IntRange(1, 10).Draw(t, "jitter"))
	}
	for a := range s.nodes {
		for b := range a {
			for range rapid.IntRange(0, 2).Draw(t, "bearers") {
				f := memnet.Bearer{Dialling: faultyEnd(t), Accepting: faultyEnd(t)}
				switch rapid.IntRange(0, 7).Draw(t, "dial") {
				case 0:
					f.Delay = rapid.SampledFrom([]time.Duration{100 * time.Millisecond, time.Second, 20 * time.Second, 200 * time.Second}).Draw(t, "delay")
				case 1:
					f.DialErr = rapid.SampledFrom([]error{syscall.ECONNREFUSED, syscall.EMFILE, syscall.EADDRNOTAVAIL}).Draw(t, "err")
				}
				s.bearers[[2]int{b, a}] = append(s.bearers[[2]int{b, a}], f)
			}
		}
	}
	for range rapid.IntRange(1, 12).Draw(t, "steps") {
		a := rapid.IntRange(0, s.nodes-1).Draw(t, "a")
		s.steps = append(s.steps, scriptStep{
			wait: time.Duration(rapid.SampledFrom([]int{0, 0, 1, 20, 300, 1000, 4000, 5000, 20000, 61000}).Draw(t, "wait")) * time.Millisecond,
			kind: rapid.SampledFrom(scriptKinds).Draw(t, "kind"), a: a, b: (a + rapid.IntRange(1, s.nodes-1).Draw(t, "b")) % s.nodes,
			opt: rapid.IntRange(0, 4).Draw(t, "opt") == 0,
		})
	}
	return s
}

// run plays a script and asserts what must hold whatever it does: the auditor's and checkCore's properties at every step, calls that
// return, a network that heals into a working one, and nothing left at the end.
func (s script) run(t *testing.T, rt *rapid.T, reached *coverage) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{Seed: s.seed, Link: s.link})
		for pair, list := range s.bearers {
			n.Script(nodeAddr(pair[0]+1).Addr(), nodeAddr(pair[1]+1).Addr(), append(list, memnet.Bearer{})...)
		}
		r := &scriptRun{script: s, t: rt, net: n}
		for i := range s.nodes {
			r.nodes = append(r.nodes, newNode(scriptFailer{rt}, n, i+1, func(c *Config) {
				c.Limits = s.limits
				c.KeepAlive = 20 * time.Second
				seen := &echoes{}
				c.Protocols = []*protocols.MiniProtocol{
					echo(100, protocols.Established, 30*time.Second, seen), echo(102, protocols.Hot, 30*time.Second, seen),
				}
				if s.seed%3 == 0 {
					root := nodeAddr(1).Addr()
					c.Protected = func(a netip.Addr) bool { return a == root }
				}
			}))
		}
		for _, step := range s.steps {
			time.Sleep(step.wait)
			r.do(step)
		}
		r.finish()
		for _, nd := range r.nodes {
			reached.add(nd)
		}
	})
}

// scriptFailer keeps a failure from unwinding through the bubble.
type scriptFailer struct{ *rapid.T }

func (f scriptFailer) FailNow() { f.Fail() }

type scriptRun struct {
	script
	t     *rapid.T
	net   *memnet.Network
	nodes []*node
	calls sync.WaitGroup
}

func (r *scriptRun) do(s scriptStep) {
	a, b := r.nodes[s.a], r.nodes[s.b]
	m := a.m // a restart puts another one there, perhaps before a call has begun
	call := func(f func()) { r.calls.Go(f) }
	switch s.kind {
	case "connect":
		call(func() {
			_, err := m.Connect(bg, b.addr, ConnectOptions{InboundOnly: s.opt})
			if err != nil && fault(err) == FaultInternal && !errors.Is(err, syscall.EMFILE) {
				r.t.Errorf("%v: %v", s, err)
			}
		})
	case "use", "use-uni":
		call(func() {
			if _, err := m.Connect(bg, b.addr, ConnectOptions{InitiatorOnly: s.kind == "use-uni"}); err == nil {
				_ = m.Activate(bg, b.addr)
			}
		})
	case "cancelled":
		call(func() {
			ctx, cancel := context.WithTimeout(bg, s.wait+time.Millisecond)
			defer cancel()
			_, _ = m.Connect(ctx, b.addr, ConnectOptions{}) // any outcome will do
		})
	case "activate":
		call(func() { _ = m.Activate(bg, b.addr) })
	case "deactivate":
		call(func() { _ = m.Deactivate(bg, b.addr) })
	case "disconnect":
		call(func() { _ = m.Disconnect(bg, b.addr) })
	case "silent", "garbage":
		call(func() {
			c, err := a.host.Dial(bg, netip.AddrPort{}, b.addr)
			if err != nil {
				return
			}
			if s.kind == "garbage" {
				_, _ = c.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
			}
			if s.opt {
				c.Close()
				return
			}
			c.SetReadDeadline(time.Now().Add(time.Minute))
			_, _ = c.Read(make([]byte, 1))
			c.Close()
		})
	case "reset", "vanish":
		for _, i := range a.m.Connections() {
			if i.Conn.Remote == b.addr {
				a.m.mu.Lock()
				var bearer *memnet.Conn
				for _, sock := range a.m.sockets {
					if sock.rec == i.Record {
						bearer, _ = sock.bearer.(*memnet.Conn)
					}
				}
				a.m.mu.Unlock()
				if bearer == nil {
					continue
				}
				if s.kind == "reset" {
					bearer.Reset()
				} else {
					bearer.Vanish()
				}
			}
		}
	case "partition":
		r.net.Partition(a.addr.Addr(), b.addr.Addr())
	case "cut":
		r.net.Cut(a.addr.Addr(), b.addr.Addr())
	case "heal":
		r.net.Heal(a.addr.Addr(), b.addr.Addr())
	case "emfile":
		a.host.SetDescriptors(1 + s.b)
	case "restart", "power":
		if s.kind == "power" {
			a.host.PowerOff()
		} else {
			a.host.Kill()
		}
		_ = a.m.Close() // always nil
		a.audit.atRest()
		if s.kind == "power" {
			a.host.PowerOn()
		}
		a.host.SetDescriptors(0)
		a.start(scriptFailer{r.t}, a.m.cfg)
	}
}

// finish heals the network, sees that nodes can still reach each other, lets everything run out and closes.
func (r *scriptRun) finish() {
	r.net.SetLinks(nodeAddr(1).Addr(), nodeAddr(2).Addr(), memnet.Link{})
	for i, a := range r.nodes {
		a.host.SetDescriptors(0)
		for _, b := range r.nodes[:i] {
			r.net.Heal(a.addr.Addr(), b.addr.Addr())
			r.net.Script(a.addr.Addr(), b.addr.Addr())
		}
	}
	r.calls.Wait() // every call returns
	for _, a := range r.nodes {
		for _, b := range r.nodes {
			if a != b {
				r.calls.Go(func() { _ = a.m.Disconnect(bg, b.addr) })
			}
		}
	}
	r.calls.Wait()
	time.Sleep(15 * time.Minute) // lost resets are found out by time-outs
	for _, a := range r.nodes {
		if left := a.m.Connections(); len(left) > 0 {
			r.t.Errorf("does not come to rest: %v", left)
		}
		if c := a.m.Counters(); c.Counters != (Counters{}) || c.Remote != (RemoteCounters{}) || c.Accept.Unnegotiated != 0 {
			r.t.Errorf("counters at rest: %+v", c)
		}
	}
	a, b := r.nodes[0], r.nodes[1]
	if _, err := a.m.Connect(bg, b.addr, ConnectOptions{}); err != nil {
		r.t.Errorf("the healed network does not work: %v", err)
	}
	if got := r.net.Pairs(a.addr.Addr(), b.addr.Addr()); got != 1 {
		r.t.Errorf("%d connections", got)
	}
	for _, nd := range r.nodes {
		nd.stop()
	}
	time.Sleep(5 * time.Minute)
	if err := r.net.Check(); err != nil {
		r.t.Error(err)
	}
}

// coverage is what all scripts together have reached.
type coverage struct {
	mu          sync.Mutex
	transitions map[[2]State]int
	pruned      int
	hot         int
}

func (c *coverage) add(nd *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	nd.audit.mu.Lock()
	defer nd.audit.mu.Unlock()
	for k, n := range nd.audit.seen {
		c.transitions[k] += n
	}
	c.pruned += nd.audit.pruned
	nd.mu.Lock()
	defer nd.mu.Unlock()
	for _, e := range nd.events {
		if strings.Contains(e, " hot(") {
			c.hot++
		}
	}
}

// 10,000 random scripts hold the properties of connmgr §9.2, and reach what there is to reach
// (prop_connection_manager_transitions_coverage, prop_connection_manager_pruning).
func TestRandomScripts(t *testing.T) {
	n := 10_000
	if raceEnabled {
		n = 600
	}
	if os.Getenv("HEARTH_SOAK") != "" {
		n *= 20
	}
	checks := flag.Lookup("rapid.checks")
	old := checks.Value.String()
	_ = checks.Value.Set(fmt.Sprint(n)) // a number: it cannot fail
	defer checks.Value.Set(old)
	reached := &coverage{transitions: map[[2]State]int{}}
	begin := time.Now()
	rapid.Check(t, func(rt *rapid.T) { anyScript(rt).run(t, rt, reached) })
	t.Logf("%d scripts in %v: %d different transitions, %d peers hot, %d pruned", n, time.Since(begin), len(reached.transitions), reached.hot, reached.pruned)
	if raceEnabled {
		return
	}
	var missing []string
	for _, r := range rules {
		for _, from := range r.from {
			to, _ := next(from, r.in)
			pair := [2]State{from, to}
			if r.name == "" || strings.Contains(r.name, "SelfConn") || r.row == "P1" || reached.transitions[pair] > 0 || from == to {
				continue
			}
			missing = append(missing, fmt.Sprintf("%s: %v → %v", r.row, from, to))
		}
	}
	for _, m := range missing {
		t.Log("not reached: ", m)
	}
	if reached.pruned == 0 || len(missing) > 4 {
		t.Errorf("the scripts do not reach enough: %d pruned, %d transitions missing", reached.pruned, len(missing))
	}
}
