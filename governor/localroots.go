package governor

import (
	"net/netip"
	"slices"
	"time"
)

// group is a local root group in force, with how many of its members are in each place.
type group struct {
	LocalRootGroup
	ids []uint32
	n   [places]int
}

func (g *group) established() int {
	n := 0
	for p := warmReady; p < places; p++ {
		n += g.n[p]
	}
	return n
}

func (g *group) active() int { return g.n[hot] + g.n[deactivating] }

// normaliseLocalRoots applies the rules of governor §2, left to right: an address of an earlier group is dropped from later ones;
// warm is at most the size, hot at most warm; groups which then have a valency of zero vanish, but their addresses
// stay taken. A group whose names have not resolved yet has no members and vanishes until they do.
func normaliseLocalRoots(groups []LocalRootGroup) []LocalRootGroup {
	taken := map[netip.AddrPort]bool{}
	var out []LocalRootGroup
	for _, g := range groups {
		var members []netip.AddrPort
		for _, m := range g.Members {
			if m.IsValid() && !taken[m] {
				taken[m] = true
				members = append(members, m)
			}
		}
		slices.SortFunc(members, netip.AddrPort.Compare)
		g.Members = members
		if g, ok := withValencies(g); ok {
			out = append(out, g)
		}
	}
	return out
}

func withValencies(g LocalRootGroup) (LocalRootGroup, bool) {
	g.Warm = min(g.Warm, len(g.Members))
	g.Hot = min(g.Hot, g.Warm)
	return g, g.Warm > 0 && g.Hot > 0
}

// clampLocalRoots keeps at most limit members, in the order of the groups; the last one is truncated in the order of addresses,
// its valencies follow.
func clampLocalRoots(groups []LocalRootGroup, limit int) []LocalRootGroup {
	var out []LocalRootGroup
	for _, g := range groups {
		g.Members = g.Members[:min(len(g.Members), limit)]
		limit -= len(g.Members)
		if g, ok := withValencies(g); ok {
			out = append(out, g)
		}
	}
	return out
}

// trustableLocalRoots keeps the trustable groups.
func trustableLocalRoots(groups []LocalRootGroup) []LocalRootGroup {
	var out []LocalRootGroup
	for _, g := range groups {
		if g.Trustable {
			out = append(out, g)
		}
	}
	return out
}

func sameGroups(a, b []LocalRootGroup) bool {
	return slices.EqualFunc(a, b, func(g, h LocalRootGroup) bool {
		return g.Hot == h.Hot && g.Warm == h.Warm && g.Advertise == h.Advertise && g.Trustable == h.Trustable &&
			g.InboundOnly == h.InboundOnly && g.InitiatorOnly == h.InitiatorOnly && slices.Equal(g.Members, h.Members)
	})
}

func cloneGroups(gs []LocalRootGroup) []LocalRootGroup {
	out := slices.Clone(gs)
	for i := range out {
		out[i].Members = slices.Clone(out[i].Members)
	}
	return out
}

// localRootsChanged puts the offered local roots in force, normalised and clamped, unless we are draining (governor §7).
func (c *Core) localRootsChanged() verdict {
	if !c.localDirty || c.draining() {
		return skip
	}
	c.localDirty = false
	want := normaliseLocalRoots(c.localOffered)
	if c.sensitive() {
		want = trustableLocalRoots(want)
	}
	want = clampLocalRoots(want, c.targets.Known)
	if sameGroups(want, c.applied) {
		return skip
	}
	c.putLocalRoots(want)
	if c.sensitive() && !c.trustedOnly() {
		// Somebody known is not trusted any more: go through the transition again.
		c.onlyTrusted, c.tooOld = false, false
	}
	return did
}

// putLocalRoots makes groups the local roots. Those who are no longer among them stay known as ordinary peers, and the hot ones
// become warm at once, so that a replacement may be promoted.
func (c *Core) putLocalRoots(groups []LocalRootGroup) {
	// Take everybody out of the old groups, put them into the new ones, and see who is left.
	var former []uint32
	for i := range c.groups {
		for _, id := range c.groups[i].ids {
			p := c.at(id)
			c.reclass(p, classPlain)
			p.group = -1
			former = append(former, id)
		}
	}
	old := map[uint32]bool{}
	for _, id := range former {
		old[id] = true
	}
	c.applied, c.groups, c.trusted = groups, make([]group, len(groups)), 0
	total := 0
	var added, removed []netip.AddrPort
	for i, g := range groups {
		c.groups[i].LocalRootGroup = g
		total += len(g.Members)
		for _, a := range g.Members {
			p := c.find(a)
			if p == nil {
				p = c.learn(a, classPlain, SourceLocal, unknown)
			}
			if !old[p.id] {
				added = append(added, a)
				c.touch(p, -1, -1, -1)
			}
			delete(old, p.id)
			due := c.dueOf(p)
			c.leave(p)
			p.class, p.group, p.source = classLocal, int16(i), SourceLocal
			p.clear(condemned | unblamed)
			c.groups[i].ids = append(c.groups[i].ids, p.id)
			c.enter(p, due)
			// [REF-BUG] The reference leaves the flag of those who were local roots already as it was.
			p.advertise = answerOf(g.Advertise)
			c.salt.update(p)
			if g.Trustable {
				c.trusted++
			}
		}
	}
	var demote []*peer
	for _, id := range former {
		p := c.at(id)
		if !old[id] {
			continue
		}
		p.source = SourceFormer
		c.touch(p, -1, -1, -1)
		removed = append(removed, p.addr)
		if p.place == hot {
			demote = append(demote, p)
		}
	}
	t := c.trace("LocalRootPeersChanged", -1, total, -1, "", added...)
	if len(removed) > 0 {
		t.Note = "removed" + joined(removed)
	}
	if len(demote) > 0 {
		c.deactivate("DemoteHotPeers", -1, len(demote), len(demote), demote)
	}
}

func joined(as []netip.AddrPort) string {
	s := ""
	for _, a := range as {
		s += " " + a.String()
	}
	return s
}

// pickMembers asks the policy for members of one group in a place.
func (c *Core) pickMembers(what PickKind, n int, g *group, in place) ([]*peer, int) {
	ids := make([]uint32, 0, g.n[in])
	for _, id := range g.ids {
		if c.at(id).place == in {
			ids = append(ids, id)
		}
	}
	c.from = append(c.from[:0], ids)
	return c.choose(what, n)
}

// groupWaiting is the earliest time a member stops waiting.
func (c *Core) groupWaiting(g *group, in place) time.Duration {
	t := Never
	if g.n[in] == 0 {
		return t
	}
	for _, id := range g.ids {
		if p := c.at(id); p.place == in {
			t = min(t, c.dueOf(p))
		}
	}
	return t
}
