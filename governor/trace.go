package governor

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"
)

// Trace is one thing that was decided or happened. Names are those of governor §9.2, without a namespace, and a few more:
// StatusChanged for every change of temperature, BackOffLifted, PolicyViolation, Outage…, Ban….
type Trace struct {
	At       time.Duration
	Name     string
	Decision Decision // the rule
	// Target, Actual, Candidates are the inputs of the guard; −1 where they do not apply.
	Target, Actual, Candidates int
	Peers                      []netip.AddrPort
	Delay                      time.Duration // until the next attempt, or the length of what has ended; 0 none
	Note                       string
}

// Severity is the default severity of the trace in cardano-node (governor §9.2); Critical is slog.LevelError + 4.
func (t Trace) Severity() slog.Level {
	switch t.Name {
	case "LocalRootPeersChanged", "TargetsChanged", "ChurnTimeout", "UseBootstrapPeersChanged", "OutageBegan", "OutageEnded", "Banned":
		return slog.LevelInfo + 2 // notice
	case "DemoteLocalAsynchronous", "BootstrapPeersFlagChangedWhilstInSensitiveState", "PolicyViolation", "TargetsRefused":
		return slog.LevelWarn
	case "PublicRootsFailure", "VerifyPeerSnapshot", "OutboundGovernorCriticalFailure":
		return slog.LevelError
	case "PeerShareRequests", "PeerShareResults", "StatusChanged":
		return slog.LevelDebug
	}
	if strings.HasSuffix(t.Name, "CoolingToColdTimeout") {
		return slog.LevelError
	}
	return slog.LevelInfo
}

// String is one line: the name, the inputs, the peers.
func (t Trace) String() string {
	var b strings.Builder
	b.WriteString(t.Name)
	if t.Target >= 0 {
		fmt.Fprintf(&b, " target=%d", t.Target)
	}
	if t.Actual >= 0 {
		fmt.Fprintf(&b, " actual=%d", t.Actual)
	}
	if t.Candidates >= 0 {
		fmt.Fprintf(&b, " candidates=%d", t.Candidates)
	}
	for _, p := range t.Peers {
		b.WriteByte(' ')
		b.WriteString(p.String())
	}
	if t.Delay != 0 {
		fmt.Fprintf(&b, " delay=%v", t.Delay.Round(time.Millisecond))
	}
	if t.Note != "" {
		b.WriteString(" (" + t.Note + ")")
	}
	return b.String()
}

// attrs is the trace as slog attributes.
func (t Trace) attrs() []slog.Attr {
	a := []slog.Attr{slog.String("decision", t.Decision.String())}
	for _, f := range []struct {
		key string
		v   int
	}{{"target", t.Target}, {"actual", t.Actual}, {"candidates", t.Candidates}} {
		if f.v >= 0 {
			a = append(a, slog.Int(f.key, f.v))
		}
	}
	if len(t.Peers) > 0 {
		a = append(a, slog.Any("peers", t.Peers))
	}
	if t.Delay != 0 {
		a = append(a, slog.Duration("delay", t.Delay))
	}
	if t.Note != "" {
		a = append(a, slog.String("note", t.Note))
	}
	return a
}

// trace notes something with the inputs of the present decision.
func (c *Core) trace(name string, target, actual, candidates int, note string, peers ...netip.AddrPort) *Trace {
	c.out.Trace = append(c.out.Trace, Trace{At: c.now, Name: name, Decision: c.deciding, Target: target, Actual: actual,
		Candidates: candidates, Peers: c.keep(peers), Note: note})
	return &c.out.Trace[len(c.out.Trace)-1]
}

// tell notes something that has no numbers.
func (c *Core) tell(name, note string, peers ...netip.AddrPort) *Trace {
	return c.trace(name, -1, -1, -1, note, peers...)
}

// keep copies addresses to where traces may keep them: carved out of blocks, since most traces name one peer, which one of the last
// few traces named as well.
func (c *Core) keep(as []netip.AddrPort) []netip.AddrPort {
	const block, back = 64, 4
	n, from := len(as), len(c.names)
	switch {
	case n == 0:
		return nil
	case n > block:
		return append([]netip.AddrPort(nil), as...)
	case n == 1:
		for i := from - 1; i >= max(0, from-back); i-- {
			if c.names[i] == as[0] {
				return c.names[i : i+1 : i+1]
			}
		}
	}
	if n > cap(c.names)-from {
		c.names, from = make([]netip.AddrPort, 0, block), 0
	}
	c.names = append(c.names, as...)
	return c.names[from:len(c.names):len(c.names)]
}

// turns are the notes of StatusChanged.
var turns = func() (t [4][4]string) {
	for a := Cold; a <= Hot; a++ {
		for b := Cold; b <= Hot; b++ {
			t[a][b] = a.String() + " to " + b.String()
		}
	}
	return t
}()
