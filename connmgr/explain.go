package connmgr

import (
	"fmt"
	"slices"
	"time"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
)

// Info says everything about one connection.
type Info struct {
	Record   RecordID
	Conn     ConnID
	Label    string // the remote's name for itself where its address is invented (Unix sockets)
	State    State
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

// Explain describes the connection with these addresses; ok is false when there is none.
func (m *Manager) Explain(id ConnID) (info Info, ok bool) {
	m.mu.Lock()
	r := m.core.find(id)
	if r != nil {
		info = m.info(r)
	}
	conn := m.connOf(r)
	m.mu.Unlock()
	info.fill(conn)
	return info, r != nil
}

// Connections describes all connections, oldest first.
func (m *Manager) Connections() []Info {
	m.mu.Lock()
	var all []Info
	var conns []*Conn
	for _, r := range m.core.sorted() {
		all = append(all, m.info(r))
		conns = append(conns, m.connOf(r))
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
		if s := m.sockets[s]; s != nil && s.label != "" {
			i.Label = s.label
		}
	}
	if p := m.peers[r.conn.Remote]; p != nil && p.rec == r.id && p.machine.status > StatusCold {
		i.HeldBy = append(i.HeldBy, fmt.Sprintf("us: %v %v", p.machine.status, p.machine.doing))
		for _, run := range p.runs {
			i.HeldBy = append(i.HeldBy, "us: initiator of "+run.name)
		}
	}
	if hot, all := r.inbound.counts(); all > 0 {
		i.HeldBy = append(i.HeldBy, fmt.Sprintf("remote: %d responders, %d hot", all, hot))
	}
	for _, w := range []struct {
		name string
		n    int
	}{{"acquire", len(r.acquires)}, {"release", len(r.releases)}} {
		if w.n > 0 {
			i.HeldBy = append(i.HeldBy, fmt.Sprintf("waiting: %d %s", w.n, w.name))
		}
	}
	i.HeldBy = slices.Clip(i.HeldBy)
	return i
}

// String is one line for people.
func (i Info) String() string {
	s := fmt.Sprintf("%v → %v %v, remote %v, %s, age %v, %v in state", i.Conn.Local, i.Conn.Remote, i.State, i.Remote, i.Flow, i.Age.Round(time.Second), i.InState.Round(time.Millisecond))
	if i.Timer != "" {
		s += fmt.Sprintf(", %s in %v", i.Timer, i.TimerIn.Round(time.Millisecond))
	}
	if len(i.HeldBy) > 0 {
		s += fmt.Sprintf(", held by %q", i.HeldBy)
	}
	if i.Err != nil {
		s += fmt.Sprintf(", last error: %v", i.Err)
	}
	return s
}
