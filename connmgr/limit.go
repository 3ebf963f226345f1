package connmgr

import (
	"container/list"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Limits of inbound connections (connmgr §0.2, §4.4). The zero value of a field takes its default.
type Limits struct {
	Hard    int           // inbound connections that have negotiated, at most; default 512
	Soft    int           // from here on new ones are delayed; default ¾ of Hard, 384 of 512
	Delay   time.Duration // the longest delay; default 5 s
	Reserve int           // part of Hard that only protected addresses (local roots) may use; default 1/32 of Hard, 16 of 512; negative: none
	// Unnegotiated is how many accepted sockets may be parked, shaking hands or waiting for the other end to close; default 256.
	// It is apart from Hard. One IPv4 /24 or IPv6 /48 gets a quarter of it.
	Unnegotiated int
}

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&l.Hard, 512)
	def(&l.Soft, l.Hard*3/4)
	def(&l.Reserve, l.Hard/32)
	l.Reserve = max(l.Reserve, 0)
	def(&l.Unnegotiated, 256)
	if l.Delay == 0 {
		l.Delay = 5 * time.Second
	}
	return l
}

// Validate reports every problem at once.
func (l Limits) Validate() error {
	var errs []error
	l = l.withDefaults()
	if l.Hard < 0 || l.Soft < 0 || l.Delay < 0 || l.Unnegotiated < 0 {
		errs = append(errs, fmt.Errorf("connmgr: negative limit in %+v", l))
	}
	if l.Soft > l.Hard {
		errs = append(errs, fmt.Errorf("connmgr: soft limit %d above hard limit %d", l.Soft, l.Hard))
	}
	if l.Reserve >= l.Hard {
		errs = append(errs, fmt.Errorf("connmgr: the reserve of %d leaves nothing of the hard limit %d", l.Reserve, l.Hard))
	}
	return errors.Join(errs...)
}

// softDelay is the formula of connmgr §4.3.
func (l Limits) softDelay(inbound int) time.Duration {
	if inbound < l.Soft {
		return 0
	}
	return time.Duration(inbound-l.Soft) * l.Delay / time.Duration(max(l.Hard-l.Soft, 1))
}

// verdict is what happens to a socket.
type verdict uint8

const (
	verdictHandshake verdict = iota
	verdictPark              // keep the descriptor and nothing else until its delay is over
	verdictReset
)

// phase of a socket in the un-negotiated budget.
type phase uint8

const (
	phaseParked   phase = iota
	phaseShaking        // no complete proposal yet
	phaseProposed       // has sent a complete proposal
	phaseClosing        // refused or answered; waits for the other end to close (connmgr §1.9)
)

// String is the phase in a word, as Explain has it.
func (p phase) String() string { return [...]string{"parked", "handshake", "answered", "lingers"}[p] }

// limiter classifies accepted sockets and keeps the un-negotiated budget: pure, bounded by Limits.Unnegotiated entries. Finding
// whom to evict is O(budget), everything else O(1) or O(log budget).
//
// The caps do not remember anybody: what counts is only what is open now, so they decay as sockets close, a refused attempt
// costs the next one nothing, and the newest socket always gets in.
type limiter struct {
	cfg      Limits
	order    list.List // of *unnegotiated, oldest first
	bySock   map[sockID]*list.Element
	prefixes map[netip.Prefix]int
	parked   timers
	counters LimiterCounters
}

// LimiterCounters make the accept path observable.
type LimiterCounters struct {
	Unnegotiated int // in the budget now
	Parked       int // of which parked
	Accepted     int // since start, as all below
	Delayed      int
	Refused      int // reset at the limit
	Evicted      int // had to make room in the budget
	AcceptErrors int
	LastDelay    time.Duration // of the last socket that was delayed
}

type unnegotiated struct {
	sock      sockID
	remote    netip.AddrPort
	prefix    netip.Prefix
	protected bool
	exempt    bool // from the cap of its prefix
	phase     phase
	until     time.Duration // of phaseParked and phaseClosing
}

func newLimiter(cfg Limits) *limiter {
	return &limiter{cfg: cfg, bySock: map[sockID]*list.Element{}, prefixes: map[netip.Prefix]int{}}
}

// admission is the answer to an accepted socket.
type admission struct {
	verdict verdict
	until   time.Duration // of verdictPark
	refusal *Refusal      // of verdictReset
	evict   sockID        // another socket to reset first, 0: none
	evicted *Refusal      // why
}

// accept classifies a fresh socket; inbound is the number of negotiated inbound connections. What is not reset is in the budget
// until gone is called.
func (l *limiter) accept(now time.Duration, s sockID, remote netip.AddrPort, protected bool, inbound int) admission {
	l.counters.Accepted++
	a := l.classify(remote, protected, inbound)
	if a.verdict == verdictReset {
		return a
	}
	addr := remote.Addr().Unmap()
	u := &unnegotiated{sock: s, remote: remote, prefix: prefixOf(addr), protected: protected, exempt: protected || addr.IsLoopback(), phase: phaseShaking}
	a.evict, a.evicted = l.makeRoom(u)
	l.bySock[s] = l.order.PushBack(u)
	if !u.exempt {
		l.prefixes[u.prefix]++
	}
	l.counters.Unnegotiated++
	if delay := l.cfg.softDelay(inbound); delay > 0 && !protected {
		u.phase = phaseParked
		a.verdict, a.until = verdictPark, now+delay
		u.until = a.until
		l.parked.set(RecordID(s), timerHandshake, a.until)
		l.counters.Parked++
		l.counters.Delayed++
		l.counters.LastDelay = delay
	}
	return a
}

