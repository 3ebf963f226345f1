package governor

import "time"

// bucket holds the peers of one class in one place: a random one in O(1), and where peers wait, the earliest due in O(1) and
// changes in O(log n). The order within is a function of the history of events alone.
type bucket struct {
	ids []uint32
	due []time.Duration // beside ids; nil unless timed
}

func timed(p place) bool { return p == coldWait || p == warmWait }

func (b *bucket) add(t *table, id uint32, due time.Duration, isTimed bool) {
	i := len(b.ids)
	b.ids = append(b.ids, id)
	if !isTimed {
		t.pos[id] = uint32(i)
		return
	}
	b.due = append(b.due, due)
	b.set(t, b.up(t, i, due, id), due, id)
}

func (b *bucket) remove(t *table, id uint32, isTimed bool) {
	i, last := int(t.pos[id]), len(b.ids)-1
	moved := b.ids[last]
	b.ids = b.ids[:last]
	if !isTimed {
		if i < last {
			b.ids[i], t.pos[moved] = moved, uint32(i)
		}
		return
	}
	due := b.due[last]
	b.due = b.due[:last]
	if i < last {
		b.set(t, b.up(t, b.down(t, i, due, moved), due, moved), due, moved)
	}
}

// A heap of four children a node: half the depth of a binary one, and the children share cache lines. Who is on the way of a peer
// to its place moves up or down by one; set puts the peer itself there.
func (b *bucket) set(t *table, i int, due time.Duration, id uint32) {
	b.due[i], b.ids[i], t.pos[id] = due, id, uint32(i)
}

func (b *bucket) shift(t *table, to, from int) { b.set(t, to, b.due[from], b.ids[from]) }

// up and down find the place of a peer from i on.
func (b *bucket) up(t *table, i int, due time.Duration, id uint32) int {
	for i > 0 {
		parent := (i - 1) / 4
		if !sooner(due, id, b.due[parent], b.ids[parent]) {
			break
		}
		b.shift(t, i, parent)
		i = parent
	}
	return i
}

func (b *bucket) down(t *table, i int, due time.Duration, id uint32) int {
	for 4*i+1 < len(b.ids) {
		least := 4*i + 1
		for j := least + 1; j < min(4*i+5, len(b.ids)); j++ {
			if sooner(b.due[j], b.ids[j], b.due[least], b.ids[least]) {
				least = j
			}
		}
		if !sooner(b.due[least], b.ids[least], due, id) {
			break
		}
		b.shift(t, i, least)
		i = least
	}
	return i
}

func sooner(due time.Duration, id uint32, than time.Duration, other uint32) bool {
	return due < than || due == than && id < other
}

func (b *bucket) clone() bucket {
	return bucket{append([]uint32(nil), b.ids...), append([]time.Duration(nil), b.due...)}
}

// queue is a small heap of times by peer, for what few peers wait for: timers of established peers. It holds at most one entry for
// each established or connecting peer.
type queue struct {
	items []queued1
	pos   map[uint32]int // look-ups only: never ranged over
}

type queued1 struct {
	at time.Duration
	id uint32
}

func newQueue() queue { return queue{pos: map[uint32]int{}} }

// set enters or moves the time of a peer.
func (q *queue) set(id uint32, at time.Duration) {
	i, ok := q.pos[id]
	if !ok {
		i = len(q.items)
		q.items = append(q.items, queued1{})
	}
	q.items[i] = queued1{at, id}
	q.pos[id] = i
	q.fix(i)
}

func (q *queue) get(id uint32) (time.Duration, bool) {
	if i, ok := q.pos[id]; ok {
		return q.items[i].at, true
	}
	return 0, false
}

func (q *queue) drop(id uint32) {
	i, ok := q.pos[id]
	if !ok {
		return
	}
	last := len(q.items) - 1
	delete(q.pos, id)
	moved := q.items[last]
	q.items = q.items[:last]
	if i < last {
		q.items[i] = moved
		q.pos[moved.id] = i
		q.fix(i)
	}
}

// due takes the earliest entry when it is due.
func (q *queue) due(now time.Duration) (uint32, bool) {
	if len(q.items) == 0 || q.items[0].at > now {
		return 0, false
	}
	id := q.items[0].id
	q.drop(id)
	return id, true
}

func (q *queue) next() time.Duration {
	if len(q.items) == 0 {
		return Never
	}
	return q.items[0].at
}

func (q *queue) less(i, j int) bool {
	a, b := q.items[i], q.items[j]
	return a.at < b.at || a.at == b.at && a.id < b.id
}

func (q *queue) fix(i int) {
	for i > 0 && q.less(i, (i-1)/2) {
		i = q.swap(i, (i-1)/2)
	}
	for {
		least := i
		for j := 2*i + 1; j < min(2*i+3, len(q.items)); j++ {
			if q.less(j, least) {
				least = j
			}
		}
		if least == i {
			return
		}
		i = q.swap(i, least)
	}
}

func (q *queue) swap(i, j int) int {
	q.items[i], q.items[j] = q.items[j], q.items[i]
	q.pos[q.items[i].id], q.pos[q.items[j].id] = i, j
	return j
}

func (q *queue) clone() queue {
	c := queue{append([]queued1(nil), q.items...), make(map[uint32]int, len(q.items))}
	for i, it := range c.items {
		c.pos[it.id] = i
	}
	return c
}

// idSet is a set of peers with O(1) changes and random picks, for what few peers are in.
type idSet struct {
	ids []uint32
	pos map[uint32]int // look-ups only: never ranged over
}

func newIDSet() idSet { return idSet{pos: map[uint32]int{}} }

func (s *idSet) has(id uint32) bool { _, ok := s.pos[id]; return ok }

func (s *idSet) put(id uint32) {
	if !s.has(id) {
		s.pos[id] = len(s.ids)
		s.ids = append(s.ids, id)
	}
}

func (s *idSet) drop(id uint32) {
	i, ok := s.pos[id]
	if !ok {
		return
	}
	last := len(s.ids) - 1
	s.ids[i] = s.ids[last]
	s.pos[s.ids[i]] = i
	s.ids = s.ids[:last]
	delete(s.pos, id)
}

func (s *idSet) clone() idSet {
	c := idSet{append([]uint32(nil), s.ids...), make(map[uint32]int, len(s.ids))}
	for i, id := range c.ids {
		c.pos[id] = i
	}
	return c
}
