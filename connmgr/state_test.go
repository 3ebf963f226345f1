package connmgr

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Every rule that changes the state is legal by the oracle, except where the table itself marks a misbehaviour.
func TestTableAgreesWithTheOracle(t *testing.T) {
	for _, r := range rules {
		for _, from := range r.from {
			to, _ := next(from, r.in)
			switch {
			case to == from || r.fx&fxAssert != 0:
			case r.row == "B8" || r.row == "B1" || r.row == "B2" || r.row == "B9":
				require.Equal(t, StateTerminated, to, r.row)
			default:
				require.True(t, LegalTransition(from, to), "%s: %v → %v", r.row, from, to)
			}
		}
	}
}

// The oracle is strict: what neither it nor the table knows is illegal.
func TestOracleForbidsWhatNoRuleDoes(t *testing.T) {
	possible := map[[2]State]bool{}
	for _, r := range rules {
		for _, from := range r.from {
			to, _ := next(from, r.in)
			possible[[2]State{from, to}] = true
		}
	}
	for from := range numStates {
		for to := range numStates {
			if from == to || to == StateUnknown || !LegalTransition(from, to) {
				continue
			}
			switch {
			case to == StateTerminated: // by any error
			case from == StateTerminated: // the record's successor
			case from == StateTerminating && to == StateUnnegotiatedInbound: // a new record with us
			case possible[[2]State{from, to}]:
			default:
				t.Errorf("the oracle allows %v → %v, which no rule makes", from, to)
			}
		}
	}
}

// Each input has a rule in every state in which it can arrive at all.
func TestTableIsTotal(t *testing.T) {
	// What the core raises itself, in the step in which it has looked at the state.
	impossible := map[input][]State{
		inAcquireReuse: nil,
		inInOverLimit:  except(anyUnnegotiated, anyOutboundIdle),
		inPruned:       states(beforeUse, anyEnd),
		inReplaced:     except(anyEnd),
	}
	for in := range numInputs {
	next:
		for s := StateReservedOutbound; s < numStates; s++ {
			for _, x := range impossible[in] {
				if x == s {
					require.Nil(t, ruleOf[s][in], "input %d in %v", in, s)
					continue next
				}
			}
			require.NotNil(t, ruleOf[s][in], "input %d in %v", in, s)
		}
	}
	for _, in := range []input{inAcquire, inAcquireReuse, inAccepted, inRemoteAwake, inRemoteIdle, inIdleExpired, inRelease} {
		require.NotNil(t, ruleOf[StateUnknown][in], "input %d without an entry", in)
	}
}

// The table of connmgr §1.8, written out.
func TestCounting(t *testing.T) {
	for s, want := range map[State]string{
		StateReservedOutbound:     "r",
		StateUnnegotiatedInbound:  "u",
		StateUnnegotiatedOutbound: "o",
		StateOutboundUni:          "o1",
		StateOutboundDupTicking:   "o2",
		StateOutboundDupExpired:   "o2",
		StateOutboundIdleUni:      "o1",
		StateOutboundIdleDup:      "o2",
		StateInboundIdleUni:       "i1",
		StateInboundIdleDup:       "i2",
		StateInboundUni:           "i1",
		StateInboundDup:           "i2",
		StateDuplex:               "io2f",
		StateTerminating:          "t",
		StateTerminated:           "",
		StateUnknown:              "",
	} {
		var c Counters
		for _, x := range want {
			switch x {
			case 'r':
				c.Reserved++
			case 'u':
				c.UnnegotiatedInbound++
			case 'i':
				c.Inbound++
			case 'o':
				c.Outbound++
			case '1':
				c.Unidirectional++
			case '2':
				c.Duplex++
			case 'f':
				c.FullDuplex++
			case 't':
				c.Terminating++
			}
		}
		require.Equal(t, c, s.counts(), s)
		flow, ok := s.DataFlow()
		require.Equal(t, c.Duplex+c.Unidirectional == 1, ok, s)
		require.Equal(t, c.Duplex == 1, flow == Duplex, s)
	}
}
