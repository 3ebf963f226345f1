package protocols

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Agency says which side of a mini-protocol may send in a state.
type Agency uint8

// The holders of agency. The client is the mini-protocol's initiator (mux direction bit 0), the server its responder; for
// tx-submission that makes the client the side that owns the transactions (wire §8).
const (
	Nobody Agency = iota // a final state: the mini-protocol has ended
	Client
	Server
)

// String returns "nobody", "client" or "server".
func (a Agency) String() string { return [...]string{"nobody", "client", "server"}[min(a, 2)] }

// State is the index of a state in its [Spec].
type State uint8

// TimeLimit bounds the wait for one message: uniform in [Min, Max], drawn anew for each wait. Zero: no limit.
type TimeLimit struct{ Min, Max time.Duration }

// Within is a [TimeLimit] of exactly d.
func Within(d time.Duration) TimeLimit { return TimeLimit{d, d} }

// StateSpec is one row of a mini-protocol's state table. Limits are those of the messages *received* in this state, so only
// the side without agency enforces them (wire §5.1).
type StateSpec struct {
	Name    string
	Agency  Agency
	Bytes   int       // largest message, bytes; 0: the stream's ingress limit is the only one
	Timeout TimeLimit // from the start of waiting to the last byte decoded
}

// Transition is one message that is legal in one state.
type Transition struct {
	Message  string // the wire specification's name of it
	Tag      uint64 // first element of the outer array
	Len      int    // number of elements of the outer array, the tag included
	From, To State
	// Match tells rows apart that share From, Tag and Len, such as blocking and non-blocking requests. It sees the whole
	// well-formed message and must not keep it. Nil matches always.
	Match func(msg []byte) bool
}

// Spec is the definition of a mini-protocol: its states with agency, byte and time limits, and the messages that lead from
// one to the next. It is data: engine, tests and documentation read the same table. A Spec is immutable once it is in use.
type Spec struct {
	Name        string
	Initial     State
	States      []StateSpec
	Transitions []Transition
}

// Validate reports every inconsistency of the table at once: states out of range, messages in final states, rows that can
// never match, unreachable states.
func (sp *Spec) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(sp.Name+": "+format, args...)) }
	n := len(sp.States)
	if n == 0 || n > 250 {
		bad("%d states, want 1 to 250", n)
		return errors.Join(errs...)
	}
	if int(sp.Initial) >= n {
		bad("initial state %d of %d", sp.Initial, n)
		return errors.Join(errs...)
	}
	reached := make([]bool, n)
	reached[sp.Initial] = true
	for i, s := range sp.States {
		if s.Bytes < 0 || s.Timeout.Min < 0 || s.Timeout.Max < s.Timeout.Min {
			bad("state %s: negative or inverted limit", s.Name)
		}
		if s.Agency > Server {
			bad("state %d: agency %d", i, s.Agency)
		}
	}
	type key struct {
		from State
		tag  uint64
		len  int
	}
	shadowed := map[key]bool{}
	for _, t := range sp.Transitions {
		if int(t.From) >= n || int(t.To) >= n {
			bad("message %s: state out of range", t.Message)
			continue
		}
		if sp.States[t.From].Agency == Nobody {
			bad("message %s leaves the final state %s", t.Message, sp.States[t.From].Name)
		}
		if t.Len < 1 {
			bad("message %s: length %d", t.Message, t.Len)
		}
		k := key{t.From, t.Tag, t.Len}
		if shadowed[k] {
			bad("message %s in %s can never match: an earlier row takes it", t.Message, sp.States[t.From].Name)
		}
		if t.Match == nil {
			shadowed[k] = true
		}
		reached[t.To] = true
	}
	for i, ok := range reached {
		if !ok {
			bad("state %s is never reached", sp.States[i].Name)
		}
	}
	return errors.Join(errs...)
}

// WithTimeLimit returns a copy of the table in which one state has another time limit (zero: none), for limits that depend on
// the peer or on configuration, such as chain-sync's idle limit.
func (sp *Spec) WithTimeLimit(st State, limit TimeLimit) *Spec {
	c := *sp
	c.States = append([]StateSpec(nil), sp.States...)
	c.States[st].Timeout = limit
	return &c
}

// Unlimited returns a copy of the table without time and byte limits: what node-to-client connections use (wire §5.1).
func (sp *Spec) Unlimited() *Spec {
	c := *sp
	c.States = append([]StateSpec(nil), sp.States...)
	for i := range c.States {
		c.States[i].Bytes, c.States[i].Timeout = 0, TimeLimit{}
	}
	return &c
}

// String renders the table as text, a line for each message and one for each final state.
func (sp *Spec) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-16s %-7s %-20s %4s %4s  %-16s %9s  %s\n", "state", "agency", "message", "tag", "len", "next", "bytes", "time limit")
	for i, s := range sp.States {
		limit, within := "-", "-"
		if s.Bytes > 0 {
			limit = fmt.Sprint(s.Bytes)
		}
		switch {
		case s.Timeout.Max == 0:
		case s.Timeout.Min == s.Timeout.Max:
			within = s.Timeout.Max.String()
		default:
			within = s.Timeout.Min.String() + "–" + s.Timeout.Max.String()
		}
		if s.Agency == Nobody {
			fmt.Fprintf(&b, "%-16s %-7s\n", s.Name, s.Agency)
			continue
		}
		for _, t := range sp.Transitions {
			if t.From == State(i) {
				fmt.Fprintf(&b, "%-16s %-7s %-20s %4d %4d  %-16s %9s  %s\n", s.Name, s.Agency, t.Message, t.Tag, t.Len, sp.States[t.To].Name, limit, within)
			}
		}
	}
	return b.String()
}

// next finds the row for a message with this tag and length that arrived (or is about to be sent) in st.
func (sp *Spec) next(st State, tag uint64, length int, msg []byte) *Transition {
	for i := range sp.Transitions {
		t := &sp.Transitions[i]
		if t.From == st && t.Tag == tag && t.Len == length && (t.Match == nil || t.Match(msg)) {
			return t
		}
	}
	return nil
}

// Step returns the state that msg, one whole CBOR item, leads to from st, and the row of the table that says so. It is the
// pure core of the engine: no other rule decides whether a message is legal. The error is a plain one that says what is
// wrong with the message.
func (sp *Spec) Step(st State, msg []byte) (*Transition, error) {
	tag, length, err := peekTag(msg)
	if err != nil {
		return nil, err
	}
	if t := sp.next(st, tag, length, msg); t != nil {
		return t, nil
	}
	for i := range sp.Transitions {
		if t := &sp.Transitions[i]; t.Tag == tag && t.From != st {
			return nil, fmt.Errorf("message tag %d (array of %d) is not legal in state %s", tag, length, sp.States[st].Name)
		}
	}
	return nil, fmt.Errorf("no message with tag %d and %d elements in state %s", tag, length, sp.States[st].Name)
}
