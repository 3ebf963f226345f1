package connmgr

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tableText is connmgr §1.4, row by row, with the amendments of its part N: row, events, states, next state, answer; written down
// from the specification, independently of state.go. "=" is no change, "rest" every tracked state in which the event has no other row.
// A row whose second column is "core" is not a matter of one state alone: the core takes it itself, and the last column says when.
// What an amendment replaces is in the last lines.
const tableText = `
A1  | acquire                        | Unknown                                  | ReservedOutbound     | proceed
A2  | acquire only inbound           | Unknown                                  | =                    | not found
A3  | acquire                        | ReservedOutbound                         | =                    | exists
A4  | acquire                        | UnnegotiatedOutbound                     | =                    | exists
A5  | acquire                        | UnnegotiatedInbound                      | =                    | wait
A6  | acquire                        | OutboundUni, OutboundDup(any), Duplex    | =                    | exists
A7  | acquire                        | OutboundIdle(any)                        | =                    | forbidden operation
A8  | acquire                        | InboundIdle(Uni), Inbound(Uni)           | =                    | forbidden connection
A9  | acquire                        | InboundIdle(Duplex)                      | OutboundDup(Ticking) | connected
A10 | acquire                        | Inbound(Duplex)                          | Duplex               | connected
A11 | acquire                        | Terminating, Terminated                  | =                    | terminating
A12 | core | N: the remote has several records, one is chosen
A13 | core | N: the remote is known to be ourselves

B1  | no socket                      | ReservedOutbound                         | Terminated           | disconnected
B1  | no socket                      | rest                                     | =                    | disconnected
B2  | connect failed                 | ReservedOutbound                         | Terminated           | disconnected
B2  | connect failed                 | rest                                     | =                    | disconnected
B3  | core | the local address is that of another record
B4  | connected                      | ReservedOutbound                         | UnnegotiatedOutbound | proceed
B5  | connected                      | UnnegotiatedInbound                      | UnnegotiatedOutbound | proceed
B6  | connected                      | Terminating, Terminated                  | =                    | disconnected
B7  | connected                      | rest                                     | =                    | proceed
B8  | connected to itself            | ReservedOutbound                         | Terminated           | self
B8  | connected to itself            | rest                                     | =                    | self
B9  | tuple busy                     | ReservedOutbound                         | Terminated           | wait
B9  | tuple busy                     | rest                                     | =                    | wait
B10 | core | N: no accepted connection comes within 1 s
B11 | core | N: connect takes longer than its limit

C1  | out uni                        | Unnegotiated(any)                        | OutboundUni          | connected
C2  | out duplex                     | Unnegotiated(any)                        | OutboundDup(Ticking) | connected
C3  | out uni, out duplex            | InboundIdle(Uni)                         | OutboundUni          | connected
C4  | out uni, out duplex            | InboundIdle(Duplex)                      | OutboundDup(Ticking) | connected
C5  | out uni, out duplex            | Terminated                               | =                    | disconnected
C6  | out uni, out duplex            | rest                                     | =                    | forbidden operation
C7  | out refused                    | rest                                     | Terminated           | disconnected
C8  | out violation                  | rest                                     | Terminated           | disconnected
C9  | out query                      | rest                                     | Terminated           | disconnected
C10 | out refused, out violation, out query | Terminated                        | =                    | disconnected
C11 | core | one half of a record with two sockets has failed

D1  | looks again                    | UnnegotiatedInbound                      | =                    | wait
D2  | looks again                    | InboundIdle(Duplex)                      | OutboundDup(Ticking) | connected
D3  | looks again                    | Inbound(Duplex)                          | Duplex               | connected
D4  | looks again                    | InboundIdle(Uni), Inbound(Uni)           | =                    | forbidden connection
D5  | looks again                    | ReservedOutbound                         | =                    | impossible
D6  | looks again                    | UnnegotiatedOutbound, OutboundUni, OutboundDup(any), Duplex | = | exists
D7  | looks again                    | OutboundIdle(any)                        | =                    | forbidden operation
D8  | looks again                    | Terminating, Terminated                  | =                    | disconnected

E2  | accepted                       | Unknown                                  | UnnegotiatedInbound  | proceed
E3  | accepted                       | ReservedOutbound                         | UnnegotiatedInbound  | proceed
E4  | accepted                       | Unnegotiated(any)                        | UnnegotiatedInbound  | proceed
E5  | accepted                       | Terminating, Terminated                  | =                    | proceed
E6  | accepted                       | rest                                     | UnnegotiatedInbound  | proceed

F1  | in uni                         | Unnegotiated(any)                        | InboundIdle(Uni)     | connected
F1  | in duplex                      | Unnegotiated(any)                        | InboundIdle(Duplex)  | connected
F2  | in uni, in duplex              | OutboundUni, OutboundDup(any)            | =                    | connected
F3  | in uni, in duplex              | OutboundIdle(Uni)                        | InboundIdle(Uni)     | connected
F3  | in uni, in duplex              | OutboundIdle(Duplex)                     | InboundIdle(Duplex)  | connected
F4  | in uni, in duplex              | ReservedOutbound, InboundIdle(any), Inbound(any), Duplex | =    | impossible
F5  | in uni, in duplex              | Terminating, Terminated                  | =                    | disconnected
F6  | in refused                     | rest                                     | Terminated           | disconnected
F7  | in violation                   | rest                                     | Terminated           | disconnected
F8  | in query                       | rest                                     | Terminated           | disconnected
F9  | over the limit                 | Unnegotiated(any), OutboundIdle(any)     | Terminated           | disconnected
F10 | in refused, in violation, in query | Terminated                           | =                    | disconnected
F11 | core | one half of a record with two sockets has failed

G1  | remote awakes                  | Unknown                                  | =                    | unsupported
G2  | remote awakes                  | ReservedOutbound, Unnegotiated(any), OutboundUni | =            | unsupported
G3  | remote awakes                  | OutboundDup(any)                         | Duplex               | ok
G4  | remote awakes                  | OutboundIdle(Duplex)                     | Inbound(Duplex)      | ok
G5  | remote awakes                  | OutboundIdle(Uni)                        | =                    | unsupported
G6  | remote awakes                  | InboundIdle(Uni)                         | Inbound(Uni)         | ok
G6  | remote awakes                  | InboundIdle(Duplex)                      | Inbound(Duplex)      | ok
G7  | remote awakes                  | Inbound(any)                             | =                    | ok
G8  | remote awakes                  | Duplex                                   | =                    | ok
G9  | remote awakes                  | Terminating, Terminated                  | =                    | unsupported

H1  | remote idle                    | Unknown                                  | =                    | unsupported
H2  | remote idle                    | ReservedOutbound, Unnegotiated(any), OutboundUni | =            | unsupported
H3  | remote idle                    | OutboundDup(any), OutboundIdle(any), InboundIdle(any) | =       | ok
H4  | remote idle                    | Inbound(Uni)                             | InboundIdle(Uni)     | ok
H4  | remote idle                    | Inbound(Duplex)                          | InboundIdle(Duplex)  | ok
H5  | remote idle                    | Duplex                                   | OutboundDup(Ticking) | ok
H6  | remote idle                    | Terminating, Terminated                  | =                    | terminated

I1  | remote idle timer              | Unknown                                  | =                    | commit
I2  | remote idle timer              | ReservedOutbound, Unnegotiated(any), OutboundUni | =            | unsupported
I3  | remote idle timer              | OutboundDup(Ticking)                     | OutboundDup(Expired) | keep
I4  | remote idle timer              | OutboundDup(Expired)                     | =                    | keep
I5  | remote idle timer              | OutboundIdle(any)                        | =                    | commit
I6  | remote idle timer              | InboundIdle(any)                         | Terminating          | commit
I7  | remote idle timer              | Inbound(any)                             | Terminating          | unsupported
I8  | remote idle timer              | Duplex                                   | OutboundDup(Ticking) | unsupported
I9  | remote idle timer              | Terminating                              | =                    | commit
I10 | remote idle timer              | Terminated                               | =                    | unsupported

J1  | release                        | Unknown                                  | =                    | ok
J2  | release                        | ReservedOutbound, Unnegotiated(any)      | =                    | unsupported
J3  | release                        | OutboundUni                              | OutboundIdle(Uni)    | wait
J4  | release                        | OutboundDup(Expired)                     | OutboundIdle(Duplex) | wait
J5  | release                        | OutboundDup(Ticking)                     | InboundIdle(Duplex)  | ok
J6  | release                        | OutboundIdle(any)                        | =                    | ok
J7  | release                        | InboundIdle(any)                         | =                    | ok
J8  | release                        | Inbound(any)                             | =                    | unsupported
J9  | release                        | Duplex                                   | Inbound(Duplex)      | ok
J10 | release                        | Terminating, Terminated                  | =                    | ok

K1  | outbound idle timer            | OutboundIdle(any)                        | Terminating          | ok
K2  | core | a release waits, and OutboundIdle is left for Terminating or Terminated
K3  | core | a release waits, and OutboundIdle is left otherwise
K4  | outbound idle timer            | rest                                     | =                    | none

L1  | ended                          | Terminating                              | =                    | none
L1b | TIME_WAIT over                 | Terminating                              | Terminated           | none
L2  | ended                          | Terminated                               | =                    | none
L3  | ended                          | rest                                     | Terminated           | none
L4  | TIME_WAIT over                 | rest                                     | =                    | none

M1  | shutdown                       | ReservedOutbound, Terminating            | Terminated           | none
M1  | shutdown                       | rest                                     | =                    | none
P1  | pruned                         | OutboundUni, OutboundDup(any), OutboundIdle(any), InboundIdle(any), Inbound(any), Duplex | Terminated | none

A11: blocks until the entry has gone | replaced: answers at once, with a retry-after
B1: the entry stays Reserved when there is no socket | replaced: it is released like on every other exit
C7, F6: Terminating when refused | replaced: Terminated
E1: over the hard limit | replaced: F9, when the handshake succeeds; before, the limiter of §4.4
J5: a survivor of pruning stays where it was | replaced: it moves to InboundIdle(Duplex)
L1: TIME_WAIT is a sleeping thread | replaced: a timer, L1b
`

