package diffusion

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Limits bounds what an [Asker] asks for. Zero values are the defaults; txsubmission.Limits describes the fields.
type Limits struct {
	IDs        int
	Requests   int
	PeerBytes  int
	Bytes, Txs int
	Copies     int
	Hedge      time.Duration
	Useless    float64
	Delay      time.Duration
}

func (l Limits) withDefaults(d *Dialect) Limits {
	set := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	set(&l.IDs, d.Window)
	l.IDs = min(l.IDs, d.Window)
	set(&l.Requests, 4)
	set(&l.PeerBytes, 6*d.MaxItem)
	set(&l.Bytes, 16<<20)
	set(&l.Txs, 4096)
	set(&l.Copies, 2)
	if l.Hedge <= 0 {
		l.Hedge = 3 * time.Second
	}
	if l.Useless <= 0 {
		l.Useless = 50
	}
	return l
}

// askAgain is after how long a peer that had no news is asked for some again while an item that another peer was asked for stands in
// its queue. A request that waits for news is not allowed then (wire §8), and the other one's answer may take seconds.
const askAgain = 50 * time.Millisecond

const (
	forgiven = 0.1 // score a second
	maxScore = 900
)

// The rules that a peer that owns items can break (wire §8). They come wrapped in a [*protocols.Error].
var (
	ErrNotRequested = errors.New("sent what was not asked for")
	ErrSize         = errors.New("size is not the one announced")
)

// inbound is the pure core of the asking side, for all peers together: what is announced, wanted and under way.
type inbound struct {
	d      *Dialect
	limits Limits
	peers  []*inPeer // in order of arrival
	items  map[string]*inItem
	bytes  int // asked for and not received
	count  int
	taken  int64 // bytes that the sink has accepted in all
}

// inItem is an item that at least one peer has announced and not had acknowledged.
type inItem struct {
	offers  int // places in peers' queues
	copies  int // peers that have been asked and have not answered
	asked   time.Duration
	settled bool // it is here: nobody is asked any more
}

// inPeer is one peer's queue.
type inPeer struct {
	queue    []inEntry // announced, oldest first: at most the window, and before them what is acknowledged and not answered
	acked    int       // of queue
	idsDue   bool      // a request for ids is unanswered
	idsAsked int       // in it
	dry      bool      // the last answer had no ids
	dried    time.Duration
	requests int // for items, unanswered
	bytes    int
	score    float64
	scored   time.Duration
}

type inEntry struct {
	id   string
	size int
	done bool // need not be asked of this peer (any more): to be acknowledged
	sent bool // asked for, answer outstanding
}

// request is what to say to a peer next.
type request struct {
	kind     requestKind
	blocking bool
	ack, req int
	ids      []string
}

type requestKind uint8

const (
	nothing requestKind = iota
	askIDs
	askItems
)

func newInbound(d *Dialect, l Limits) *inbound {
	return &inbound{d: d, limits: l.withDefaults(d), items: map[string]*inItem{}}
}

func (in *inbound) join() *inPeer {
	p := &inPeer{}
	in.peers = append(in.peers, p)
	return p
}

// leave forgets a peer: what it was asked for can be asked of others.
func (in *inbound) leave(p *inPeer) {
	in.peers = slices.DeleteFunc(in.peers, func(q *inPeer) bool { return q == p })
	for i := range p.queue {
		in.answered(p, &p.queue[i])
		in.drop(p.queue[i].id)
	}
	p.queue, p.acked = nil, 0
}

// answered takes back what was reserved for a request.
func (in *inbound) answered(p *inPeer, e *inEntry) {
	if !e.sent {
		return
	}
	e.sent = false
	p.bytes -= e.size
	in.bytes -= e.size
	in.count--
	in.items[e.id].copies--
}

// drop forgets one offer of an item.
func (in *inbound) drop(id string) {
	item := in.items[id]
	if item.offers--; item.offers == 0 {
		delete(in.items, id)
	}
}

// open returns the ids that p has announced and that may be asked for.
func (p *inPeer) open() (ids []string) {
	for _, e := range p.queue {
		if !e.done && !e.sent {
			ids = append(ids, e.id)
		}
	}
	return ids
}

// known notes that the sink has an item already.
func (in *inbound) known(id string) {
	if item := in.items[id]; item != nil {
		item.settled = true
	}
}

// next decides what to ask of p now. outstanding is how many requests it has not answered, room how many bytes the sink can take,
// what is under way included. later is set when it is worth asking again after that time although nothing has happened.
func (in *inbound) next(p *inPeer, outstanding, room int, now time.Duration) (r request, later time.Duration) {
	ids, full, later := in.wanted(p, room-in.bytes, now)
	if len(ids) > 0 {
		return request{kind: askItems, ids: ids}, 0
	}
	// A peer answers in order: what it was asked for it has sent before it hears of an acknowledgement that is said now.
	ack := 0
	for _, e := range p.queue[p.acked:] {
		if !e.done && !e.sent {
			break
		}
		ack++
	}
	left := len(p.queue) - p.acked - ack
	if left == 0 && ack > 0 && outstanding > 0 { // only a request that waits for news may acknowledge the last one
		left, ack = 1, ack-1
	}
	req := min(in.limits.IDs, in.d.Window-left)
	if full {
		req = 0
	}
	switch {
	case p.idsDue:
		return r, later
	case left == 0 && outstanding == 0 && req > 0:
		r = request{kind: askIDs, blocking: true, ack: ack, req: req}
	case left > 0 && (ack > 0 || req > 0 && (!p.dry || now >= p.dried+askAgain)):
		r = request{kind: askIDs, ack: ack, req: req}
	case left > 0 && req > 0:
		return r, sooner(later, p.dried+askAgain-now)
	default:
		return r, later
	}
	p.acked += ack
	in.trim(p)
	p.idsDue, p.idsAsked = true, req
	return r, 0
}

