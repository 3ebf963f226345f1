package mux

// Ranks order what waits to be sent: 0 first. Streams that never name a rank have [DefaultRank] and share the bearer round
// robin.
const DefaultRank uint8 = 4

const (
	ranks = 8
	// patience is how many SDUs in a row may overtake a stream of a lower rank.
	patience = 7
)

// schedule decides which stream's SDU is cut next. It is owned by the multiplexer's lock.
type schedule interface {
	push(s *Stream, rank uint8)
	pop() *Stream // nil: nothing waits
	empty() bool
}

// rankedRoundRobin is round robin among the streams whose head message has the best rank that waits; after seven SDUs with
// a lower rank waiting, the eighth is of a lower rank, the longest waiting first (artifact §6.7). With one rank in use it is
// plain round robin (wire §2.5).
type rankedRoundRobin struct {
	first, last [ranks]*Stream
	waiting     uint8 // bit r: something waits in rank r
	overtaken   int
	turn        uint64
}

func (q *rankedRoundRobin) push(s *Stream, rank uint8) {
	rank = min(rank, ranks-1)
	q.turn++
	e := s.out.Load()
	e.queuedAt, e.nextQueued = q.turn, nil
	if q.waiting&(1<<rank) == 0 {
		q.first[rank] = s
		q.waiting |= 1 << rank
	} else {
		q.last[rank].out.Load().nextQueued = s
	}
	q.last[rank] = s
}

func (q *rankedRoundRobin) empty() bool { return q.waiting == 0 }

func (q *rankedRoundRobin) pop() *Stream {
	if q.waiting == 0 {
		return nil
	}
	best, longest := -1, -1
	for r := range ranks {
		switch {
		case q.waiting&(1<<r) == 0:
		case best < 0:
			best = r
		case longest < 0 || q.first[r].out.Load().queuedAt < q.first[longest].out.Load().queuedAt:
			longest = r
		}
	}
	switch {
	case longest < 0:
		q.overtaken = 0
	case q.overtaken < patience:
		q.overtaken++
	default:
		best, q.overtaken = longest, 0
	}
	s := q.first[best]
	e := s.out.Load()
	q.first[best], e.nextQueued = e.nextQueued, nil
	if q.first[best] == nil {
		q.last[best] = nil
		q.waiting &^= 1 << best
	}
	return s
}
