package artifact

import (
	"net/netip"
	"time"
)

// account is what we remember of one peer across its sessions: what it is charged for, which verdicts its artifacts got, and
// how far its table was settled.
type account struct {
	id        PeerID
	connected bool
	mem       []int64 // per kind: bytes under way, unjudged or parked
	parked    []int64 // part of mem
	count     []int   // artifacts
	disk      []int64
	total     int64
	quota     []int64      // per kind, when the client allows this peer less than the kind's; 0: the kind's
	checks    list[*check] // oldest first; at most receiveChecks
	checked   bool         // while the peer is connected

	// resume memory
	addr    netip.Addr
	plain   bool // made on an unauthenticated bearer: only used towards addr
	epoch   [8]byte
	known   bool // epoch is valid
	highest uint64
	seen    []uint64 // per slot: commit, plus settledBit; len ≤ PeerSlots
	left    time.Duration
	node    listNode[*account] // in departed order
}

const settledBit = 1 << 63

// quotas is the node-wide partition of the unvalidated section: half of the cap is shared, the other half is guaranteed in
// equal shares to the connected peers. What peers who left still hold counts as shared (artifact §6.5, §6.10).
type quotas struct {
	cap    int64
	share  int64
	shared int64 // used of the shared half
	total  int64
}

func (q *quotas) sharedOf(a *account, total int64) int64 {
	if !a.connected {
		return total
	}
	return max(0, total-q.share)
}

func (q *quotas) add(a *account, n int64) {
	q.shared += q.sharedOf(a, a.total+n) - q.sharedOf(a, a.total)
	a.total += n
	q.total += n
}

// connect and disconnect move an account between the two halves.
func (q *quotas) setConnected(a *account, on bool) {
	q.shared -= q.sharedOf(a, a.total)
	a.connected = on
	q.shared += q.sharedOf(a, a.total)
}

// fits reports whether a may be charged with n bytes of memory and disk bytes on disk for one more artifact of kind k.
func (q *quotas) fits(a *account, k *KindConfig, ki int, n, disk int64, window int) bool {
	quota := k.Quota
	if a.quota[ki] > 0 {
		quota = a.quota[ki]
	}
	if a.mem[ki]+n > quota || a.count[ki] >= window || disk > 0 && a.disk[ki]+disk > k.DiskQuota {
		return false
	}
	grow := q.sharedOf(a, a.total+n) - q.sharedOf(a, a.total)
	return grow <= 0 || q.shared+grow <= q.cap/2
}

// check is a verdict that is remembered: the receive check of artifact §6.5.
type check struct {
	verdict Verdict // Delivered or Invalid
	expiry  time.Duration
	owner   *account
	id      ID
	node    listNode[*check]
}

// since is when the verdict was noted.
func (c *check) since() time.Duration { return c.expiry - checkLife }

// receiveCheck finds verdicts by id over all peers, while each peer's are limited apart, so that none can flush another's.
type receiveCheck struct {
	byID   map[ID]*check
	former account // owner of what peers left behind that are gone
}

func newReceiveCheck() *receiveCheck {
	r := &receiveCheck{byID: map[ID]*check{}}
	r.open(&r.former)
	return r
}

func (r *receiveCheck) open(a *account) { a.checked = true }

func (r *receiveCheck) put(a *account, id ID, v Verdict, now time.Duration) {
	if a == nil || !a.checked {
		a = &r.former
	}
	c := r.byID[id]
	if c == nil {
		c = &check{id: id}
		r.byID[id] = c
	} else {
		c.node.remove()
	}
	c.verdict, c.expiry = v, now+checkLife
	r.give(c, a)
}

// give makes a the owner, who forgets the oldest of what is too much.
func (r *receiveCheck) give(c *check, a *account) {
	c.owner = a
	a.checks.pushBack(&c.node, c)
	if a.checks.n > receiveChecks {
		r.drop(a.checks.front().v)
	}
}

func (r *receiveCheck) drop(c *check) {
	c.node.remove()
	delete(r.byID, c.id)
}

func (r *receiveCheck) forget(id ID) {
	if c := r.byID[id]; c != nil {
		r.drop(c)
	}
}

// get returns a verdict that has not expired.
func (r *receiveCheck) get(id ID, now time.Duration) *check {
	c := r.byID[id]
	if c != nil && c.expiry <= now {
		r.drop(c)
		return nil
	}
	return c
}

// expire forgets what has expired of one owner's, from the oldest on.
func (r *receiveCheck) expire(a *account, now time.Duration) {
	for n := a.checks.front(); n != nil && n.v.expiry <= now; n = a.checks.front() {
		r.drop(n.v)
	}
}

// leave hands the verdicts of a peer that is gone to the common owner.
func (r *receiveCheck) leave(a *account) {
	for n := a.checks.front(); n != nil; n = a.checks.front() {
		n.remove()
		r.give(n.v, &r.former)
	}
	a.checked = false
}
