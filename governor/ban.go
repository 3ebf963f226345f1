package governor

import (
	"net/netip"
	"time"
)

// maxBans bounds the list of bans; the oldest goes first (governor §11).
const maxBans = 4096

// banList holds short expiring bans for proven misbehaviour, by address and port: never a bare IP address, which may stand
// for many. An expired entry keeps its level for a while, so that repetition doubles.
type banList struct {
	entries map[netip.AddrPort]ban // look-ups only: never ranged over
	order   []netip.AddrPort       // oldest first
}

type ban struct {
	until time.Duration
	level int
	why   string
}

func newBanList() banList { return banList{entries: map[netip.AddrPort]ban{}} }

// add bans a for first, twice that at the next time, up to most, and returns how long.
func (l *banList) add(a netip.AddrPort, now, first, most time.Duration, why string) time.Duration {
	b, known := l.entries[a]
	if known && now < b.until+most {
		b.level++
	} else {
		b.level = 0
	}
	d := most
	if b.level < 16 {
		d = min(first<<b.level, most)
	}
	b.until, b.why = now+d, why
	if known {
		for i, o := range l.order {
			if o == a {
				l.order = append(l.order[:i], l.order[i+1:]...)
				break
			}
		}
	} else if len(l.order) >= maxBans {
		delete(l.entries, l.order[0])
		l.order = append(l.order[:0], l.order[1:]...)
	}
	l.entries[a] = b
	l.order = append(l.order, a)
	return d
}

func (l *banList) has(a netip.AddrPort, now time.Duration) bool {
	b, ok := l.entries[a]
	return ok && now < b.until
}

func (l *banList) clone() banList {
	c := banList{make(map[netip.AddrPort]ban, len(l.entries)), append([]netip.AddrPort(nil), l.order...)}
	for _, a := range l.order {
		c.entries[a] = l.entries[a]
	}
	return c
}

// Banned reports whether a peer is banned now. Local roots never are.
func (c *Core) Banned(a netip.AddrPort) bool {
	if p := c.find(a); p != nil && p.class == classLocal {
		return false
	}
	return c.bans.has(a, c.now)
}

// reported takes the application's word for it.
func (c *Core) reported(e Reported) {
	p := c.find(e.Peer)
	switch {
	case e.Good:
		if p != nil && p.score < 1<<14 {
			p.score++
			c.alive(p)
		}
	case p != nil:
		c.punish(p, e.Reason)
	default:
		c.ban(e.Peer, e.Reason)
	}
}

// punish is for proven misbehaviour: the peer is disconnected, banned and forgotten. A local root is disconnected and backed off.
func (c *Core) punish(p *peer, why string) {
	if p.score > -1<<14 {
		p.score--
	}
	if p.class != classLocal {
		c.ban(p.addr, why)
	}
	p.set(condemned)
	p.clear(backedOff) // what is to come is no back-off that a call lifts
	c.salt.update(p)
	c.touch(p, -1, -1, -1)
	switch {
	case p.place == connecting, p.place == closing, p.place == deactivating, p.has(pausing):
		// What runs already ends with this peer cold, or comes back here.
	case p.place.established() && p.seen >= Warm:
		c.close(p)
	case p.place == cooling && p.seen == Cooling:
		// It is on its way.
	default:
		c.chill(p, 0)
	}
}

func (c *Core) ban(a netip.AddrPort, why string) {
	d := c.bans.add(a, c.now, c.cfg.Timing.BanFirst, c.cfg.Timing.BanMost, why)
	c.tell("Banned", why, a).Delay = d
}