var tableEvents = map[string]input{
	"acquire": inAcquire, "acquire only inbound": inAcquireReuse,
	"no socket": inSocketFailed, "connect failed": inConnectFailed, "tuple busy": inTupleBusy, "connected to itself": inSelf, "connected": inConnected,
	"out uni": inOutUni, "out duplex": inOutDup, "out refused": inOutRefused, "out violation": inOutViolation, "out query": inOutQuery,
	"looks again": inWaited, "accepted": inAccepted,
	"in uni": inInUni, "in duplex": inInDup, "in refused": inInRefused, "in violation": inInViolation, "in query": inInQuery, "over the limit": inInOverLimit,
	"remote awakes": inRemoteAwake, "remote idle": inRemoteIdle, "remote idle timer": inIdleExpired, "release": inRelease,
	"outbound idle timer": inOutIdleExpired, "ended": inEnded, "TIME_WAIT over": inTimeWaitOver, "shutdown": inShutdown, "pruned": inPruned,
}

var tableAnswers = map[string]result{
	"none": resNone, "ok": resOK, "proceed": resProceed, "wait": resWait, "connected": resConnected, "disconnected": resDisconnected,
	"unsupported": resUnsupported, "terminated": resTerminated, "commit": resCommit, "keep": resKeep, "exists": resExists,
	"forbidden connection": resForbiddenConnection, "forbidden operation": resForbiddenOperation, "not found": resInboundNotFound,
	"impossible": resImpossible, "terminating": resTerminating, "self": resSelf,
}

