package connmgr

var modelConfigs = []modelConfig{
	{name: "plain", depth: 9, hard: 9, acquires: 2, links: 2},
	{name: "faults", depth: 8, hard: 9, acquires: 1, links: 2, faults: true, refusals: true},
	{name: "half-open", depth: 10, hard: 9, acquires: 2, links: 2, lostResets: true, single: true, faults: true},
	{name: "ephemeral", depth: 8, hard: 9, acquires: 1, links: 2, ephemeral: true, reuse: true},
	{name: "limit", depth: 7, hard: 1, acquires: 2, links: 3, ephemeral: true},
	{name: "no room", depth: 8, hard: 0, acquires: 1, links: 2, ephemeral: true},
	{name: "unidirectional", depth: 10, hard: 9, acquires: 1, links: 2, uni: true},
	{name: "impatient", depth: 8, hard: 9, acquires: 2, links: 1, impatient: true},
	{name: "shutdown", depth: 8, hard: 9, acquires: 1, links: 1, shutdown: true, faults: true},
	{name: "itself", depth: 7, hard: 9, acquires: 2, links: 1, single: true, self: true},
	// A 4-tuple that is free although its owner has not noticed, and a goroutine that has not reported its connection yet.
	{name: "hairpin", depth: 14, hard: 9, acquires: 1, links: 2, single: true, hairpin: true, lateDials: true, uni: true, free: true},
	{name: "forgotten", depth: 9, hard: 9, acquires: 1, links: 2, forgets: true, lateDials: true, uni: true, free: true, faults: true},
	{name: "half forgotten", depth: 6, hard: 9, acquires: 1, links: 2, forgets: true, uni: true, faults: true, free: true, prefix: halfForgotten(Unidirectional)},
	{name: "half forgotten, duplex", depth: 6, hard: 9, acquires: 1, links: 2, forgets: true, uni: true, faults: true, free: true, prefix: halfForgotten(Duplex)},
	{name: "half forgotten, late answers", depth: 5, hard: 9, acquires: 1, links: 2, forgets: true, uni: true, faults: true, impatient: true,
		prefix: halfForgotten(Unidirectional), late: []input{inWaited}},
	{name: "several", depth: 7, hard: 9, acquires: 1, links: 2, ephemeral: true, impatient: true},
	{name: "wildcard", depth: 8, hard: 9, acquires: 1, links: 2, forgets: true, wildcard: true, faults: true},
	{name: "crossing", depth: 8, hard: 9, acquires: 1, links: 2, crossing: true, refusals: true, forgets: true, faults: true},
	{name: "late governor", depth: 12, hard: 9, acquires: 1, links: 1, free: true, single: true, late: []input{inRemoteAwake, inRemoteIdle, inIdleExpired},
		prefix: []string{"0 acquires", "0 connects", "1 accepts 0"}},
	{name: "late governor at the limit", depth: 9, hard: 0, acquires: 1, links: 1, free: true, late: []input{inRemoteAwake, inRemoteIdle, inIdleExpired}},
	{name: "late timers", depth: 14, hard: 9, acquires: 1, links: 1, free: true, single: true, late: []input{inOutIdleExpired, inTimeWaitOver}},
	{name: "late answers", depth: 8, hard: 9, acquires: 1, links: 2, impatient: true, forgets: true, faults: true, late: []input{inWaited}},
}

// halfForgotten leads to a record with two sockets: the dialled one has broken, which its owner has not noticed, with the other end's
// answer still to be read; the accepted one has taken the free 4-tuple.
func halfForgotten(flow DataFlow) []string {
	return []string{
		"0 acquires", "0 connects", "1 accepts 0", "1 handshake on 0: 0 " + flow.String(), "0 breaks", "1 notices the end of 0",
		"1 acquires", "1 connects", "0 accepts 1",
	}
}

var inputNames = map[input]string{
	inWaited: "a change", inRemoteAwake: "a first responder", inRemoteIdle: "no responder", inIdleExpired: "the remote idle timer",
	inOutIdleExpired: "the outbound idle timer", inTimeWaitOver: "the end of TIME_WAIT",
}
