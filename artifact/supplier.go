package artifact

import "time"

// lane indices of a supplier.
const (
	laneUrgent = iota
	laneMain   // the bulk lane of the main bearer, used only while no bulk bearer is up
	laneBearer // … + maxBearers - 1
	lanes      = laneBearer + maxBearers
)

// lane is one fetch stream on which we ask.
type lane struct {
	stream Stream
	up     bool
	open   []*request // sent ones first, in the order of their ids; then those that are not sent yet
	sent   int
	bytes  int64         // of open, not yet received
	last   time.Duration // last message, or the sending of a request on an idle lane
	ended  bool          // fetchEnd sent

	// throughput: bytes since mark, while the lane stayed busy
	busy  bool // more was due when the last piece came
	mark  time.Duration
	got   int64
	total int64 // bytes ever received
}

// request is one fetch.
type request struct {
	id        uint64
	p         *peer
	l         *lane
	d         *download // nil once nobody wants it
	items     []item
	left      int   // items not received
	bytes     int64 // asked for
	due       int64 // of them not received
	class     Class
	sent      bool
	over      bool // past its deadline: others were asked
	cancelled bool
	hedged    bool // it has a duplicate
	hedge     bool // it is one
	sentAt    time.Duration
	mark      int64 // what the lane had received when this one was sent
	ahead     int64 // bytes on the lane up to and including this one, when it was queued
	load      int64 // bulk bytes in flight from all peers, with this one, when it was queued
	deadline  timer
	hedgeT    timer
}

type item struct {
	i   int // a chunk, or rootItem, or partItem(i)
	n   int // bytes
	got bool
}

// supplier is what the scheduler knows of one peer: its lanes, window and speed (artifact §6.5).
type supplier struct {
	isOpen bool
	nextID uint64
	lanes  [lanes]lane
	ready  [classes][]list[*offer]
	ring   [classes][]listNode[*peer]
	full   list[*offer] // wait for quota
	nfull  int

	window  int64
	grown   int64 // delivered since the window last grew
	bytes   int64 // in flight
	urgent  int64 // of them urgent
	count   int   // open requests
	trust   int   // how many may be open, urgent ones beside
	nurgent int

	rate    float64 // bytes/s, 0: not measured
	best    float64 // the highest it was in this and the last ten minutes
	bestB   float64
	samples int
	blamed  time.Duration // when a time-out last counted
	slow    slowness
	rtt     time.Duration // least time a small request took, 0: not measured
	least   time.Duration // least time of a chunk in this and the last ten minutes
	leastB  time.Duration
	leastAt time.Duration
}

// slowness is how many requests of the last minute timed out, both sums decaying.
type slowness struct {
	asked, late       int // since the last tick
	askedSum, lateSum float64
	told              time.Duration
}

// slowAt is the least number of requests that says something about a peer.
const slowAt = 8

// tick is one second. True: at least half of the requests of the last minute timed out, said once a minute.
func (w *slowness) tick(now time.Duration) bool {
	w.askedSum = w.askedSum*59/60 + float64(w.asked)
	w.lateSum = w.lateSum*59/60 + float64(w.late)
	w.asked, w.late = 0, 0
	if w.askedSum < slowAt || 2*w.lateSum < w.askedSum || w.told != 0 && now-w.told < time.Minute {
		return false
	}
	w.told = now
	return true
}

func newSupplier(kinds int) supplier {
	n := supplier{window: windowStart, trust: unprovenRequests}
	for c := range n.ready {
		n.ready[c] = make([]list[*offer], kinds)
		n.ring[c] = make([]listNode[*peer], kinds)
	}
	n.lanes[laneUrgent].stream = UrgentOut
	n.lanes[laneMain].stream = BulkOut
	for i := 0; i < maxBearers; i++ {
		n.lanes[laneBearer+i].stream = bearerOut + Stream(i)
	}
	return n
}

// open readies the lanes of the main bearer for a new session.
func (n *supplier) open() {
	n.isOpen, n.nextID = true, 0
	for i := range n.lanes {
		n.lanes[i].ended = false
	}
	n.lanes[laneUrgent].up, n.lanes[laneMain].up = true, true
}

// srtt is the smoothed round trip: the host's figure, else what requests showed, else 0.
func (n *supplier) srtt(p *peer) time.Duration {
	if p.RTT > 0 {
		return p.RTT
	}
	return n.rtt
}

// spare is how much of the window is free; a last piece may go beyond it.
func (n *supplier) spare() int64 {
	return min(n.window-(n.bytes-n.urgent), windowMax-3*maxFlat-n.bytes)
}

// A lane has packBytes under way, or what takes packSeconds, before the next one is used.
const (
	packBytes   = 32 << 10
	packSeconds = 0.01
)

// laneFor returns the lane for a class: urgent has its own; others take the bulk bearer with the least under way, but what is small
// keeps together on one, where requests and answers share SDUs.
func (n *supplier) laneFor(c Class) *lane {
	if c == Urgent {
		return &n.lanes[laneUrgent]
	}
	var best *lane
	pack := min(packBytes, n.rate*packSeconds)
	for i := laneBearer; i < lanes; i++ {
		l := &n.lanes[i]
		if !l.up || l.ended {
			continue
		}
		if float64(l.bytes) < pack && len(l.open) < pipeFetch {
			return l
		}
		if best == nil || l.bytes < best.bytes {
			best = l
		}
	}
	if best == nil {
		return &n.lanes[laneMain]
	}
	return best
}

// estimate is how long bytes more would take, srtt included; 1 s before anything was measured.
func (n *supplier) estimate(p *peer, bytes int64) time.Duration {
	if n.rate == 0 {
		return time.Second
	}
	return n.srtt(p) + time.Duration(float64(bytes)/max(n.rate, 4096)*float64(time.Second))
}

// measure takes note of bytes that arrived, asked for at sent. Only what follows another piece on a lane that stayed busy
// tells the rate; the first piece after a pause has waited for a round trip.
func (n *supplier) measure(now time.Duration, l *lane, bytes int, sent time.Duration) {
	l.total += int64(bytes)
	if n.rate == 0 && now > sent {
		n.rate = float64(bytes) / (now - sent).Seconds()
	}
	if !l.busy {
		l.mark, l.got = now, 0
	} else if l.got += int64(bytes); now-l.mark >= 5*time.Millisecond {
		r := float64(l.got) / (now - l.mark).Seconds()
		if n.samples == 0 {
			n.rate = r
		}
		n.rate += (r - n.rate) / 8
		n.samples++
		n.best = max(n.best, n.rate)
		l.mark, l.got = now, 0
	}
	l.busy = l.bytes > 0
}

// chunkTime returns by how much a chunk took longer than the least that was. Only one that had the lane for itself can set the
// least: what the others took is an estimate.
func (n *supplier) chunkTime(now, t time.Duration, alone bool) time.Duration {
	if !alone {
		if n.leastAt == 0 {
			return 0
		}
		return t - n.smallest()
	}
	if n.leastAt == 0 || now-n.leastAt > 10*time.Minute {
		n.leastB, n.least, n.leastAt = n.least, t, max(now, 1)
		n.bestB, n.best = n.best, n.rate
	}
	n.least = min(n.least, t)
	return t - n.smallest()
}

func (n *supplier) smallest() time.Duration {
	if n.leastB > 0 {
		return min(n.least, n.leastB)
	}
	return n.least
}