// tableRow is one line of tableText.
type tableRow struct {
	name   string
	core   string // when the core takes it
	events []input
	states []State // nil: the rest
	to     State
	answer result
}

func parseTable(t *testing.T) []tableRow {
	t.Helper()
	var rows []tableRow
	for line := range strings.Lines(tableText) {
		cells := strings.Split(line, "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) < 3 {
			continue // empty, or about what is replaced
		}
		r := tableRow{name: cells[0]}
		if cells[1] == "core" {
			r.core = cells[2]
			rows = append(rows, r)
			continue
		}
		require.Len(t, cells, 5, line)
		for _, e := range strings.Split(cells[1], ", ") {
			in, ok := tableEvents[e]
			require.True(t, ok, e)
			r.events = append(r.events, in)
		}
		if cells[2] != "rest" {
			for _, s := range strings.Split(cells[2], ", ") {
				r.states = append(r.states, statesNamed(t, s)...)
			}
		}
		r.to = same
		if cells[3] != "=" {
			r.to = statesNamed(t, cells[3])[0]
		}
		var ok bool
		r.answer, ok = tableAnswers[cells[4]]
		require.True(t, ok, cells[4])
		rows = append(rows, r)
	}
	return rows
}

// statesNamed finds a state; "X(any)" means all whose names begin with X( or, for Unnegotiated, with X.
func statesNamed(t *testing.T, name string) []State {
	t.Helper()
	var found []State
	for s := range numStates {
		prefix, group := strings.CutSuffix(name, "(any)")
		if s.String() == name || group && (strings.HasPrefix(s.String(), prefix+"(") || prefix == "Unnegotiated" && strings.HasPrefix(s.String(), prefix)) {
			found = append(found, s)
		}
	}
	require.NotEmpty(t, found, name)
	return found
}

// allRows are the names of the rows of connmgr §1.4 as amended.
func allRows(t *testing.T) []string {
	var names []string
	for _, r := range parseTable(t) {
		names = append(names, r.name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// The transition function answers every event in every state as the table says, and no event has two rows in one state.
func TestEveryRowOfTheTable(t *testing.T) {
	rows := parseTable(t)
	said := map[State]map[input]bool{}
	for s := range numStates {
		said[s] = map[input]bool{}
	}
	for _, r := range rows {
		for _, in := range r.events {
			for _, s := range r.states {
				require.False(t, said[s][in], "%s: %v has two rows", r.name, s)
				said[s][in] = true
			}
		}
	}
	for _, r := range rows {
		if r.core != "" {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			for _, in := range r.events {
				from := r.states
				if from == nil {
					for s := StateReservedOutbound; s < numStates; s++ {
						if !said[s][in] {
							from = append(from, s)
						}
					}
				}
				for _, s := range from {
					to, rule := next(s, in)
					want := r.to
					if want == same {
						want = s
					}
					require.NotNil(t, rule, "%v", s)
					require.Equal(t, r.name, rule.row, "%v", s)
					require.Equal(t, want, to, "%v", s)
					require.Equal(t, r.answer, rule.res, "%v", s)
				}
			}
		})
	}
	// What state.go knows beyond the table is what the core raises itself.
	named := allRows(t)
	for _, r := range rules {
		require.Contains(t, named, r.row)
	}
}
