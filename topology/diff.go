package topology

import (
	"fmt"
	"slices"
	"strings"
)

// Changes is what a new topology changes. Lists are in the order of the topology they come from: Connect and Keep in that of
// the new one, Drop in that of the old one.
type Changes struct {
	// Local, Public and Bootstrap compare the access points of the local roots, the public roots and the bootstrap list. A
	// local root of a group that has no effect (no access points, a valency of 0 or less) does not count.
	Local, Public, Bootstrap PointChanges
	// Groups holds the groups of local roots that stay, perhaps with other members, and whose settings differ.
	Groups []GroupChange
	// Advertise holds the public roots that stay with their willingness to be shared turned round.
	Advertise []AccessPoint
	// The remaining settings, old and new.
	UseLedger    [2]UseLedger
	UseBootstrap [2]bool
	SnapshotFile [2]string // "" when there is none
}

// PointChanges says which access points a change connects, drops and keeps. Every access point of either side is in exactly
// one of the lists.
type PointChanges struct{ Connect, Drop, Keep []AccessPoint }

// GroupChange is a group of local roots in the old and in the new topology, which the access points they share make the same
// group.
type GroupChange struct {
	OldIndex, NewIndex int // counted from 0 in LocalRoots
	Old, New           Group
	Shared             []AccessPoint
}

// Empty tells whether nothing changes.
func (c *Changes) Empty() bool {
	return c.Local.empty() && c.Public.empty() && c.Bootstrap.empty() && len(c.Groups) == 0 && len(c.Advertise) == 0 &&
		c.UseLedger[0] == c.UseLedger[1] && c.UseBootstrap[0] == c.UseBootstrap[1] && c.SnapshotFile[0] == c.SnapshotFile[1]
}

func (c *PointChanges) empty() bool { return len(c.Connect) == 0 && len(c.Drop) == 0 }

// String lists the changes, one a line.
func (c *Changes) String() string {
	var b strings.Builder
	list := func(what string, l []AccessPoint) {
		for _, a := range l {
			fmt.Fprintf(&b, "%s %s\n", what, a)
		}
	}
	list("connect local root", c.Local.Connect)
	list("drop local root", c.Local.Drop)
	for _, g := range c.Groups {
		fmt.Fprintf(&b, "change group %d:", g.NewIndex)
		set := func(name string, old, new any) {
			if old != new {
				fmt.Fprintf(&b, " %s %v → %v", name, old, new)
			}
		}
		set("hotValency", g.Old.HotValency, g.New.HotValency)
		set("warmValency", g.Old.WarmValency, g.New.WarmValency)
		set("advertise", g.Old.Advertise, g.New.Advertise)
		set("trustable", g.Old.Trustable, g.New.Trustable)
		set("behindFirewall", g.Old.BehindFirewall, g.New.BehindFirewall)
		set("diffusionMode", g.Old.DiffusionMode, g.New.DiffusionMode)
		b.WriteByte('\n')
	}
	list("add public root", c.Public.Connect)
	list("drop public root", c.Public.Drop)
	list("advertise otherwise public root", c.Advertise)
	list("add bootstrap peer", c.Bootstrap.Connect)
	list("drop bootstrap peer", c.Bootstrap.Drop)
	if u := c.UseBootstrap; u[0] != u[1] {
		fmt.Fprintf(&b, "bootstrap peers %v → %v\n", u[0], u[1])
	}
	if u := c.UseLedger; u[0] != u[1] {
		fmt.Fprintf(&b, "ledger peers %s → %s\n", u[0], u[1])
	}
	if s := c.SnapshotFile; s[0] != s[1] {
		fmt.Fprintf(&b, "peer snapshot %q → %q\n", s[0], s[1])
	}
	return b.String()
}

// String renders the setting as people say it.
func (u UseLedger) String() string {
	if u.Mode == LedgerAfter {
		return fmt.Sprintf("after slot %d", u.Slot)
	}
	return u.Mode.String()
}

