package connmgr

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
)

// Info says everything about one connection, or about a socket that is not one yet or no longer.
type Info struct {
	Record   RecordID // 0: a socket that has none: parked, refused or about to be closed
	Conn     ConnID
	Label    string // the remote's name for itself where its address is invented (Unix sockets)
	State    State
	Phase    string // what a socket that has not negotiated does: "parked", "handshake", "answered", "lingers" (connmgr §1.9), "closes"
	Remote   RemoteState
	Dialled  bool // by us
	Flow     string
	Age      time.Duration
	InState  time.Duration
	HeldBy   []string // who keeps it open
	Timer    string   // what it waits for, empty: nothing
	TimerIn  time.Duration
	Err      error // the last one
	Mature   bool
	Version  protocols.Negotiated
	Streams  []mux.StreamCounters // bytes by mini-protocol
	Latency  time.Duration        // of the last keep-alive round trip, 0: none
	Protects bool                 // a local root: never pruned
}

// Explain describes the connection with these addresses or, when there is none, the accepted socket; ok is false when there is neither.
func (m *Manager) Explain(id ConnID) (info Info, ok bool) {
	m.mu.Lock()
	r := m.core.find(id)
	if r == nil {
		for _, s := range m.sockets {
			if s.id4 == id {
				info, ok = m.socketInfo(s), true
				break
			}
		}
		m.mu.Unlock()
		return info, ok
	}
	info = m.info(r)
	conn := m.connOf(r)
	m.mu.Unlock()
	info.fill(conn)
	return info, true
}

// Connections describes all connections, oldest first, and then the sockets that belong to none: parked by the accept delay, waiting
// for the remote to read a refusal and close, or being closed.
func (m *Manager) Connections() []Info {
	m.mu.Lock()
	var all []Info
	var conns []*Conn
	var others []*socket
	for _, r := range m.core.sorted() {
		if r.gone {
			continue // its socket is what is left
		}
		all = append(all, m.info(r))
		conns = append(conns, m.connOf(r))
	}
	for _, s := range m.sockets {
		if r := m.core.records[s.rec]; r == nil || r.gone {
			others = append(others, s)
		}
	}
	slices.SortFunc(others, func(a, b *socket) int { return cmp.Compare(a.id, b.id) })
	for _, s := range others {
		all = append(all, m.socketInfo(s))
		conns = append(conns, nil)
	}
	m.mu.Unlock()
	for i := range all {
		all[i].fill(conns[i])
	}
	return all
}

func (m *Manager) connOf(r *record) *Conn {
	if r == nil {
		return nil
	}
	if s := m.sockets[r.handle]; s != nil {
		return s.conn
	}
	return nil
}

func (i *Info) fill(c *Conn) {
	if c == nil {
		return
	}
	i.Version = c.Negotiated()
	i.Streams = c.Counters()
	if _, rtt, ok := c.Latency(); ok {
		i.Latency = rtt
	}
	if err := c.Err(); err != nil && i.Err == nil {
		i.Err = err
	}
}

// info is the cores' part. Called with the lock held.
func (m *Manager) info(r *record) Info {
	now := m.now()
	i := Info{
		Record: r.id, Conn: r.conn, State: r.state, Remote: r.inbound.state, Dialled: r.out != 0, Age: now - r.created, InState: now - r.changed,
		Err: r.err, Mature: r.inbound.mature, Protects: r.protected,
	}
	if flow, ok := r.state.DataFlow(); ok {
		i.Flow = flow.String()
	}
	for k := timerConnect; k < numTimerKinds; k++ {
		if due, ok := m.core.timers.due(r.id, k); ok && k != timerMaturity {
			i.Timer, i.TimerIn = k.String(), due-now
		}
	}
	for _, s := range []sockID{r.out, r.in} {
		if s := m.sockets[s]; s != nil {
			i.Label = cmp.Or(s.label, i.Label)
			if r.handle == 0 {
				i.Phase = phaseShaking.String()
				if u := m.limiter.find(s.id); u != nil {
					i.Phase = u.phase.String()
				}
			}
		}
	}
	if p := m.peers[r.conn.Remote]; p != nil && p.rec == r.id && p.machine.status > StatusCold {
		i.HeldBy = append(i.HeldBy, strings.TrimSpace(fmt.Sprintf("us: %v %v", p.machine.status, p.machine.doing)))
		for _, run := range p.runs {
			i.HeldBy = append(i.HeldBy, "us: initiator of "+run.name)
		}
	}
	if r.state == StateUnnegotiatedInbound {
		i.HeldBy = append(i.HeldBy, "remote: to propose versions")
	}
	if hot, all := r.inbound.counts(); all > 0 {
		i.HeldBy = append(i.HeldBy, fmt.Sprintf("remote: %d responders, %d hot", all, hot))
	}
	acquires := len(r.acquires)
	if r.dial != 0 {
		acquires++
	}
	for _, w := range []struct {
		name string
		n    int
	}{{"acquire", acquires}, {"release", len(r.releases)}} {
		if w.n > 0 {
			i.HeldBy = append(i.HeldBy, fmt.Sprintf("waiting: %d %s", w.n, w.name))
		}
	}
	i.HeldBy = slices.Clip(i.HeldBy)
	return i
}

// socketInfo describes a socket without a record on the map. Called with the lock held.
func (m *Manager) socketInfo(s *socket) Info {
	now := m.now()
	i := Info{Conn: s.id4, Label: s.label, Dialled: s.dialled, Phase: "closes", Age: now - s.opened}
	i.InState = i.Age
	if r := m.core.records[s.rec]; r != nil {
		i.Record, i.State, i.InState, i.Err = r.id, r.state, now-r.changed, r.err
	}
	u := m.limiter.find(s.id)
	if u == nil {
		return i
	}
	i.Phase, i.Protects = u.phase.String(), u.protected
	switch u.phase {
	case phaseParked:
		i.Timer = "accept delay"
		i.HeldBy = []string{fmt.Sprintf("us: %d inbound connections, from %d on new ones are delayed", m.core.counters.Inbound, m.cfg.Limits.Soft)}
	case phaseClosing:
		i.Timer = "linger"
		i.HeldBy = []string{"remote: to read our answer and close"}
	default:
		return i
	}
	i.TimerIn = u.until - now
	return i
}

// String is one line for people.
func (i Info) String() string {
	s := fmt.Sprintf("%v → %v %v, remote %v, %s, age %v, %v in state", i.Conn.Local, i.Conn.Remote, i.State, i.Remote, i.Flow, i.Age.Round(time.Second), i.InState.Round(time.Millisecond))
	if i.Phase != "" {
		s += ", socket " + i.Phase
	}
	if i.Timer != "" {
		s += fmt.Sprintf(", %s in %v", i.Timer, i.TimerIn.Round(time.Millisecond))
	}
	if len(i.HeldBy) > 0 {
		s += fmt.Sprintf(", held by (%s)", strings.Join(i.HeldBy, "; "))
	}
	if i.Err != nil {
		s += fmt.Sprintf(", last error: %v", i.Err)
	}
	return s
}
