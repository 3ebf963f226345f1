package connmgr

import "fmt"

// State is the state of one connection's record (connmgr §1.2). Data flow, provenance and the timeout flag are part of it, so
// that a state is one comparable word.
type State uint8

// The states. Ticking and Expired tell whether the idle timer of the remote side is still running.
const (
	StateUnknown              State = iota // not tracked; only in traces
	StateReservedOutbound                  // the slot is taken, connect has not finished
	StateUnnegotiatedOutbound              // we dialled, handshake in progress
	StateUnnegotiatedInbound               // we accepted, handshake in progress
	StateOutboundUni                       // unidirectional, used by us
	StateOutboundDupTicking                // duplex, used by us; the remote's idle timer runs
	StateOutboundDupExpired                // duplex, used by us; the remote is known not to use it
	StateInboundIdleUni                    // unidirectional, the remote's to use, nobody does
	StateInboundIdleDup                    // duplex, nobody uses it
	StateInboundUni                        // unidirectional, used by the remote
	StateInboundDup                        // duplex, used by the remote
	StateDuplex                            // duplex, used by both
	StateOutboundIdleUni                   // we stopped using it and are about to close
	StateOutboundIdleDup                   // the same, duplex
	StateTerminating                       // closing in order, or TIME_WAIT
	StateTerminated                        // finished
	numStates
)

var stateNames = [numStates]string{
	"Unknown", "ReservedOutbound", "UnnegotiatedOutbound", "UnnegotiatedInbound", "OutboundUni", "OutboundDup(Ticking)",
	"OutboundDup(Expired)", "InboundIdle(Uni)", "InboundIdle(Duplex)", "Inbound(Uni)", "Inbound(Duplex)", "Duplex",
	"OutboundIdle(Uni)", "OutboundIdle(Duplex)", "Terminating", "Terminated",
}

