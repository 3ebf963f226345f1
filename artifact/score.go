package artifact

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Misconduct is a row of artifact §6.9.
type Misconduct uint8

// The rows that have an action.
const (
	Violation      Misconduct = iota // of protocol, limits, credits or hashes that nobody else can have caused
	WrongHash                        // on a bearer that is not authenticated: may be a hijacker's
	InvalidForever                   // an artifact that can never be valid, supplied
	AttrForged                       // attr does not match the body
	ClaimForged                      // size or chunking differ from the verified manifest or body
	NotFoundLong                     // offers, serves notFound, never withdraws
	TimedOut
)

// Scores is the misbehaviour table: one number per (IP, nodeId), from 0 down, recovering 1 a minute; ≤ −100 bans for an hour.
// At most 4,096 are kept, least recently touched first out; the counts "third time" and "2 within 10 min" stand beside them.
type Scores struct {
	who   *simplelru.LRU[scoreKey, *score]
	addrs *simplelru.LRU[netip.Addr, *addrBans]
}

type scoreKey struct {
	addr netip.Addr
	id   PeerID
}

type score struct {
	value   float64
	at      time.Duration
	banned  time.Duration // until
	hashes  int
	invalid time.Duration // when the last was supplied
	once    bool          // invalid is set
}

type addrBans struct {
	ids    [3]PeerID
	at     [3]time.Duration
	n      int
	banned time.Duration
}

// BannedError is a peer that may not connect.
type BannedError struct{ For time.Duration }

// Error says how long the ban still lasts.
func (e *BannedError) Error() string { return "artifact: peer is banned for " + e.For.String() }

// RetryAfter is how long the ban still lasts.
func (e *BannedError) RetryAfter() time.Duration { return e.For }

// Fault is the peer's.
func (e *BannedError) Fault() string { return "adversarial" }

// SlowError tells a Judge, at most once a minute and without a score, that half or more of what a peer was asked for lately came
// too late or not at all: somebody who governs connections may want to do without it (artifact §6.9).
type SlowError struct {
	Peer            PeerID
	TimedOut, Asked int // requests of about the last minute
}

// Error names the peer, in hexadecimal digits, and how many of how many requests timed out.
func (e *SlowError) Error() string {
	return fmt.Sprintf("artifact: %d of the last %d requests to %x timed out", e.TimedOut, e.Asked, e.Peer)
}

// Fault is nobody's but the network's.
func (e *SlowError) Fault() string { return "network" }

func newScores() *Scores {
	s := &Scores{}
	s.who, _ = simplelru.NewLRU[scoreKey, *score](scoreEntries, nil)
	s.addrs, _ = simplelru.NewLRU[netip.Addr, *addrBans](scoreEntries, nil)
	return s
}

func prefixOf(a netip.Addr) netip.Addr {
	if a.Is6() && !a.Is4In6() {
		p, _ := a.Prefix(64)
		return p.Addr()
	}
	return a.Unmap()
}

func (s *Scores) of(addr netip.Addr, id PeerID, now time.Duration) *score {
	k := scoreKey{prefixOf(addr), id}
	x, ok := s.who.Get(k)
	if !ok {
		x = &score{at: now}
		s.who.Add(k, x)
	}
	x.value = min(0, x.value+(now-x.at).Minutes())
	x.at = now
	return x
}

// Banned returns how long the ban of (addr, id) still lasts, 0 if there is none.
func (s *Scores) Banned(addr netip.Addr, id PeerID, now time.Duration) time.Duration {
	left := s.BannedAddr(addr, now)
	if x, ok := s.who.Peek(scoreKey{prefixOf(addr), id}); ok {
		left = max(left, x.banned-now)
	}
	return max(left, 0)
}

// BannedAddr is Banned for an address alone, at accept; never for a loopback one.
func (s *Scores) BannedAddr(addr netip.Addr, now time.Duration) time.Duration {
	if x, ok := s.addrs.Peek(prefixOf(addr)); ok {
		return max(x.banned-now, 0)
	}
	return 0
}

// Value is the present score, ≤ 0.
func (s *Scores) Value(addr netip.Addr, id PeerID, now time.Duration) int {
	return int(s.of(addr, id, now).value)
}

// sentence is what follows from one misconduct.
type sentence struct {
	score int
	ban   time.Duration // 0: none; otherwise disconnect
}

func (s *Scores) judge(addr netip.Addr, id PeerID, now time.Duration, m Misconduct) sentence {
	x := s.of(addr, id, now)
	v := sentence{}
	switch m {
	case Violation:
		v.ban = banFor
	case WrongHash:
		v.score = -20
		x.hashes++
		if x.hashes >= 3 {
			x.hashes, v.ban = 0, banFor
		}
	case InvalidForever:
		v.score = -50
		if x.once && now-x.invalid <= 10*time.Minute {
			v.ban, x.once = banFor, false
		} else {
			x.once, x.invalid = true, now
		}
	case AttrForged, ClaimForged:
		v.score = -50
	case NotFoundLong:
		v.score = -5
	case TimedOut:
		v.score = -1
	}
	x.value += float64(v.score)
	if x.value <= banScore {
		v.ban = banFor
	}
	if v.ban > 0 {
		x.value, x.banned = 0, now+v.ban
		s.addrBan(addr, id, now)
	}
	return v
}

// addrBan bans an address alone after 3 different banned ids of it within 10 minutes.
func (s *Scores) addrBan(addr netip.Addr, id PeerID, now time.Duration) {
	if addr.Unmap().IsLoopback() || !addr.IsValid() {
		return
	}
	a := prefixOf(addr)
	x, ok := s.addrs.Get(a)
	if !ok {
		x = &addrBans{}
		s.addrs.Add(a, x)
	}
	for i := 0; i < x.n; i++ {
		if x.ids[i] == id {
			x.at[i] = now
			return
		}
	}
	if x.n == len(x.ids) {
		copy(x.ids[:], x.ids[1:])
		copy(x.at[:], x.at[1:])
		x.n--
	}
	x.ids[x.n], x.at[x.n] = id, now
	x.n++
	if x.n == len(x.ids) && now-x.at[0] <= 10*time.Minute {
		x.banned = now + banFor
	}
}

// errTimeout and friends are the causes named to a Judge.
var (
	errTimeout      = errors.New("artifact: a request was not answered in time")
	errNotFoundLong = errors.New("artifact: offered, not found, and not withdrawn for 10 s")
	errForgedAttr   = errors.New("artifact: attr does not match the body")
	errForgedClaim  = errors.New("artifact: size or chunking differ from the verified manifest or body")
	errInvalid      = errors.New("artifact: supplied something that can never be valid")
	errWrongHash    = errors.New("artifact: wrong hash")
	errDripping     = errors.New("artifact: a lane was silent for 60 s or slower than 4 KiB/s")
)
