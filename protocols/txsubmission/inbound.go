package txsubmission

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Limits bounds what an [Inbound] asks for. Zero values are the defaults.
type Limits struct {
	// IDs is how many ids one request asks for at most; default 6.
	IDs int
	// Requests is how many requests for transactions one peer has unanswered; default 4.
	Requests int
	// PeerBytes is how many bytes of transactions one peer has been asked for; one transaction more may exceed it. Default
	// 393,240, six of the largest.
	PeerBytes int
	// Bytes and Txs bound what all peers together have been asked for; default 16 MiB and 4,096.
	Bytes, Txs int
	// Copies is from how many peers the same transaction is asked for, when the first ones have been slow for Hedge; default 2.
	Copies int
	// Hedge is after how long a second peer is asked; default 3 s.
	Hedge time.Duration
	// Useless is the score from which a peer is asked only for what nobody else offers; default 50. A refused or late transaction
	// scores 1, and 0.1 is forgiven each second; the score never exceeds 900.
	Useless float64
	// Delay is the time between a peer's Init and the first request; default 0 (a cardano-node waits 60 s).
	Delay time.Duration
}

func (l Limits) withDefaults() Limits {
	set := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	set(&l.IDs, 6)
	l.IDs = min(l.IDs, Window)
	set(&l.Requests, 4)
	set(&l.PeerBytes, 6*maxTx)
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

const (
	maxTx       = 65_540 // wire size that the sizing assumes (wire §8)
	forgiven    = 0.1    // score a second
	maxScore    = 900
	perRequest  = Window
	bytesPerAsk = 2 * maxTx // of one request
)

// The rules that a peer that owns transactions can break (wire §8). They come wrapped in a [*protocols.Error].
var (
	ErrNotRequested = errors.New("transaction was not asked for")
	ErrSize         = errors.New("transaction's size is not the one announced")
)

// inbound is the pure core of the asking side, for all peers together: what is announced, wanted and under way.
type inbound struct {
	limits Limits
	peers  []*inPeer // in order of arrival
	txs    map[string]*inTx
	bytes  int // asked for and not received
	count  int
}

// inTx is a transaction that at least one peer has announced and not had acknowledged.
type inTx struct {
	offers  int // places in peers' queues
	copies  int // peers that have been asked and have not answered
	asked   time.Duration
	settled bool // it is here, or it was refused: nobody is asked any more
}

// inPeer is one peer's queue.
type inPeer struct {
	queue    []inEntry // announced and not acknowledged, at most Window
	idsDue   bool      // a request for ids is unanswered
	idsAsked int       // in it
	dry      bool      // the last answer had no ids: asking again makes no sense before something is acknowledged
	requests int       // for transactions, unanswered
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
	askTxs
)

func newInbound(l Limits) *inbound {
	return &inbound{limits: l.withDefaults(), txs: map[string]*inTx{}}
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
	p.queue = nil
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
	in.txs[e.id].copies--
}

// drop forgets one offer of a transaction.
func (in *inbound) drop(id string) {
	tx := in.txs[id]
	if tx.offers--; tx.offers == 0 {
		delete(in.txs, id)
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

// known notes that a transaction is here, or was refused, already.
func (in *inbound) known(id string) {
	if tx := in.txs[id]; tx != nil {
		tx.settled = true
	}
}

// next decides what to ask of p now. outstanding is how many requests it has not answered, room how many bytes the sink can take,
// what is under way included. later is set when it is worth asking again after that time although nothing has happened.
func (in *inbound) next(p *inPeer, outstanding, room int, now time.Duration) (r request, later time.Duration) {
	ids, full, later := in.wanted(p, room-in.bytes, now)
	if len(ids) > 0 {
		return request{kind: askTxs, ids: ids}, 0
	}
	ack := 0
	for ack < len(p.queue) && p.queue[ack].done {
		ack++
	}
	left := len(p.queue) - ack
	req := min(in.limits.IDs, Window-left)
	if full {
		req = 0
	}
	switch {
	case p.idsDue:
		return r, later
	case left == 0 && outstanding == 0 && req > 0:
		r = request{kind: askIDs, blocking: true, ack: ack, req: req}
	case left > 0 && (ack > 0 || req > 0 && !p.dry):
		r = request{kind: askIDs, ack: ack, req: req}
	default:
		return r, later
	}
	for _, e := range p.queue[:ack] {
		in.drop(e.id)
	}
	p.queue = p.queue[:copy(p.queue, p.queue[ack:])]
	p.idsDue, p.idsAsked = true, req
	return r, 0
}

// wanted chooses transactions to ask p for, and reserves them. full says that there is no room for one that is wanted.
func (in *inbound) wanted(p *inPeer, room int, now time.Duration) (ids []string, full bool, later time.Duration) {
	full = room <= 0
	total := 0
	for i := range p.queue {
		e := &p.queue[i]
		if e.done || e.sent {
			continue
		}
		tx := in.txs[e.id]
		if tx.settled {
			e.done = true
			continue
		}
		switch {
		case p.sent(e.id): // announced twice
			continue
		case tx.copies >= in.limits.Copies:
			continue
		case tx.copies > 0 && now < tx.asked+in.limits.Hedge:
			if wait := tx.asked + in.limits.Hedge - now; later == 0 || wait < later {
				later = wait
			}
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
		if p.requests >= in.limits.Requests || len(ids) == perRequest || in.count >= in.limits.Txs ||
			p.bytes > 0 && p.bytes+e.size > in.limits.PeerBytes ||
			in.bytes > 0 && in.bytes+e.size > in.limits.Bytes ||
			total > 0 && total+e.size > bytesPerAsk {
			break
		}
		e.sent = true
		tx.copies++
		tx.asked = now
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

// announced takes the answer to a request for ids. The number of ids was checked against the request.
func (in *inbound) announced(p *inPeer, ids []IDAndSize) {
	p.idsDue, p.idsAsked = false, 0
	p.dry = len(ids) == 0
	for _, a := range ids {
		id := string(a.ID)
		tx := in.txs[id]
		if tx == nil {
			tx = &inTx{}
			in.txs[id] = tx
		}
		tx.offers++
		p.queue = append(p.queue, inEntry{id: id, size: int(a.Size)})
	}
}

func (p *inPeer) sent(id string) bool {
	return slices.ContainsFunc(p.queue, func(e inEntry) bool { return e.sent && e.id == id })
}

// expected returns the entry of p that a received transaction answers.
func (p *inPeer) expected(id string, size int, asked []string) (*inEntry, error) {
	if slices.Contains(asked, id) {
		for i := range p.queue {
			e := &p.queue[i]
			if !e.sent || e.done || e.id != id {
				continue
			}
			if d := size - e.size; d > SizeTolerance || d < -SizeTolerance {
				return nil, fmt.Errorf("%w: %x has %d bytes, announced were %d", ErrSize, id, size, e.size)
			}
			return e, nil
		}
	}
	return nil, fmt.Errorf("%w: %x", ErrNotRequested, id)
}

// received notes that a transaction has come; late says that another peer was faster or it was refused.
func (in *inbound) received(p *inPeer, e *inEntry, late bool, now time.Duration) {
	in.answered(p, e)
	e.done = true
	in.txs[e.id].settled = true
	if late {
		p.score = min(p.scoreAt(now)+1, maxScore)
		p.scored = now
	}
}

// replied ends a request for transactions: what p left out it does not have any more, others may.
func (in *inbound) replied(p *inPeer, asked []string) {
	p.requests--
	for _, id := range asked {
		for i := range p.queue {
			if e := &p.queue[i]; e.id == id && e.sent {
				in.answered(p, e)
				e.done = true
				break
			}
		}
	}
}

func (p *inPeer) scoreAt(now time.Duration) float64 {
	return max(0, p.score-forgiven*(now-p.scored).Seconds())
}

func (in *inbound) useless(p *inPeer, now time.Duration) bool {
	return p.scoreAt(now) >= in.limits.Useless
}

// betterOffer reports whether another peer, not a useless one, offers a transaction and could still be asked.
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