// classify is the table of connmgr §4.4 without the delay.
func (l *limiter) classify(remote netip.AddrPort, protected bool, inbound int) admission {
	limit := l.cfg.Hard - l.cfg.Reserve
	if protected {
		limit = l.cfg.Hard
	}
	if inbound >= limit {
		l.counters.Refused++
		return admission{verdict: verdictReset, refusal: &Refusal{Scope: "inbound connections", Limit: limit, InUse: inbound, Remote: remote}}
	}
	return admission{verdict: verdictHandshake}
}

// makeRoom evicts one socket if the budget, or the newcomer's prefix, is full.
func (l *limiter) makeRoom(u *unnegotiated) (sockID, *Refusal) {
	inPrefix := func(o *unnegotiated) bool { return !o.exempt && o.prefix == u.prefix }
	if cap := max(l.cfg.Unnegotiated/4, 1); !u.exempt && l.prefixes[u.prefix] >= cap {
		v := l.oldest(inPrefix)
		return l.evict(v, &Refusal{Scope: "un-negotiated sockets of " + u.prefix.String(), Limit: cap, InUse: l.prefixes[u.prefix], Remote: v.remote, Reason: ErrEvicted})
	}
	if l.order.Len() < max(l.cfg.Unnegotiated, 1) {
		return 0, nil
	}
	v := l.oldest(func(o *unnegotiated) bool { return !o.protected })
	if v == nil {
		v = l.oldest(func(*unnegotiated) bool { return true })
	}
	return l.evict(v, &Refusal{Scope: "un-negotiated sockets", Limit: l.cfg.Unnegotiated, InUse: l.order.Len(), Remote: v.remote, Reason: ErrEvicted})
}

// oldest finds the oldest of some sockets that has sent no complete proposal or, if all have, the oldest.
func (l *limiter) oldest(among func(*unnegotiated) bool) *unnegotiated {
	var first *unnegotiated
	for e := l.order.Front(); e != nil; e = e.Next() {
		u := e.Value.(*unnegotiated)
		if !among(u) {
			continue
		}
		if u.phase < phaseProposed {
			return u
		}
		if first == nil {
			first = u
		}
	}
	return first
}

func (l *limiter) evict(u *unnegotiated, why *Refusal) (sockID, *Refusal) {
	l.gone(u.sock)
	l.counters.Evicted++
	return u.sock, why
}

// release returns the next parked socket whose delay is over, classified again: the handshake begins now, or the limit has been
// reached meanwhile. ok is false when none is due.
func (l *limiter) release(now time.Duration, inbound int) (s sockID, a admission, ok bool) {
	key, ok := l.parked.pop(now)
	if !ok {
		return 0, a, false
	}
	s = sockID(key.id)
	u := l.bySock[s].Value.(*unnegotiated)
	l.counters.Parked--
	u.phase = phaseShaking
	a = l.classify(u.remote, u.protected, inbound)
	if a.verdict == verdictReset {
		l.gone(s)
	}
	return s, a, true
}

// nextTimer returns when release has something to do.
func (l *limiter) nextTimer() (time.Duration, bool) { return l.parked.next() }

// find returns a socket of the budget, nil if it is not there.
func (l *limiter) find(s sockID) *unnegotiated {
	if e := l.bySock[s]; e != nil {
		return e.Value.(*unnegotiated)
	}
	return nil
}

// proposed notes that a socket has sent a complete proposal, closing that its handshake ended without a connection and that it
// waits for the other end, at most until a moment.
func (l *limiter) proposed(s sockID) { l.advance(s, phaseProposed) }
func (l *limiter) closing(s sockID, until time.Duration) {
	l.advance(s, phaseClosing)
	if u := l.find(s); u != nil {
		u.until = until
	}
}

func (l *limiter) advance(s sockID, p phase) {
	if u := l.find(s); u != nil {
		l.unpark(u)
		u.phase = max(u.phase, p)
	}
}

func (l *limiter) unpark(u *unnegotiated) {
	if u.phase == phaseParked {
		u.phase = phaseShaking
		l.parked.stop(RecordID(u.sock), timerHandshake)
		l.counters.Parked--
	}
}

// gone takes a socket out of the budget: it has negotiated or is closed. It tells whether it was there.
func (l *limiter) gone(s sockID) bool {
	e := l.bySock[s]
	if e == nil {
		return false
	}
	u := l.order.Remove(e).(*unnegotiated)
	delete(l.bySock, s)
	l.unpark(u)
	if !u.exempt {
		if l.prefixes[u.prefix]--; l.prefixes[u.prefix] == 0 {
			delete(l.prefixes, u.prefix)
		}
	}
	l.counters.Unnegotiated--
	return true
}

// acceptBackoff is how an accept loop survives errors (connmgr §4.4, §11 item 7): 5 ms after the first, doubling to 1 s.
type acceptBackoff struct{ pause time.Duration }

// failed returns how long to wait before the next accept; fatal errors are those of a listener that is closed or is none.
func (b *acceptBackoff) failed(err error) (pause time.Duration, fatal bool) {
	for _, f := range []error{net.ErrClosed, syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, syscall.EOPNOTSUPP} {
		if errors.Is(err, f) {
			return 0, true
		}
	}
	b.pause = min(max(2*b.pause, 5*time.Millisecond), time.Second)
	return b.pause, false
}

func (b *acceptBackoff) succeeded() { b.pause = 0 }
