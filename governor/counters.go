package governor

import "time"

// Counters is a snapshot of what governor §9.1 names: field X is the metric peerSelection.X. Known, Established and Active count all
// but big ledger peers. Promotions and demotions are those in progress.
type Counters struct {
	RootPeers int

	KnownPeers, ColdPeersPromotions, EstablishedPeers, WarmPeersDemotions, WarmPeersPromotions, ActivePeers, ActivePeersDemotions int

	KnownBigLedgerPeers, ColdBigLedgerPeersPromotions, EstablishedBigLedgerPeers, WarmBigLedgerPeersDemotions,
	WarmBigLedgerPeersPromotions, ActiveBigLedgerPeers, ActiveBigLedgerPeersDemotions int

	KnownLocalRootPeers, ColdLocalRootPeersPromotions, EstablishedLocalRootPeers, WarmLocalRootPeersPromotions, ActiveLocalRootPeers,
	ActiveLocalRootPeersDemotions int

	KnownNonRootPeers, ColdNonRootPeersPromotions, EstablishedNonRootPeers, WarmNonRootPeersDemotions, WarmNonRootPeersPromotions,
	ActiveNonRootPeers, ActiveNonRootPeersDemotions int

	KnownBootstrapPeers, ColdBootstrapPeersPromotions, EstablishedBootstrapPeers, WarmBootstrapPeersDemotions,
	WarmBootstrapPeersPromotions, ActiveBootstrapPeers, ActiveBootstrapPeersDemotions int

	// Computed by the reference and not exported there.
	AvailableToConnectPeers, AvailableToConnectBigLedgerPeers, AvailableToConnectLocalRootPeers int

	// Ours.
	CoolingPeers, BannedPeers int
	Outage                    bool // own outage: nobody is blamed
	Groups                    []GroupCounters
	Decisions                 map[string]uint64        // decisions taken, by name
	Churn                     map[string]ChurnCounters // by action: DecreasedActivePeers, …
}

// GroupCounters are those of one local root group, in the order of the topology, vanished groups left out.
type GroupCounters struct{ HotValency, WarmValency, Known, Established, Active int }

// ChurnCounters are those of the last time a step ran.
type ChurnCounters struct {
	Duration time.Duration
	Delta    int // peers
}

// Names gives the metrics by their names in cardano-node, without the prefix "cardano.node.metrics.", the deprecated ones which
// dashboards use included. [REF-BUG] The reference swaps WarmLocalRoots and HotLocalRoots; here they are what they say.
func (k Counters) Names() map[string]float64 {
	n := map[string]int{
		"RootPeers":  k.RootPeers,
		"KnownPeers": k.KnownPeers, "ColdPeersPromotions": k.ColdPeersPromotions, "EstablishedPeers": k.EstablishedPeers,
		"WarmPeersDemotions": k.WarmPeersDemotions, "WarmPeersPromotions": k.WarmPeersPromotions, "ActivePeers": k.ActivePeers,
		"ActivePeersDemotions": k.ActivePeersDemotions,

		"KnownBigLedgerPeers": k.KnownBigLedgerPeers, "ColdBigLedgerPeersPromotions": k.ColdBigLedgerPeersPromotions,
		"EstablishedBigLedgerPeers": k.EstablishedBigLedgerPeers, "WarmBigLedgerPeersDemotions": k.WarmBigLedgerPeersDemotions,
		"WarmBigLedgerPeersPromotions": k.WarmBigLedgerPeersPromotions, "ActiveBigLedgerPeers": k.ActiveBigLedgerPeers,
		"ActiveBigLedgerPeersDemotions": k.ActiveBigLedgerPeersDemotions,

		"KnownLocalRootPeers": k.KnownLocalRootPeers, "EstablishedLocalRootPeers": k.EstablishedLocalRootPeers,
		"WarmLocalRootPeersPromotions": k.WarmLocalRootPeersPromotions, "ActiveLocalRootPeers": k.ActiveLocalRootPeers,
		"ActiveLocalRootPeersDemotions": k.ActiveLocalRootPeersDemotions,

		"KnownNonRootPeers": k.KnownNonRootPeers, "ColdNonRootPeersPromotions": k.ColdNonRootPeersPromotions,
		"EstablishedNonRootPeers": k.EstablishedNonRootPeers, "WarmNonRootPeersDemotions": k.WarmNonRootPeersDemotions,
		"WarmNonRootPeersPromotions": k.WarmNonRootPeersPromotions, "ActiveNonRootPeers": k.ActiveNonRootPeers,
		"ActiveNonRootPeersDemotions": k.ActiveNonRootPeersDemotions,

		"KnownBootstrapPeers": k.KnownBootstrapPeers, "ColdBootstrapPeersPromotions": k.ColdBootstrapPeersPromotions,
		"EstablishedBootstrapPeers": k.EstablishedBootstrapPeers, "WarmBootstrapPeersDemotions": k.WarmBootstrapPeersDemotions,
		"WarmBootstrapPeersPromotions": k.WarmBootstrapPeersPromotions, "ActiveBootstrapPeers": k.ActiveBootstrapPeers,
		"ActiveBootstrapPeersDemotions": k.ActiveBootstrapPeersDemotions,

		"Cold": k.KnownPeers - k.EstablishedPeers, "Warm": k.EstablishedPeers - k.ActivePeers, "Hot": k.ActivePeers,
		"ColdBigLedgerPeers": k.KnownBigLedgerPeers - k.EstablishedBigLedgerPeers,
		"WarmBigLedgerPeers": k.EstablishedBigLedgerPeers - k.ActiveBigLedgerPeers, "HotBigLedgerPeers": k.ActiveBigLedgerPeers,
		"WarmLocalRoots": k.EstablishedLocalRootPeers - k.ActiveLocalRootPeers, "HotLocalRoots": k.ActiveLocalRootPeers,
	}
	out := make(map[string]float64, len(n)+len(k.Churn))
	for name, v := range n {
		out["peerSelection."+name] = float64(v)
	}
	for action, s := range k.Churn {
		out["peerSelection.churn"+action+".duration"] = s.Duration.Seconds() // no dot before the action
	}
	return out
}

