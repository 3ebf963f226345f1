package topology

// What the reference does not check, and what it only warns of (governor §8.3). These run while the document is read, because
// only then are the positions at hand.

// checkGroup looks at one local-root group whose access points could all be read: tok is the group, points its accessPoints,
// hot and warm the valencies' tokens (0 when absent).
func (w *walker) checkGroup(g *Group, tok, points, hot, warm int, p *path) {
	members, addressesOnly := 0, true
	w.doc.elements(points, func(i, v int) {
		a := g.AccessPoints[i].identity()
		if _, taken := w.seen[a]; taken {
			q := p.key1("accessPoints")
			r := q.at(i)
			w.warn(v, &r, "%s is in a local-root group already; the first one counts", quote(a.String()))
			return
		}
		w.seen[a] = struct{}{}
		members++
		addressesOnly = addressesOnly && a.Kind == IP
	})
	list := p.key1("accessPoints")
	switch {
	case len(g.AccessPoints) == 0:
		w.warn(points, &list, "no access points: the group has no effect")
		return
	case members == 0:
		w.warn(points, &list, "all members are in earlier groups: the group has no effect")
		return
	case hot == 0:
		return // reported as missing
	}
	h := p.key1("hotValency")
	if hot != 0 && w.isKeyOf(tok, hot, "valency") {
		h = p.key1("valency")
	}
	n := p.key1("warmValency")
	switch {
	case g.HotValency <= 0:
		w.warn(hot, &h, "a hot valency of %d drops the group: to keep peers only warm is not possible", g.HotValency)
		return
	case addressesOnly && g.HotValency > int64(members):
		w.strict(hot, &h, "the hot valency %d cannot be reached: the group has %d member(s)", g.HotValency, members)
	}
	if warm == 0 {
		return
	}
	switch {
	case g.WarmValency <= 0:
		w.warn(warm, &n, "a warm valency of %d drops the group", g.WarmValency)
	case g.WarmValency < g.HotValency:
		w.warn(warm, &n, "the warm valency %d lowers the hot valency %d", g.WarmValency, g.HotValency)
	case addressesOnly && g.WarmValency > int64(members):
		w.warn(warm, &n, "the warm valency %d is above the group's %d member(s)", g.WarmValency, members)
	}
}

// isKeyOf tells whether the value token belongs to the given key of an object.
func (w *walker) isKeyOf(obj, value int, key string) bool {
	v, ok := w.doc.lookup(obj, key)
	return ok && v == value
}

// duplicates warns of access points that appear twice in the public roots or in the bootstrap list.
func (w *walker) duplicates(tok int, p *path, list []AccessPoint, seen map[AccessPoint]struct{}) {
	w.doc.elements(tok, func(i, v int) {
		a := list[i].identity()
		if a == (AccessPoint{}) {
			return // could not be read
		}
		if _, again := seen[a]; again {
			q := p.at(i)
			w.warn(v, &q, "%s appears twice", quote(a.String()))
		}
		seen[a] = struct{}{}
	})
}

// checkTopology looks at the whole file: f holds the tokens of topologyFields.
func (w *walker) checkTopology(t *Topology, f [5]int) {
	root := &path{}
	useLedger, snapshot, bootstrap := root.key1("useLedgerAfterSlot"), root.key1("peerSnapshotFile"), root.key1("bootstrapPeers")
	if t.BootstrapPeers != nil && len(t.BootstrapPeers) == 0 && !hasTrustable(t) {
		// cardano-node reads such a file and then refuses to start, before it looks at its mode.
		w.stops = true
		w.problem(Error, f[4], &bootstrap, "an empty list needs a trustable local root with an access point")
	}
	if w.opt.Genesis && t.BootstrapPeers != nil {
		w.warn(f[4], &bootstrap, "bootstrap peers are not used in Genesis mode")
	}
	enabled := t.UseLedger.Enabled()
	if w.opt.Producer && enabled {
		w.warn(f[2], &useLedger, "a block producer should not use ledger peers")
	}
	if w.opt.Producer && w.opt.PeerSharing {
		w.warn(0, root, "a block producer that shares peers gives its address away")
	}
	if t.PeerSnapshotFile != nil && !enabled && !w.opt.Genesis {
		w.warn(f[3], &snapshot, "the snapshot is not used while ledger peers are off")
	}
	if w.opt.Genesis && !w.opt.Producer {
		if !enabled {
			w.warn(f[2], &useLedger, "a relay in Genesis mode needs ledger peers")
		}
		if t.PeerSnapshotFile == nil {
			w.warn(f[3], &snapshot, "a relay in Genesis mode needs a peer snapshot")
		}
	}
}

func hasTrustable(t *Topology) bool {
	for _, g := range t.LocalRoots {
		if g.Trustable && len(g.AccessPoints) > 0 {
			return true
		}
	}
	return false
}