// trim forgets what is acknowledged and answered.
func (in *inbound) trim(p *inPeer) {
	n := 0
	for n < p.acked && p.queue[n].done && !p.queue[n].sent {
		in.drop(p.queue[n].id)
		n++
	}
	p.queue = p.queue[:copy(p.queue, p.queue[n:])]
	p.acked -= n
}

// sooner is the smaller of two waits; zero is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b < a {
		return b
	}
	return a
}

// wanted chooses items to ask p for, and reserves them. full says that there is no room for one that is wanted.
func (in *inbound) wanted(p *inPeer, room int, now time.Duration) (ids []string, full bool, later time.Duration) {
	full = room <= 0
	total := 0
	for i := range p.queue {
		e := &p.queue[i]
		if e.done || e.sent {
			continue
		}
		item := in.items[e.id]
		if item.settled {
			e.done = true
			continue
		}
		switch {
		case p.sent(e.id): // announced twice
			continue
		case item.copies >= in.limits.Copies:
			continue
		case item.copies > 0 && now < item.asked+in.limits.Hedge:
			later = sooner(later, item.asked+in.limits.Hedge-now)
			continue
		case in.useless(p, now) && in.betterOffer(p, e.id, now):
			if later == 0 {
				later = in.limits.Hedge
			}
			continue
		}
		if e.size > room {
			full = true
			continue
		}
		if p.requests >= in.limits.Requests || len(ids) == in.d.Window || in.count >= in.limits.Txs ||
			p.bytes > 0 && p.bytes+e.size > in.limits.PeerBytes ||
			in.bytes > 0 && in.bytes+e.size > in.limits.Bytes ||
			total > 0 && total+e.size > in.d.Batch {
			break
		}
		e.sent = true
		item.copies++
		item.asked = now
		p.bytes += e.size
		in.bytes += e.size
		in.count++
		room -= e.size
		total += e.size
		ids = append(ids, e.id)
	}
	if len(ids) > 0 {
		p.requests++
	}
	return ids, full, later
}

// announced takes the answer to a request for ids. The number of ids was checked against the request. What is larger than any item
// may be is never asked for.
func (in *inbound) announced(p *inPeer, ids []Announced, now time.Duration) {
	p.idsDue, p.idsAsked = false, 0
	p.dry, p.dried = len(ids) == 0, now
	for _, a := range ids {
		id := string(a.ID)
		item := in.items[id]
		if item == nil {
			item = &inItem{}
			in.items[id] = item
		}
		item.offers++
		over := a.Size > in.d.MaxItem
		if over {
			p.blame(now)
		}
		p.queue = append(p.queue, inEntry{id: id, size: a.Size, done: over})
	}
}

func (p *inPeer) sent(id string) bool {
	return slices.ContainsFunc(p.queue, func(e inEntry) bool { return e.sent && e.id == id })
}

// expected returns the place of p that a received item answers. It stays the same until p's next answer.
func (in *inbound) expected(p *inPeer, id string, size int, asked []string) (*inEntry, error) {
	if slices.Contains(asked, id) {
		for i := range p.queue {
			e := &p.queue[i]
			if !e.sent || e.id != id {
				continue
			}
			if d := size - e.size; in.d.Sized && (d > SizeTolerance || d < -SizeTolerance) {
				return nil, fmt.Errorf("%w: %x has %d bytes, announced were %d", ErrSize, id, size, e.size)
			}
			return e, nil
		}
	}
	return nil, fmt.Errorf("%w: %x", ErrNotRequested, id)
}

// verdict is what has become of an item.
type verdict uint8

const (
	accepted verdict = iota
	late             // it was here already
	refused
)

// received notes that an item has come. A refused one may still come from another peer: its id does not cover all its bytes, so who
// sends a spoilt copy must not be able to keep the good one away.
func (in *inbound) received(p *inPeer, e *inEntry, v verdict, now time.Duration) {
	in.answered(p, e)
	p.finish(e.id)
	if v == accepted {
		in.taken += int64(e.size)
	} else {
		p.blame(now)
	}
	if v != refused {
		in.items[e.id].settled = true
	}
}

// replied ends a request for items: what p left out it does not have any more, others may.
func (in *inbound) replied(p *inPeer, asked []string, now time.Duration) {
	p.requests--
	for _, id := range asked {
		for i := range p.queue {
			if e := &p.queue[i]; e.id == id && e.sent {
				in.answered(p, e)
				p.finish(id)
				p.blame(now)
				break
			}
		}
	}
	in.trim(p)
}

// finish marks an id, wherever it was announced, as one that p need not be asked for.
func (p *inPeer) finish(id string) {
	for i := range p.queue {
		if p.queue[i].id == id {
			p.queue[i].done = true
		}
	}
}

func (p *inPeer) blame(now time.Duration) {
	p.score, p.scored = min(p.scoreAt(now)+1, maxScore), now
}

func (p *inPeer) scoreAt(now time.Duration) float64 {
	return max(0, p.score-forgiven*(now-p.scored).Seconds())
}

func (in *inbound) useless(p *inPeer, now time.Duration) bool {
	return p.scoreAt(now) >= in.limits.Useless
}

// betterOffer reports whether another peer, not a useless one, offers an item and could still be asked.
func (in *inbound) betterOffer(p *inPeer, id string, now time.Duration) bool {
	for _, q := range in.peers {
		if q == p || in.useless(q, now) {
			continue
		}
		for _, e := range q.queue {
			if e.id == id && !e.done {
				return true
			}
		}
	}
	return false
}