// String returns the name of connmgr §1.2, such as "OutboundDup(Ticking)" or "InboundIdle(Duplex)".
func (s State) String() string {
	if s < numStates {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// DataFlow says in which directions a negotiated connection may be used; the handshake fixes it for the connection's life.
type DataFlow uint8

// The data flows.
const (
	Unidirectional DataFlow = iota
	Duplex
)

// String returns "unidirectional" or "duplex".
func (d DataFlow) String() string {
	if d == Duplex {
		return "duplex"
	}
	return "unidirectional"
}

// DataFlow returns the flow of a negotiated state; ok is false for the others.
func (s State) DataFlow() (flow DataFlow, ok bool) {
	c := s.counts()
	return DataFlow(c.Duplex), c.Duplex+c.Unidirectional > 0
}

// Counters of a connection manager (connmgr §1.8). Inbound is what the soft and hard limits are compared with; an
// un-negotiated inbound connection is not part of it, it has a budget of its own (§4.4).
type Counters struct {
	Inbound, Outbound, Duplex, FullDuplex, Unidirectional, Terminating int
	// UnnegotiatedInbound and Reserved are not in the reference's list.
	UnnegotiatedInbound, Reserved int
}

// counts returns what one record in state s adds.
func (s State) counts() Counters {
	switch s {
	case StateReservedOutbound:
		return Counters{Reserved: 1}
	case StateUnnegotiatedInbound:
		return Counters{UnnegotiatedInbound: 1}
	case StateUnnegotiatedOutbound:
		return Counters{Outbound: 1}
	case StateOutboundUni, StateOutboundIdleUni:
		return Counters{Outbound: 1, Unidirectional: 1}
	case StateOutboundDupTicking, StateOutboundDupExpired, StateOutboundIdleDup:
		return Counters{Outbound: 1, Duplex: 1}
	case StateInboundIdleUni, StateInboundUni:
		return Counters{Inbound: 1, Unidirectional: 1}
	case StateInboundIdleDup, StateInboundDup:
		return Counters{Inbound: 1, Duplex: 1}
	case StateDuplex:
		return Counters{Inbound: 1, Outbound: 1, Duplex: 1, FullDuplex: 1}
	case StateTerminating:
		return Counters{Terminating: 1}
	}
	return Counters{}
}

func (c *Counters) add(d Counters, sign int) {
	c.Inbound += sign * d.Inbound
	c.Outbound += sign * d.Outbound
	c.Duplex += sign * d.Duplex
	c.FullDuplex += sign * d.FullDuplex
	c.Unidirectional += sign * d.Unidirectional
	c.Terminating += sign * d.Terminating
	c.UnnegotiatedInbound += sign * d.UnnegotiatedInbound
	c.Reserved += sign * d.Reserved
}

// input is the alphabet of a record's state machine; each belongs to one lettered table of connmgr §1.4.
type input uint8

const (
	inAcquire        input = iota // A, provenance Outbound: dial if need be
	inAcquireReuse                // A, provenance Inbound: never dial
	inSocketFailed                // B: no socket could be created
	inConnectFailed               // B
	inTupleBusy                   // B: EADDRNOTAVAIL or EADDRINUSE from connect
	inSelf                        // B: connected to itself
	inConnected                   // B: connected, the connection's goroutine starts
	inOutUni                      // C: outbound handshake succeeded, unidirectional
	inOutDup                      // C: …, duplex
	inOutRefused                  // C
	inOutViolation                // C: protocol violation, time limit, I/O error
	inOutQuery                    // C: the version query was answered
	inWaited                      // D: an acquire that waits looks again
	inAccepted                    // E
	inInUni                       // F: inbound handshake succeeded, unidirectional
	inInDup                       // F
	inInOverLimit                 // F: it would have succeeded, but the inbound limit is reached (§4.4)
	inInRefused                   // F
	inInViolation                 // F
	inInQuery                     // F
	inRemoteAwake                 // G: promoted to warm by the remote
	inRemoteIdle                  // H: demoted to cold by the remote
	inIdleExpired                 // I: release inbound
	inRelease                     // J: release outbound
	inOutIdleExpired              // K
	inEnded                       // L: the connection's goroutine ended, its socket is closed
	inTimeWaitOver                // L
	inPruned                      // §3
	inReplaced                    // E: a fresh socket took over the 4-tuple of a terminating record
	inShutdown                    // M
	numInputs
)

// result is what a call is answered with.
type result uint8

const (
	resNone         result = iota
	resOK                  // done
	resProceed             // carry on: dial, run the handshake
	resWait                // the answer comes when the state has changed
	resConnected           // here is the connection
	resDisconnected        // the connection is gone
	resUnsupported         // not in this state
	resTerminated          // the connection has terminated already
	resCommit              // it will go away
	resKeep                // we still use it
	resExists
	resForbiddenConnection
	resForbiddenOperation
	resInboundNotFound
	resImpossible
	resTerminating // retry later
	resSelf
)

// fx are side effects of a rule, besides the change of state.
type fx uint16

const (
	fxNewRecord    fx = 1 << iota // the state belongs to a new record
	fxAnnounce                    // tell the inbound governor, with provenance Inbound or Outbound as the state says
	fxAnnounceOut                 // the same if we run responders
	fxPrune                       // the transition makes the connection count as inbound: over the limit, prune (§3)
	fxForget                      // the entry leaves the map at once
	fxCloseReset                  // close with a reset
	fxCloseRefused                // let the refusal out, wait for EOF ≤ 2 s, close (§1.9)
	fxCloseQuery                  // let the answer out, wait for EOF ≤ 20 s, close
	fxCloseOrderly                // drain ≤ 2 s, close with a reset, TIME_WAIT
	fxCloseStale                  // the record's older socket must be dead: close it
	fxAssert                      // cannot happen unless somebody misbehaves; traced
)

// same keeps the state.
const same State = 255

// rule is one line of the transition table.
type rule struct {
	row  string // table and line of connmgr §1.4
	in   input
	from []State
	to   State
	name string // of the design document
	res  result
	fx   fx
}

var (
	anyUnnegotiated = []State{StateUnnegotiatedOutbound, StateUnnegotiatedInbound}
	anyOutboundDup  = []State{StateOutboundDupTicking, StateOutboundDupExpired}
	anyOutboundIdle = []State{StateOutboundIdleUni, StateOutboundIdleDup}
	anyInboundIdle  = []State{StateInboundIdleUni, StateInboundIdleDup}
	anyInbound      = []State{StateInboundUni, StateInboundDup}
	anyEnd          = []State{StateTerminating, StateTerminated}
	beforeUse       = []State{StateReservedOutbound, StateUnnegotiatedOutbound, StateUnnegotiatedInbound}
)

func states(lists ...any) []State {
	var all []State
	for _, l := range lists {
		switch l := l.(type) {
		case State:
			all = append(all, l)
		case []State:
			all = append(all, l...)
		}
	}
	return all
}

// except returns every tracked state that is not listed.
func except(lists ...any) []State {
	out := states(lists...)
	var rest []State
next:
	for s := StateReservedOutbound; s < numStates; s++ {
		for _, o := range out {
			if s == o {
				continue next
			}
		}
		rest = append(rest, s)
	}
	return rest
}

// rules is the transition table of connmgr §1.4 with the amendments of its part N. Every event that comes from outside, from the inbound
// governor or from a timer has an answer in every state; inInOverLimit, inPruned and inReplaced are raised by the core only where
// they have a rule.
var rules = []rule{
	// A. acquire. When a remote has several records the core chooses among them first (A12), and answers for its own addresses (A13).
	{"A1", inAcquire, states(StateUnknown), StateReservedOutbound, "Reserve", resProceed, fxNewRecord},
	{"A2", inAcquireReuse, states(StateUnknown), same, "", resInboundNotFound, 0},
	{"A3", inAcquire, states(StateReservedOutbound), same, "", resExists, 0},
	{"A4", inAcquire, states(StateUnnegotiatedOutbound), same, "", resExists, 0},
	{"A5", inAcquire, states(StateUnnegotiatedInbound), same, "", resWait, 0},
	{"A6", inAcquire, states(StateOutboundUni, anyOutboundDup, StateDuplex), same, "", resExists, 0},
	{"A7", inAcquire, anyOutboundIdle, same, "", resForbiddenOperation, 0},
	{"A8", inAcquire, states(StateInboundIdleUni, StateInboundUni), same, "", resForbiddenConnection, 0},
	{"A9", inAcquire, states(StateInboundIdleDup), StateOutboundDupTicking, "AwakeDuplexLocal", resConnected, 0},
	{"A10", inAcquire, states(StateInboundDup), StateDuplex, "PromotedToWarmDuplexLocal", resConnected, 0},
	{"A11", inAcquire, anyEnd, same, "", resTerminating, 0},

	// B. A new outbound connection. A record that was overwritten by an accepted socket (E3) survives its failed dial. The core
	// adds B3, the local address is another record's, B10, the accepted connection that B9 waits for does not come, and B11, connect
	// takes too long.
	{"B1", inSocketFailed, states(StateReservedOutbound), StateTerminated, "", resDisconnected, fxForget},
	{"B1", inSocketFailed, except(StateReservedOutbound), same, "", resDisconnected, 0},
	{"B2", inConnectFailed, states(StateReservedOutbound), StateTerminated, "", resDisconnected, fxForget},
	{"B2", inConnectFailed, except(StateReservedOutbound), same, "", resDisconnected, 0},
	{"B9", inTupleBusy, states(StateReservedOutbound), StateTerminated, "", resWait, fxForget},
	{"B9", inTupleBusy, except(StateReservedOutbound), same, "", resWait, 0},
	{"B8", inSelf, states(StateReservedOutbound), StateTerminated, "", resSelf, fxForget | fxCloseReset},
	{"B8", inSelf, except(StateReservedOutbound), same, "", resSelf, 0},
	{"B4", inConnected, states(StateReservedOutbound), StateUnnegotiatedOutbound, "Connected", resProceed, 0},
	{"B5", inConnected, states(StateUnnegotiatedInbound), StateUnnegotiatedOutbound, "SelfConn⁻¹", resProceed, 0},
	{"B6", inConnected, anyEnd, same, "", resDisconnected, 0},
	{"B7", inConnected, except(StateReservedOutbound, StateUnnegotiatedInbound, anyEnd), same, "", resProceed, 0},

	// C. Handshake result on the outbound side. C11 is the core's: one half of a connection with itself has failed, the other is there.
	{"C1", inOutUni, anyUnnegotiated, StateOutboundUni, "NegotiatedUniOutbound", resConnected, 0},
	{"C2", inOutDup, anyUnnegotiated, StateOutboundDupTicking, "NegotiatedDuplexOutbound", resConnected, fxAnnounceOut},
	{"C3", inOutUni, states(StateInboundIdleUni), StateOutboundUni, "SelfConn'⁻¹", resConnected, 0},
	{"C3", inOutDup, states(StateInboundIdleUni), StateOutboundUni, "SelfConn'⁻¹", resConnected, fxAssert},
	{"C4", inOutDup, states(StateInboundIdleDup), StateOutboundDupTicking, "SelfConn'⁻¹", resConnected, 0},
	{"C4", inOutUni, states(StateInboundIdleDup), StateOutboundDupTicking, "SelfConn'⁻¹", resConnected, fxAssert},
	{"C5", inOutUni, states(StateTerminated), same, "", resDisconnected, 0},
	{"C5", inOutDup, states(StateTerminated), same, "", resDisconnected, 0},
	{"C6", inOutUni, except(anyUnnegotiated, anyInboundIdle, StateTerminated), same, "", resForbiddenOperation, 0},
	{"C6", inOutDup, except(anyUnnegotiated, anyInboundIdle, StateTerminated), same, "", resForbiddenOperation, 0},
	{"C7", inOutRefused, except(StateTerminated), StateTerminated, "", resDisconnected, fxForget | fxCloseReset},
	{"C8", inOutViolation, except(StateTerminated), StateTerminated, "", resDisconnected, fxForget | fxCloseReset},
	{"C9", inOutQuery, except(StateTerminated), StateTerminated, "", resDisconnected, fxForget | fxCloseReset},
	{"C10", inOutRefused, states(StateTerminated), same, "", resDisconnected, 0},
	{"C10", inOutViolation, states(StateTerminated), same, "", resDisconnected, 0},
	{"C10", inOutQuery, states(StateTerminated), same, "", resDisconnected, 0},

	// D. An acquire that waited on Unnegotiated Inbound. It is woken in the step in which the record changes, so D5 and D7 cannot happen
	// in production; the model check wakes it late.
	{"D1", inWaited, states(StateUnnegotiatedInbound), same, "", resWait, 0},
	{"D2", inWaited, states(StateInboundIdleDup), StateOutboundDupTicking, "AwakeDuplexLocal", resConnected, 0},
	{"D3", inWaited, states(StateInboundDup), StateDuplex, "PromotedToWarmDuplexLocal", resConnected, 0},
	{"D4", inWaited, states(StateInboundIdleUni, StateInboundUni), same, "", resForbiddenConnection, 0},
	{"D5", inWaited, states(StateReservedOutbound), same, "", resImpossible, fxAssert},
	{"D6", inWaited, states(StateUnnegotiatedOutbound, StateOutboundUni, anyOutboundDup, StateDuplex), same, "", resExists, 0},
	{"D7", inWaited, anyOutboundIdle, same, "", resForbiddenOperation, 0},
	{"D8", inWaited, anyEnd, same, "", resDisconnected, 0},

	// E. Include inbound. The limit (E1) is tested when the handshake succeeds: F9.
	{"E2", inAccepted, states(StateUnknown), StateUnnegotiatedInbound, "Accepted", resProceed, fxNewRecord},
	{"E3", inAccepted, states(StateReservedOutbound), StateUnnegotiatedInbound, "Overwritten", resProceed, 0},
	{"E4", inAccepted, anyUnnegotiated, StateUnnegotiatedInbound, "SelfConn", resProceed, 0},
	{"E5", inAccepted, anyEnd, same, "", resProceed, fxNewRecord},
	{"E6", inAccepted, except(beforeUse, anyEnd), StateUnnegotiatedInbound, "", resProceed, fxCloseStale | fxAssert},

	// F. Handshake result on the inbound side. F11 is the core's, as C11.
	{"F1", inInUni, anyUnnegotiated, StateInboundIdleUni, "NegotiatedInbound", resConnected, fxAnnounce},
	{"F1", inInDup, anyUnnegotiated, StateInboundIdleDup, "NegotiatedInbound", resConnected, fxAnnounce},
	{"F2", inInUni, states(StateOutboundUni, anyOutboundDup), same, "", resConnected, fxAnnounce},
	{"F2", inInDup, states(StateOutboundUni, anyOutboundDup), same, "", resConnected, fxAnnounce},
	{"F3", inInUni, states(StateOutboundIdleUni), StateInboundIdleUni, "", resConnected, fxAnnounce},
	{"F3", inInDup, states(StateOutboundIdleUni), StateInboundIdleUni, "", resConnected, fxAnnounce | fxAssert},
	{"F3", inInUni, states(StateOutboundIdleDup), StateInboundIdleDup, "", resConnected, fxAnnounce | fxAssert},
	{"F3", inInDup, states(StateOutboundIdleDup), StateInboundIdleDup, "", resConnected, fxAnnounce},
	{"F4", inInUni, states(StateReservedOutbound, anyInboundIdle, anyInbound, StateDuplex), same, "", resImpossible, fxAssert},
	{"F4", inInDup, states(StateReservedOutbound, anyInboundIdle, anyInbound, StateDuplex), same, "", resImpossible, fxAssert},
	{"F5", inInUni, anyEnd, same, "", resDisconnected, 0},
	{"F5", inInDup, anyEnd, same, "", resDisconnected, 0},
	{"F6", inInRefused, except(StateTerminated), StateTerminated, "", resDisconnected, fxForget | fxCloseRefused},
	{"F7", inInViolation, except(StateTerminated), StateTerminated, "", resDisconnected, fxForget | fxCloseReset},
	{"F8", inInQuery, except(StateTerminated), StateTerminated, "", resDisconnected, fxForget | fxCloseQuery},
	{"F10", inInRefused, states(StateTerminated), same, "", resDisconnected, 0},
	{"F10", inInViolation, states(StateTerminated), same, "", resDisconnected, 0},
	{"F10", inInQuery, states(StateTerminated), same, "", resDisconnected, 0},
	{"F9", inInOverLimit, states(anyUnnegotiated, anyOutboundIdle), StateTerminated, "", resDisconnected, fxForget | fxCloseReset},

	// G. Promoted to warm by the remote. What responders and timers do reaches the record in the step in which it happens, so G7, G8, I1,
	// I4, I7 to I10, K4 and L4 cannot happen in production; the model check holds the notices back.
	{"G1", inRemoteAwake, states(StateUnknown), same, "", resUnsupported, 0},
	{"G2", inRemoteAwake, states(beforeUse, StateOutboundUni), same, "", resUnsupported, fxAssert},
	{"G3", inRemoteAwake, anyOutboundDup, StateDuplex, "PromotedToWarmDuplexRemote", resOK, fxPrune},
	{"G4", inRemoteAwake, states(StateOutboundIdleDup), StateInboundDup, "AwakeDuplexRemote", resOK, fxPrune},
	{"G5", inRemoteAwake, states(StateOutboundIdleUni), same, "", resUnsupported, 0},
	{"G6", inRemoteAwake, states(StateInboundIdleUni), StateInboundUni, "AwakeRemote", resOK, 0},
	{"G6", inRemoteAwake, states(StateInboundIdleDup), StateInboundDup, "AwakeRemote", resOK, 0},
	{"G7", inRemoteAwake, anyInbound, same, "", resOK, fxAssert},
	{"G8", inRemoteAwake, states(StateDuplex), same, "", resOK, 0},
	{"G9", inRemoteAwake, anyEnd, same, "", resUnsupported, 0},

	// H. Demoted to cold by the remote.
	{"H1", inRemoteIdle, states(StateUnknown), same, "", resUnsupported, 0},
	{"H2", inRemoteIdle, states(beforeUse, StateOutboundUni), same, "", resUnsupported, fxAssert},
	{"H3", inRemoteIdle, states(anyOutboundDup, anyOutboundIdle, anyInboundIdle), same, "", resOK, 0},
	{"H4", inRemoteIdle, states(StateInboundUni), StateInboundIdleUni, "DemotedToColdRemote", resOK, 0},
	{"H4", inRemoteIdle, states(StateInboundDup), StateInboundIdleDup, "DemotedToColdRemote", resOK, 0},
	{"H5", inRemoteIdle, states(StateDuplex), StateOutboundDupTicking, "DemotedToColdDuplexRemote", resOK, 0},
	{"H6", inRemoteIdle, anyEnd, same, "", resTerminated, 0},

	// I. Release inbound: the idle timer fired.
	{"I1", inIdleExpired, states(StateUnknown), same, "", resCommit, 0},
	{"I2", inIdleExpired, states(beforeUse, StateOutboundUni), same, "", resUnsupported, 0},
	{"I3", inIdleExpired, states(StateOutboundDupTicking), StateOutboundDupExpired, "TimeoutExpired", resKeep, 0},
	{"I4", inIdleExpired, states(StateOutboundDupExpired), same, "", resKeep, fxAssert},
	{"I5", inIdleExpired, anyOutboundIdle, same, "", resCommit, fxAssert},
	{"I6", inIdleExpired, anyInboundIdle, StateTerminating, "Commit", resCommit, fxCloseOrderly},
	{"I7", inIdleExpired, anyInbound, StateTerminating, "", resUnsupported, fxCloseOrderly | fxAssert},
	{"I8", inIdleExpired, states(StateDuplex), StateOutboundDupTicking, "", resUnsupported, fxAssert},
	{"I9", inIdleExpired, states(StateTerminating), same, "", resCommit, 0},
	{"I10", inIdleExpired, states(StateTerminated), same, "", resUnsupported, 0},

	// J. Release outbound.
	{"J1", inRelease, states(StateUnknown), same, "", resOK, 0},
	{"J2", inRelease, beforeUse, same, "", resUnsupported, 0},
	{"J3", inRelease, states(StateOutboundUni), StateOutboundIdleUni, "DemotedToColdUniLocal", resWait, 0},
	{"J4", inRelease, states(StateOutboundDupExpired), StateOutboundIdleDup, "DemotedToColdDuplexLocal", resWait, 0},
	{"J5", inRelease, states(StateOutboundDupTicking), StateInboundIdleDup, "DemotedToColdDuplexLocal", resOK, fxPrune},
	{"J6", inRelease, anyOutboundIdle, same, "", resOK, 0},
	{"J7", inRelease, anyInboundIdle, same, "", resOK, 0},
	{"J8", inRelease, states(StateInboundUni), same, "", resUnsupported, fxAssert},
	{"J8", inRelease, states(StateInboundDup), same, "", resUnsupported, 0},
	{"J9", inRelease, states(StateDuplex), StateInboundDup, "DemotedToColdDuplexLocal", resOK, 0},
	{"J10", inRelease, anyEnd, same, "", resOK, 0},

	// K. The outbound idle timer; K2 and K3 answer a release that waits when the state is left otherwise.
	{"K1", inOutIdleExpired, anyOutboundIdle, StateTerminating, "CommitLocal", resOK, fxCloseOrderly},
	{"K4", inOutIdleExpired, except(anyOutboundIdle), same, "", resNone, 0},

	// L. The connection has ended.
	{"L1", inEnded, states(StateTerminating), same, "", resNone, 0}, // TIME_WAIT begins: a timer, no goroutine, no descriptor
	{"L1b", inTimeWaitOver, states(StateTerminating), StateTerminated, "", resNone, fxForget | fxCloseReset},
	{"L4", inTimeWaitOver, except(StateTerminating), same, "", resNone, 0},
	{"L2", inEnded, states(StateTerminated), same, "", resNone, fxForget},
	{"L3", inEnded, except(anyEnd), StateTerminated, "", resNone, fxForget},

	// M and §3.
	{"M1", inShutdown, states(StateReservedOutbound), StateTerminated, "", resNone, fxForget},
	{"M1", inShutdown, except(anyEnd, StateReservedOutbound), same, "", resNone, fxCloseOrderly},
	{"M1", inShutdown, states(StateTerminating), StateTerminated, "", resNone, 0}, // ends TIME_WAIT; a socket still draining has ≤ 2 s
	{"M1", inShutdown, states(StateTerminated), same, "", resNone, 0},
	{"P1", inPruned, except(beforeUse, anyEnd), StateTerminated, "Pruned", resNone, fxCloseReset},
	{"E5", inReplaced, anyEnd, StateTerminated, "", resNone, fxForget | fxCloseReset},
}

var ruleOf = func() (table [numStates][numInputs]*rule) {
	for i := range rules {
		r := &rules[i]
		for _, s := range r.from {
			if table[s][r.in] != nil {
				panic("connmgr: rules " + r.row + " and " + table[s][r.in].row + " overlap")
			}
			table[s][r.in] = r
		}
	}
	// Whoever asks for reuse only differs where there is nothing to reuse.
	for s := range table {
		if table[s][inAcquireReuse] == nil {
			table[s][inAcquireReuse] = table[s][inAcquire]
		}
	}
	return table
}()

// next is the state machine of one connection: pure, O(1). The rule is nil where the table has none.
func next(s State, in input) (State, *rule) {
	r := ruleOf[s][in]
	if r == nil || r.to == same {
		return s, r
	}
	return r.to, r
}