// Counters takes a snapshot; its cost does not depend on how many peers are known.
func (c *Core) Counters() Counters {
	of := func(cls ...class) (s struct{ known, connecting, established, closing, activating, active, deactivating int }) {
		for _, cl := range cls {
			s.known += c.known[cl]
			for pl := place(0); pl < places; pl++ {
				n := len(c.buckets[cl][pl].ids)
				if pl.established() {
					s.established += n
				}
				if pl.active() {
					s.active += n
				}
				switch pl {
				case connecting:
					s.connecting += n
				case closing:
					s.closing += n
				case activating:
					s.activating += n
				case deactivating:
					s.deactivating += n
				}
			}
		}
		return s
	}
	var k Counters
	k.RootPeers = c.rootPeers()
	s := of(classLocal, classBootstrap, classPublic, classLedger, classPlain)
	k.KnownPeers, k.ColdPeersPromotions, k.EstablishedPeers, k.WarmPeersDemotions = s.known, s.connecting, s.established, s.closing
	k.WarmPeersPromotions, k.ActivePeers, k.ActivePeersDemotions = s.activating, s.active, s.deactivating
	s = of(classBig)
	k.KnownBigLedgerPeers, k.ColdBigLedgerPeersPromotions, k.EstablishedBigLedgerPeers, k.WarmBigLedgerPeersDemotions =
		s.known, s.connecting, s.established, s.closing
	k.WarmBigLedgerPeersPromotions, k.ActiveBigLedgerPeers, k.ActiveBigLedgerPeersDemotions = s.activating, s.active, s.deactivating
	s = of(classLocal)
	k.KnownLocalRootPeers, k.ColdLocalRootPeersPromotions, k.EstablishedLocalRootPeers = s.known, s.connecting, s.established
	k.WarmLocalRootPeersPromotions, k.ActiveLocalRootPeers, k.ActiveLocalRootPeersDemotions = s.activating, s.active, s.deactivating
	s = of(classPlain)
	k.KnownNonRootPeers, k.ColdNonRootPeersPromotions, k.EstablishedNonRootPeers, k.WarmNonRootPeersDemotions =
		s.known, s.connecting, s.established, s.closing
	k.WarmNonRootPeersPromotions, k.ActiveNonRootPeers, k.ActiveNonRootPeersDemotions = s.activating, s.active, s.deactivating
	s = of(classBootstrap)
	k.KnownBootstrapPeers, k.ColdBootstrapPeersPromotions, k.EstablishedBootstrapPeers, k.WarmBootstrapPeersDemotions =
		s.known, s.connecting, s.established, s.closing
	k.WarmBootstrapPeersPromotions, k.ActiveBootstrapPeers, k.ActiveBootstrapPeersDemotions = s.activating, s.active, s.deactivating

	// Established peers count as available to connect (governor §10.1).
	k.AvailableToConnectPeers = k.KnownPeers - c.n[kindOrdinary][coldWait]
	k.AvailableToConnectBigLedgerPeers = k.KnownBigLedgerPeers - c.n[kindBig][coldWait]
	k.AvailableToConnectLocalRootPeers = k.KnownLocalRootPeers - c.n[kindLocal][coldWait]

	k.CoolingPeers = c.all(cooling)
	for _, a := range c.bans.order {
		if c.bans.has(a, c.now) {
			k.BannedPeers++
		}
	}
	k.Outage = c.outage[0].on || c.outage[1].on
	for i := range c.groups {
		g := &c.groups[i]
		k.Groups = append(k.Groups, GroupCounters{g.Hot, g.Warm, len(g.ids), g.established(), g.active()})
	}
	k.Decisions = make(map[string]uint64, len(rules))
	for i, r := range rules {
		k.Decisions[r.text] = c.taken[i]
	}
	k.Churn = map[string]ChurnCounters{}
	for i, st := range c.churning.stats {
		if st != (churnStat{}) {
			k.Churn[churnSteps[i].action] = ChurnCounters{st.duration, st.delta}
		}
	}
	return k
}
