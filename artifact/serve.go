package artifact

import (
	"io"
	"slices"
	"time"
)

// provSession is our provider direction towards one consumer: the view, the credits it granted, and what it asked for.
type provSession struct {
	state     provState
	view      *View
	resumed   bool
	claimed   int // the consumer's own window: the most entries one requestNext may grant
	initNo    int // reason to send, -1 none
	requests  []msgRequestNext
	stopping  bool
	acks      int
	had       bool     // there has been an init
	waiting   *msgInit // not answered yet: the old session has not been ended by the consumer
	ends      [3]bool  // of the old session: fetchEnd of the urgent and the main bulk lane, ctlDone
	earlyDone bool     // ctlDone overtook done
	lanes     [2 + maxBearers]serveLane
	nextReq   uint64 // lowest request id not seen yet, over all lanes
	bulk      *bulkOffer
	reoffers  []reofferState // per kind
	merged    timer
	tailT     timer
	restT     timer
	compared  []time.Duration // per block: when the last compare was honoured, +1
}

type provState uint8

const (
	provIdle provState = iota
	provInitOk
	provRun
)

type reofferState struct {
	at     time.Duration // last honoured, +1
	which  int           // merged, not honoured yet
	all    bool          // filters differed
	filter []byte
}

// serveLane answers fetches in order; it materialises one piece at a time.
type serveLane struct {
	stream Stream
	up     bool
	q      []*serving // at most 16
	last   int64      // last request id seen on this lane, -1: none
}

// serving is one fetch being answered.
type serving struct {
	m         *msgFetch
	at        time.Duration
	started   bool
	cancelled bool
	span      int    // in parts, then in chunks
	off       uint64 // in that span
	sentBytes uint64
}

// server answers fetches (artifact §6.7): round robin over lanes when egress is limited, chunk by chunk, by id and never by
// slot.
type server struct {
	*env
	find   func(ID) *Artifact
	egress bucket
	timer  timer
	wait   []laneRef // lanes that wait for egress tokens, in turn
	called int       // so many of them, from the first on, were woken
}

// turnLimit is how long the first in line may take to come when it is called.
const turnLimit = 250 * time.Millisecond

type laneRef struct {
	p *peer
	i int
}

func newProv(p *peer) provSession {
	s := provSession{initNo: -1, merged: timer{what: timerMerged, p: p}, tailT: timer{what: timerTail, p: p}, restT: timer{what: timerRest, p: p}}
	s.lanes[0] = serveLane{stream: UrgentIn, up: true, last: -1}
	s.lanes[1] = serveLane{stream: BulkIn, up: true, last: -1}
	for i := 0; i < maxBearers; i++ {
		s.lanes[2+i] = serveLane{stream: bearerIn + Stream(i), last: -1}
	}
	return s
}

// fetch takes one fetch in.
func (s *server) fetch(p *peer, l *serveLane, m *msgFetch) error {
	if p.prov.state != provRun {
		return nil // of a session that is over: nothing is owed
	}
	if int64(m.id) <= l.last {
		return violation("request %d after %d on one lane", m.id, l.last)
	}
	if (m.class == Urgent) != (l.stream == UrgentIn) {
		return violation("a fetch of class %v on the wrong lane", m.class)
	}
	if len(l.q) == pipeFetch {
		return violation("more than %d fetches on one lane", pipeFetch)
	}
	if a, v := s.find(m.artifact), p.prov.view; a != nil && v != nil {
		v.fetched(s.now, a)
	}
	l.last = int64(m.id)
	l.q = append(l.q, &serving{m: m, at: s.now})
	s.wake(p, l.stream)
	return nil
}

// cancel marks requests; an unknown one is ignored.
func (s *server) cancel(p *peer, ids []uint64) {
	for i := range p.prov.lanes {
		for _, x := range p.prov.lanes[i].q {
			for _, id := range ids {
				if x.m.id == id {
					x.cancelled = true
				}
			}
		}
	}
}

// Out is one message to send. Its body, if there is one, is read by the shell: from Bytes, or N bytes at Off of At.
type Out struct {
	Rank  uint8  // for [Link].Send
	Head  []byte // the message up to its body, or all of it
	Bytes []byte
	At    io.ReaderAt
	Off   int64
	N     int
	Last  bool // the last piece that a request asked for: its fetchDone is next
	buf   *[]byte
}

// Len is the length of the whole message.
func (o *Out) Len() int { return len(o.Head) + max(len(o.Bytes), o.N) }

// next is the next message of a lane; false when there is nothing to say now.
func (s *server) next(p *peer, i int) (Out, bool) {
	l := &p.prov.lanes[i]
	rank := RankBulk
	if l.stream == UrgentIn {
		rank = RankUrgent
	}
	if len(l.q) > 0 {
		x := l.q[0]
		status, retry := -1, uint64(0)
		var a *Artifact
		switch {
		case x.cancelled || p.prov.stopping && !x.started:
			status = statusCancelled
		case !x.started && s.now-x.at > time.Duration(min(x.m.deadline, 1<<40))*time.Millisecond:
			status = statusLate
		default:
			if a = s.find(x.m.artifact); a == nil || !a.readable() || !x.started && !fits(a, x.m) {
				status = statusNotFound
			}
		}
		if status < 0 {
			x.started = true
			tag, index, ok := x.at2()
			if !ok {
				status = statusOK
			} else if n := a.pieceLen(tag, index); x.sentBytes+uint64(n) > x.m.maxBytes {
				status = statusTooLarge
			} else if !a.holds(tag, index) {
				status, retry = statusBusy, 50
			} else if !s.token(p, i, n) {
				return Out{}, false
			} else {
				x.sentBytes += uint64(n)
				x.step()
				s.stat.ChunksServed++
				s.stat.BytesServed += uint64(n)
				o := a.piece(tag, index)
				o.Rank, o.Head = rank, appendPieceHead(s.buf, tag, x.m.id, index, n)
				_, _, more := x.at2()
				o.Last = !more
				return o, true
			}
		}
		l.q = l.q[1:]
		return Out{Rank: rank, Head: appendFetchDone(s.buf, x.m.id, uint64(status), retry)}, true
	}
	return Out{}, false
}

