package artifact

import (
	"math/rand/v2"
	"time"
)

// EffectKind says what a Core asks of its shell.
type EffectKind uint8

// Effects. The shell performs them after the step, holding no lock.
const (
	EffectWake   EffectKind = iota // Stream of Peer has something to send: call Next
	EffectClose                    // close all bearers of Peer because of Err; nil: an orderly end
	EffectBearer                   // close bulk bearer Index of Peer
	EffectJudge                    // tell the Judge: Score, Ban, Err
	EffectWork                     // artifacts of Kind wait for their verdict: call Take
	EffectDial                     // dial bulk bearer Index of Peer, then DialJoin
	EffectSink                     // open the sink of ID with Size; SinkOpened answers
	EffectWrite                    // write Data at Offset into the sink of ID; Written answers. Data is the shell's to keep
	EffectDrop                     // ID was abandoned: its sink, and its place in the unvalidated section, are not needed any more
	EffectHeader                   // ask the kind's Header about Data (the first chunk) and Attr; Header answers
	EffectMatch                    // ask the kind's Match about parked offers of Peer; the closure is in Match
	EffectSynced                   // Peer's table has been shown once
)

// Effect is one of them; only the fields named there are set.
type Effect struct {
	What   EffectKind
	Stream Stream
	Index  int
	Kind   uint32
	Peer   PeerID
	p      *peer
	ID     ID
	Err    error
	Score  int
	Ban    time.Duration
	Size   int64
	Offset int64
	Data   []byte
	Attr   []byte
	parked []parkedSlot
}

// env is what the parts of a core share.
type env struct {
	cfg    Config
	kinds  kindTable
	rnd    *rand.Rand
	now    time.Duration
	timers timers
	fx     []Effect
	scores *Scores
	peers  []*peer // connected, in order of attachment
	stat   Counters
	buf    []byte // where the message that is being made goes
}

// wake asks for Next on a stream; once until it is called.
func (e *env) wake(p *peer, s Stream) {
	if p.wake>>s&1 != 0 || p.gone {
		return
	}
	p.wake |= 1 << s
	e.fx = append(e.fx, Effect{What: EffectWake, Peer: p.ID, p: p, Stream: s})
}

// blame applies the misbehaviour table to a peer. It reports whether the peer is gone now.
func (e *env) blame(p *peer, m Misconduct, cause error) bool {
	if p.gone {
		return true
	}
	if m == Violation {
		e.stat.Violations++
	}
	s := e.scores.judge(p.Addr, p.ID, e.now, m)
	if s.score != 0 || s.ban != 0 {
		e.fx = append(e.fx, Effect{What: EffectJudge, Peer: p.ID, p: p, Score: s.score, Ban: s.ban, Err: cause})
	}
	if s.ban > 0 {
		e.fx = append(e.fx, Effect{What: EffectClose, Peer: p.ID, p: p, Err: cause})
		p.gone = true
	}
	return p.gone
}

// blameID is blame for a peer that may have left.
func (e *env) blameID(id PeerID, m Misconduct, cause error) {
	for _, p := range e.peers {
		if p.ID == id {
			e.blame(p, m, cause)
			return
		}
	}
}

// Counters is a snapshot of what a Core has counted since it was made.
type Counters struct {
	OffersReceived, PushesReceived uint64
	BodiesReceived                 uint64 // bodies that arrived whole, duplicates included
	DuplicateBodies                uint64
	BodyBytes, DuplicateBytes      uint64 // body bytes received; those of them not needed
	BodiesPushed, ChunksServed     uint64
	BytesServed                    uint64
	Requests, Timeouts, Hedges     uint64
	HedgeBytes                     uint64
	AbortedBytes                   uint64 // asked for and cancelled
	Verdicts                       [Invalid + 1]uint64
	Delivered                      [classes]uint64        // artifacts of peers that were validated
	DeliveryTime                   [classes]time.Duration // from the first offer of each of them to its verdict, in all
	NoRoom                         uint64
	Resumed, NotResumed            uint64
	Grafts, Prunes                 uint64
	Violations                     uint64
	OfferedAgain                   uint64 // offers of what a view had shown before
}
