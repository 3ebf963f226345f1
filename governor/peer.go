package governor

import (
	"net/netip"
	"time"
)

// Temperature of a peer, ordered (governor §1.1).
type Temperature uint8

// The temperatures. Cooling: its connection is being torn down; still counted as established, neither promoted nor demoted.
const (
	Cold Temperature = iota
	Cooling
	Warm
	Hot
)

// String returns "cold", "cooling", "warm" or "hot".
func (t Temperature) String() string { return [...]string{"cold", "cooling", "warm", "hot"}[t&3] }

// Source is where a peer comes from (governor §1.4).
type Source uint8

// The sources. The first five are root peers, which are disjoint; a peer that left the roots keeps how it came to be known.
const (
	SourceLocal Source = iota
	SourceBootstrap
	SourcePublic
	SourceLedger
	SourceBigLedger
	SourceShared   // told by another peer
	SourceInbound  // light peer sharing
	SourceRestored // peer store
	SourceFormer   // a former local root
	sourceCount    = iota
)

// String returns the source as traces have it, such as "big-ledger" or "former-local".
func (s Source) String() string {
	return [...]string{"local", "bootstrap", "public", "ledger", "big-ledger", "shared", "inbound", "restored", "former-local"}[s]
}

// class is the root set a peer is in. Root sets are disjoint, so that a peer has one class (governor §1.4).
type class uint8

const (
	classLocal class = iota
	classBootstrap
	classPublic
	classLedger
	classBig
	classPlain // not a root
	classes
)

// kind is how the rules tell peers apart: big ledger peers have targets of their own, local roots have valencies.
type kind uint8

const (
	kindOther kind = iota
	kindLocal
	kindBig
	kindOrdinary // other and local together, for counting only: what Known, Established and Active count
	kinds
)

var kindOf = [classes]kind{classLocal: kindLocal, classBig: kindBig}

// classesOf lists the classes of a kind.
var classesOf = [kindOrdinary][]class{
	kindOther: {classBootstrap, classPublic, classLedger, classPlain},
	kindLocal: {classLocal},
	kindBig:   {classBig},
}

// place is the one thing that is happening with a peer: the temperature, split by what has been ordered. A peer is in exactly
// one place, so the in-progress sets of governor §1.2 are places and every set the rules speak of is a union of a few.
type place uint8

const (
	coldReady    place = iota // available to connect
	coldWait                  // until its next-connect time
	connecting                // in progress: promote cold
	warmReady                 // available to activate
	warmWait                  // until its next-activate time
	activating                // in progress: promote warm
	closing                   // in progress: demote warm; established until the connection is really gone
	hot                       //
	deactivating              // in progress: demote hot
	cooling                   // went cooling without being told
	places
	nowhere = places // before it is known and after
)

func (p place) String() string {
	return [...]string{"cold", "waiting to connect", "connecting", "warm", "waiting to activate", "activating", "closing", "hot",
		"deactivating", "cooling"}[p]
}

func (p place) established() bool { return p >= warmReady && p < places }
func (p place) active() bool      { return p == hot || p == deactivating }

func (p place) temperature() Temperature {
	switch {
	case p.active():
		return Hot
	case p == cooling:
		return Cooling
	case p.established():
		return Warm
	}
	return Cold
}

// passage is what changes when a peer goes from one place to another.
type passage struct {
	tally
	live     int // connections that work
	same     bool
	concerns [kindOrdinary]ruleSet // the rules that look at it, by the kind of the peer
}

var passages = func() (ps [places + 1][places + 1]passage) {
	for from := range nowhere + 1 {
		for to := range nowhere + 1 {
			ps[from][to] = passageOf(from, to)
		}
	}
	return ps
}()

func passageOf(from, to place) (ps passage) {
	for i, p := range [...]place{from, to} {
		d := 2*i - 1
		if p == nowhere {
			continue
		}
		ps.known += d
		if p.established() {
			ps.established += d
		}
		if p.active() {
			ps.active += d
		}
		if p.established() && p != cooling {
			ps.live += d
		}
	}
	ps.same = ps.tally == tally{} && ps.live == 0
	for k := range ps.concerns {
		changed := in(kind(k), from, to)
		if ps.known != 0 {
			changed |= knownOf(kind(k))
		}
		if ps.established != 0 {
			changed |= establishedOf(kind(k))
		}
		if ps.active != 0 {
			changed |= activeOf(kind(k))
		}
		ps.concerns[k] = lookers(changed)
	}
	return ps
}

// answer is unknown, yes or no.
type answer uint8

const (
	unknown answer = iota
	yes
	no
)

func answerOf(b bool) answer {
	if b {
		return yes
	}
	return no
}

type flags uint16

const (
	tepid         flags = 1 << iota // demoted from hot since it was last connected
	everConnected                   // a connection to or from it has worked
	condemned                       // to be forgotten as soon as it is cold: proven misbehaviour
	sawUp                           // Watch reported the state that the running order leads to
	pausing                         // an order failed; a timer decides what becomes of the peer
	unblamed                        // would have been forgotten; the next sign of life decides (outage.go)
	shown                           // shown to the policy in the pick that is under way
	private                         // its address is: see outage.go
	backedOff                       // it waits because an order to connect to it failed, and nobody has lifted that yet (async.go)
)

// peer is all there is to know about one peer: 96 bytes, and 40 in the index and the place it is in.
type peer struct {
	addr  netip.AddrPort
	since time.Duration // of the present temperature
	last  inputs        // the decision that last touched it

	rtt    uint32 // microseconds, 0 unknown
	job    uint32 // number of the running order
	id     uint32
	teller uint32 // who told us, index into Core.tellers; 0 nobody
	fails  uint16
	score  int16 // reports of the application: good minus bad
	group  int16 // local root group, −1 none
	flags  flags

	class     class
	place     place
	seen      Temperature // last reported by Watch
	advertise answer
	sharing   answer // the remote's willingness to share peers
	source    Source
}

// inputs of the decision that last touched a peer, for Explain.
type inputs struct {
	at                         time.Duration
	target, actual, candidates int32
	decision                   Decision
}

func (p *peer) has(f flags) bool { return p.flags&f != 0 }
func (p *peer) set(f flags)      { p.flags |= f }
func (p *peer) clear(f flags)    { p.flags &^= f }
func (p *peer) kind() kind       { return kindOf[p.class] }

// scope is scopeOf its address.
func (p *peer) scope() int {
	if p.has(private) {
		return 1
	}
	return 0
}

// protected peers are never forgotten for failures (governor §3.5).
func (p *peer) protected() bool {
	return p.class == classLocal || p.class == classBootstrap || p.class == classPublic
}

// shareable is what peer sharing may tell others (governor §3.7).
func (p *peer) shareable() bool {
	return p.advertise == yes && p.has(everConnected) && p.fails == 0 && !p.has(condemned)
}