// fits reports whether the artifact has everything that is asked for.
func fits(a *Artifact, m *msgFetch) bool {
	for _, sp := range m.parts {
		if a.Manifest == nil || sp.first+sp.count > uint64(len(a.Manifest.Parts))+1 {
			return false
		}
	}
	for _, sp := range m.chunks {
		if sp.first+sp.count > a.chunkCount() {
			return false
		}
	}
	return true
}

// at2 is the piece that comes next: parts as listed, then chunks as listed.
func (x *serving) at2() (tag byte, index uint64, ok bool) {
	if x.span < len(x.m.parts) {
		return tagManifest, x.m.parts[x.span].first + x.off, true
	}
	if i := x.span - len(x.m.parts); i < len(x.m.chunks) {
		return tagChunk, x.m.chunks[i].first + x.off, true
	}
	return 0, 0, false
}

func (x *serving) step() {
	x.off++
	var sp span
	if x.span < len(x.m.parts) {
		sp = x.m.parts[x.span]
	} else {
		sp = x.m.chunks[x.span-len(x.m.parts)]
	}
	if x.off == sp.count {
		x.span, x.off = x.span+1, 0
	}
}

// readable reports whether the body can be read at all: the sink of a Disk kind may be for writing only.
func (a *Artifact) readable() bool { return a.Bytes != nil || a.At != nil || a.partial != nil }

func (a *Artifact) pieceLen(tag byte, index uint64) int {
	if tag == tagManifest {
		if index == 0 {
			return a.Manifest.rootLen()
		}
		return a.Manifest.partLen(int(index - 1))
	}
	_, n := a.span(int(index))
	return n
}

// holds reports whether a piece is here; under cut-through some are still on their way.
func (a *Artifact) holds(tag byte, index uint64) bool {
	if tag == tagManifest {
		return a.Manifest.piece(index) != nil
	}
	return a.partial == nil || a.partial.done.get(int(index))
}

func (a *Artifact) piece(tag byte, index uint64) Out {
	if tag == tagManifest {
		return Out{Bytes: a.Manifest.piece(index)}
	}
	off, n := a.span(int(index))
	switch {
	case a.partial != nil:
		return Out{Bytes: a.partial.buf[off : off+int64(n)]}
	case a.Bytes != nil:
		return Out{Bytes: a.Bytes[off : off+int64(n)]}
	}
	return Out{At: a.At, Off: off, N: n}
}

// token takes n bytes out of the egress bucket. When it is empty the lane waits in turn, so that one hungry peer cannot starve
// others; urgent lanes may take 100 ms of the rate in advance.
func (s *server) token(p *peer, i, n int) bool {
	if s.egress.rate == 0 {
		return true
	}
	ref := laneRef{p, i}
	at := slices.Index(s.wait, ref)
	turn := at < 0 && len(s.wait) == 0 || at >= 0 && at < max(1, s.called)
	if i == 0 && s.egress.borrow(s.now) || turn && s.egress.ok(s.now) {
		s.egress.spend(s.now, int64(n))
		s.leave(ref)
		return true
	}
	if at < 0 {
		s.wait = append(s.wait, ref)
	} else {
		s.called = min(s.called, at)
	}
	if turn || s.timer.pos == 0 {
		s.timers.set(&s.timer, s.egress.ready(s.now))
	}
	return false
}

// leave takes a lane out of the line; when its turn had come it is the next one's.
func (s *server) leave(ref laneRef) {
	at := slices.Index(s.wait, ref)
	if at < 0 {
		return
	}
	s.wait = slices.Delete(s.wait, at, at+1)
	if len(s.wait) == 0 {
		s.called = 0
		s.timers.stop(&s.timer)
	} else if at < max(1, s.called) {
		s.called = max(0, s.called-1)
		s.timers.set(&s.timer, s.egress.ready(s.now))
	}
}

// filled is the egress bucket having room again: the first in line is called. One that has nothing to send any more loses its place
// only now: what was cancelled is often asked for again. When the first does not come within a while, because its bearer takes nothing,
// the one behind it is called too.
func (s *server) filled() {
	for len(s.wait) > 0 && len(s.wait[0].p.prov.lanes[s.wait[0].i].q) == 0 {
		s.wait = s.wait[1:] // what it waited for is over
		s.called = max(0, s.called-1)
	}
	if s.called < len(s.wait) {
		w := s.wait[s.called]
		s.called++
		s.wake(w.p, w.p.prov.lanes[w.i].stream)
		s.timers.set(&s.timer, s.now+turnLimit)
	}
}

// gone forgets a peer's lanes.
func (s *server) gone(p *peer) {
	for i := range p.prov.lanes {
		s.leave(laneRef{p, i})
	}
}

// readFailed is a body that could not be read: the request whose piece was to be sent ends with notFound.
func (c *Core) readFailed(now time.Duration, p *peer, s Stream) []byte {
	c.now = now
	l := &p.prov.lanes[serveLaneOf(s)]
	if len(l.q) == 0 {
		return nil
	}
	x := l.q[0]
	l.q = l.q[1:]
	return appendFetchDone(nil, x.m.id, statusNotFound, 0)
}
