package connmgr

// LegalTransition is the oracle of connmgr §1.5: whether a record may go from one state to another. It is written down
// independently of the transition table, so that each checks the other; tests of hosts may use it on a trace. A record's
// transitions also have to chain (each begins where the last one ended) and to end in [StateUnknown]. Beyond §1.5 it knows
// the transitions of self connections that only §1.4 C and F list.
func LegalTransition(from, to State) bool {
	switch {
	case to == StateUnknown:
		return from != StateUnknown
	case to == StateTerminated && from != StateTerminated && from != StateUnknown:
		return true
	}
	switch from {
	case StateUnknown, StateTerminated:
		return to == StateReservedOutbound || to == StateUnnegotiatedInbound
	case StateReservedOutbound:
		return to == StateUnnegotiatedOutbound || to == StateUnnegotiatedInbound
	case StateUnnegotiatedOutbound:
		switch to {
		case StateOutboundUni, StateOutboundDupTicking, StateInboundIdleUni, StateInboundIdleDup, StateUnnegotiatedInbound:
			return true
		}
	case StateUnnegotiatedInbound:
		switch to {
		case StateInboundIdleUni, StateInboundIdleDup, StateUnnegotiatedOutbound:
			return true
		case StateOutboundUni, StateOutboundDupTicking: // the outbound half of a self connection was faster
			return true
		}
	case StateOutboundUni:
		return to == StateOutboundIdleUni
	case StateOutboundDupTicking:
		switch to {
		case StateOutboundDupTicking, StateOutboundDupExpired, StateInboundIdleDup, StateDuplex:
			return true
		}
	case StateOutboundDupExpired:
		return to == StateOutboundDupExpired || to == StateOutboundIdleDup || to == StateDuplex
	case StateInboundIdleDup:
		switch to {
		case StateInboundIdleDup, StateOutboundDupTicking, StateInboundDup, StateTerminating:
			return true
		}
	case StateInboundDup:
		return to == StateDuplex || to == StateInboundIdleDup
	case StateDuplex:
		return to == StateOutboundDupTicking || to == StateInboundDup
	case StateInboundIdleUni:
		return to == StateInboundUni || to == StateTerminating || to == StateOutboundUni
	case StateInboundUni:
		return to == StateInboundIdleUni
	case StateOutboundIdleUni:
		switch to {
		case StateOutboundIdleUni, StateTerminating:
			return true
		case StateInboundIdleUni: // §1.4 F: the accepted half of a self connection came late
			return true
		}
	case StateOutboundIdleDup:
		switch to {
		case StateOutboundIdleDup, StateInboundDup, StateTerminating:
			return true
		case StateInboundIdleDup: // §1.4 F, as above
			return true
		}
	case StateTerminating:
		return to == StateUnnegotiatedInbound
	}
	return false
}