// Diff says what changes from one topology to another. It is linear in their sizes.
func Diff(old, new *Topology) Changes {
	c := Changes{
		UseLedger:    [2]UseLedger{old.UseLedger, new.UseLedger},
		UseBootstrap: [2]bool{old.UsesBootstrap(), new.UsesBootstrap()},
		SnapshotFile: [2]string{old.snapshotFile(), new.snapshotFile()},
		Bootstrap:    diffPoints(old.BootstrapPeers, new.BootstrapPeers),
	}
	before, oldOwner := effectiveMembers(old)
	after, newOwner := effectiveMembers(new)
	c.Local = diffPoints(before, after)
	c.Groups = diffGroups(old, new, c.Local.Keep, oldOwner, newOwner)
	oldPublic, oldShared := publicPoints(old)
	newPublic, newShared := publicPoints(new)
	c.Public = diffPoints(oldPublic, newPublic)
	for _, a := range c.Public.Keep {
		if oldShared[a.identity()] != newShared[a.identity()] {
			c.Advertise = append(c.Advertise, a)
		}
	}
	return c
}

func (t *Topology) snapshotFile() string {
	if t.PeerSnapshotFile == nil {
		return ""
	}
	return *t.PeerSnapshotFile
}

// effectiveMembers lists the local roots that count, the first group of each having it, and maps each to its group.
func effectiveMembers(t *Topology) (list []AccessPoint, owner map[AccessPoint]int) {
	owner = make(map[AccessPoint]int)
	for i, g := range t.LocalRoots {
		idle := g.HotValency <= 0 || g.WarmValency <= 0
		for _, a := range g.AccessPoints {
			id := a.identity()
			if _, taken := owner[id]; taken {
				continue
			}
			owner[id] = i
			if idle {
				owner[id] = -1
			} else {
				list = append(list, a)
			}
		}
	}
	return list, owner
}

func publicPoints(t *Topology) (list []AccessPoint, advertise map[AccessPoint]bool) {
	advertise = make(map[AccessPoint]bool)
	for _, r := range t.PublicRoots {
		for _, a := range r.AccessPoints {
			if _, again := advertise[a.identity()]; !again {
				advertise[a.identity()] = r.Advertise
				list = append(list, a)
			}
		}
	}
	return list, advertise
}

func diffPoints(old, new []AccessPoint) PointChanges {
	var c PointChanges
	had, has := make(map[AccessPoint]bool, len(old)), make(map[AccessPoint]bool, len(new))
	for _, a := range old {
		had[a.identity()] = true
	}
	for _, a := range new {
		id := a.identity()
		if has[id] {
			continue
		}
		has[id] = true
		if had[id] {
			c.Keep = append(c.Keep, a)
		} else {
			c.Connect = append(c.Connect, a)
		}
	}
	for _, a := range old {
		if id := a.identity(); !has[id] {
			has[id] = true
			c.Drop = append(c.Drop, a)
		}
	}
	return c
}

// diffGroups pairs each new group with the old one that it shares most access points with (the earlier of equals) and that no
// earlier group has taken.
func diffGroups(old, new *Topology, kept []AccessPoint, oldOwner, newOwner map[AccessPoint]int) []GroupChange {
	shared := make([][]AccessPoint, len(new.LocalRoots))
	for _, a := range kept {
		i := newOwner[a.identity()]
		shared[i] = append(shared[i], a)
	}
	taken := make([]bool, len(old.LocalRoots))
	var out []GroupChange
	for i, points := range shared {
		votes := make(map[int]int)
		best := -1
		for _, a := range points {
			o := oldOwner[a.identity()]
			votes[o]++
			if !taken[o] && (best < 0 || votes[o] > votes[best] || votes[o] == votes[best] && o < best) {
				best = o
			}
		}
		if best < 0 {
			continue
		}
		taken[best] = true
		g, h := old.LocalRoots[best], new.LocalRoots[i]
		if sameSettings(g, h) {
			continue
		}
		points = slices.DeleteFunc(points, func(a AccessPoint) bool { return oldOwner[a.identity()] != best })
		out = append(out, GroupChange{OldIndex: best, NewIndex: i, Old: g, New: h, Shared: points})
	}
	return out
}

func sameSettings(a, b Group) bool {
	return a.HotValency == b.HotValency && a.WarmValency == b.WarmValency && a.Advertise == b.Advertise &&
		a.Trustable == b.Trustable && a.BehindFirewall == b.BehindFirewall && a.DiffusionMode == b.DiffusionMode
}
