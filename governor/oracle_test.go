package governor

import (
	"fmt"
	"net/netip"
)

// The oracle says the rules of governor §3.3 once more, in the words of the table there: sets of addresses, unions and differences,
// nothing indexed. It is slow and it shares no count with the core. After every step no guard may still hold: every opportunity
// is taken in the step in which it arises.

type set map[netip.AddrPort]bool

func (s set) minus(others ...set) set {
	out := set{}
	for a := range s {
		in := false
		for _, o := range others {
			in = in || o[a]
		}
		if !in {
			out[a] = true
		}
	}
	return out
}

func (s set) and(o set) set {
	out := set{}
	for a := range s {
		if o[a] {
			out[a] = true
		}
	}
	return out
}

type oracle struct {
	known, established, active, local, big, public, boot     set
	promoteCold, promoteWarm, demoteWarm, demoteHot, cooling set
	available, ready, askable                                set
	localGroups                                              []set
	advertised, everConnected                                set
	c                                                        *Core
	rules                                                    map[Decision]string // see missed
}

func newOracle(c *Core) *oracle {
	o := &oracle{c: c}
	for _, s := range []*set{&o.known, &o.established, &o.active, &o.local, &o.big, &o.public, &o.boot, &o.promoteCold, &o.promoteWarm,
		&o.demoteWarm, &o.demoteHot, &o.cooling, &o.available, &o.ready, &o.askable, &o.advertised, &o.everConnected} {
		*s = set{}
	}
	o.localGroups = make([]set, len(c.groups))
	for i := range o.localGroups {
		o.localGroups[i] = set{}
	}
	for id := range c.pos {
		p := c.at(uint32(id))
		a := p.addr
		if !a.IsValid() {
			continue
		}
		o.known[a] = true
		if p.place != coldReady && p.place != coldWait && p.place != connecting {
			o.established[a] = true
		}
		switch p.place {
		case coldReady:
			o.available[a] = true
		case connecting:
			o.available[a], o.promoteCold[a] = true, true
		case warmReady:
			o.ready[a] = true
		case activating:
			o.promoteWarm[a] = true
		case closing:
			o.demoteWarm[a] = true
		case hot:
			o.active[a] = true
		case deactivating:
			o.active[a], o.demoteHot[a] = true, true
		case cooling:
			o.cooling[a] = true
		}
		switch p.class {
		case classLocal:
			o.local[a] = true
			o.localGroups[p.group][a] = true
		case classBig:
			o.big[a], o.public[a] = true, true
		case classBootstrap:
			o.boot[a], o.public[a] = true, true
		case classPublic, classLedger:
			o.public[a] = true
		}
		if p.advertise == yes {
			o.advertised[a] = true
		}
		if p.has(everConnected) {
			o.everConnected[a] = true
		}
		if next, asked := c.sharing.next[p.id]; asked && next <= c.now && p.sharing == yes && o.established[a] && p.place != cooling {
			o.askable[a] = true
		}
	}
	return o
}

// missed returns the rules whose guards still hold, each with what it could have done.
func (o *oracle) missed() map[Decision]string {
	if o.rules != nil {
		return o.rules
	}
	o.rules = map[Decision]string{}
	c, t := o.c, o.c.targets
	sensitive := !c.cfg.Genesis && c.useBootstrap && c.tooOld
	plain := o.known.minus(o.big)
	cold := o.known.minus(o.established, o.promoteCold)
	miss := func(rule Decision, format string, a ...any) { o.rules[rule] = fmt.Sprintf(format, a...) }
	if n := t.KnownBigLedger - len(o.big); n > 0 && !sensitive && !c.roots[1].running && c.now >= c.roots[1].retry {
		miss(BigLedgerKnownBelow, "%d wanted", n)
	}
	if len(o.big) > t.KnownBigLedger && len(cold.and(o.big)) > 0 {
		miss(BigLedgerKnownAbove, "%d of %d", len(o.big), t.KnownBigLedger)
	}
	if n := t.Roots - len(o.local) - len(o.public); n > 0 && !c.roots[0].running && c.now >= c.roots[0].retry {
		miss(RootsBelow, "%d wanted", n)
	}
	if c.cfg.PeerSharing && len(plain) < t.Known && c.sharing.running < 2 && len(o.askable) > 0 && !sensitive {
		miss(KnownBelowSharing, "%d of %d, %d to ask", len(plain), t.Known, len(o.askable))
	}
	if len(plain) > t.Known {
		forgettable := cold.minus(o.local, o.big)
		if len(o.local)+len(o.public)-t.Roots <= 0 {
			forgettable = forgettable.minus(o.public)
		}
		if len(forgettable) > 0 {
			miss(KnownAbove, "%d of %d, %d to forget", len(plain), t.Known, len(forgettable))
		}
	}
	est, act := o.established.minus(o.big), o.active.minus(o.big)
	estBig, actBig := o.established.and(o.big), o.active.and(o.big)
	if n := t.EstablishedBigLedger - len(estBig) - len(o.promoteCold.and(o.big)); !sensitive && n > 0 &&
		len(o.available.and(o.big).minus(o.promoteCold)) > 0 {
		miss(EstablishedBelowBigLedger, "%d wanted", n)
	}
	for i, g := range o.localGroups {
		warm := c.groups[i].Warm
		if len(g.and(o.established))+len(g.and(o.promoteCold)) < warm && len(g.and(o.available).minus(o.promoteCold)) > 0 {
			miss(EstablishedBelowLocal, "group %d", i)
		}
	}
	if n := t.Established - len(est) - len(o.promoteCold.minus(o.big)); n > 0 &&
		len(o.available.minus(o.big, o.local, o.promoteCold)) > 0 {
		miss(EstablishedBelow, "%d wanted", n)
	}
	if excess := len(estBig) - t.EstablishedBigLedger; excess > 0 {
		n := min(excess, len(estBig)-len(actBig)) - len(o.demoteWarm) - len(o.promoteWarm) - len(o.cooling.and(o.big))
		if n > 0 && len(estBig.minus(o.active, o.demoteWarm, o.promoteWarm, o.cooling)) > 0 {
			miss(EstablishedAboveBigLedger, "%d too many", n)
		}
	}
	if excess := len(est) - t.Established; excess > 0 {
		warmLocal := len(o.local.and(o.established).minus(o.active))
		n := min(excess, len(est)-warmLocal-len(act)) - len(o.demoteWarm.minus(o.big)) - len(o.promoteWarm.minus(o.big)) -
			len(o.cooling.minus(o.big))
		if n > 0 && len(est.minus(o.active, o.local, o.demoteWarm, o.promoteWarm, o.cooling)) > 0 {
			miss(EstablishedAbove, "%d too many", n)
		}
	}
	if !sensitive && len(actBig)+len(o.promoteWarm.and(o.big)) < t.ActiveBigLedger && len(o.ready.and(o.big)) > 0 {
		miss(ActiveBelowBigLedger, "%d of %d", len(actBig), t.ActiveBigLedger)
	}
	for i, g := range o.localGroups {
		hot := c.groups[i].Hot
		if len(g.and(o.active))+len(g.and(o.promoteWarm)) < hot && len(g.and(o.ready)) > 0 {
			miss(ActiveBelowLocal, "group %d", i)
		}
		if n := len(g.and(o.active)) - hot - len(o.demoteHot); n > 0 {
			miss(ActiveAboveLocal, "group %d: %d too many", i, n)
		}
	}
	if len(act)+len(o.promoteWarm.minus(o.big)) < t.Active && len(o.ready.minus(o.big, o.local)) > 0 {
		miss(ActiveBelow, "%d of %d", len(act), t.Active)
	}
	if n := len(actBig) - t.ActiveBigLedger - len(o.demoteHot.and(o.big)); n > 0 && len(actBig.minus(o.demoteHot)) > 0 {
		miss(ActiveAboveBigLedger, "%d too many", n)
	}
	if n := len(act) - t.Active - len(o.demoteHot.minus(o.big)); n > 0 && len(act.minus(o.demoteHot, o.local)) > 0 {
		miss(ActiveAbove, "%d too many", n)
	}
	return o.rules
}

// sizes compares the counters with the sets.
func (o *oracle) sizes() error {
	k := o.c.Counters()
	plain := o.known.minus(o.big)
	nonRoot := o.known.minus(o.local, o.public)
	for name, is := range map[string][2]int{
		"RootPeers":                     {k.RootPeers, len(o.local) + len(o.public)},
		"KnownPeers":                    {k.KnownPeers, len(plain)},
		"ColdPeersPromotions":           {k.ColdPeersPromotions, len(o.promoteCold.minus(o.big))},
		"EstablishedPeers":              {k.EstablishedPeers, len(o.established.minus(o.big))},
		"WarmPeersDemotions":            {k.WarmPeersDemotions, len(o.demoteWarm.minus(o.big))},
		"WarmPeersPromotions":           {k.WarmPeersPromotions, len(o.promoteWarm.minus(o.big))},
		"ActivePeers":                   {k.ActivePeers, len(o.active.minus(o.big))},
		"ActivePeersDemotions":          {k.ActivePeersDemotions, len(o.demoteHot.minus(o.big))},
		"KnownBigLedgerPeers":           {k.KnownBigLedgerPeers, len(o.big)},
		"ColdBigLedgerPeersPromotions":  {k.ColdBigLedgerPeersPromotions, len(o.promoteCold.and(o.big))},
		"EstablishedBigLedgerPeers":     {k.EstablishedBigLedgerPeers, len(o.established.and(o.big))},
		"WarmBigLedgerPeersDemotions":   {k.WarmBigLedgerPeersDemotions, len(o.demoteWarm.and(o.big))},
		"WarmBigLedgerPeersPromotions":  {k.WarmBigLedgerPeersPromotions, len(o.promoteWarm.and(o.big))},
		"ActiveBigLedgerPeers":          {k.ActiveBigLedgerPeers, len(o.active.and(o.big))},
		"ActiveBigLedgerPeersDemotions": {k.ActiveBigLedgerPeersDemotions, len(o.demoteHot.and(o.big))},
		"KnownLocalRootPeers":           {k.KnownLocalRootPeers, len(o.local)},
		"EstablishedLocalRootPeers":     {k.EstablishedLocalRootPeers, len(o.local.and(o.established))},
		"WarmLocalRootPeersPromotions":  {k.WarmLocalRootPeersPromotions, len(o.local.and(o.promoteWarm))},
		"ActiveLocalRootPeers":          {k.ActiveLocalRootPeers, len(o.local.and(o.active))},
		"ActiveLocalRootPeersDemotions": {k.ActiveLocalRootPeersDemotions, len(o.local.and(o.demoteHot))},
		"KnownNonRootPeers":             {k.KnownNonRootPeers, len(nonRoot)},
		"ColdNonRootPeersPromotions":    {k.ColdNonRootPeersPromotions, len(nonRoot.and(o.promoteCold))},
		"EstablishedNonRootPeers":       {k.EstablishedNonRootPeers, len(nonRoot.and(o.established))},
		"WarmNonRootPeersDemotions":     {k.WarmNonRootPeersDemotions, len(nonRoot.and(o.demoteWarm))},
		"WarmNonRootPeersPromotions":    {k.WarmNonRootPeersPromotions, len(nonRoot.and(o.promoteWarm))},
		"ActiveNonRootPeers":            {k.ActiveNonRootPeers, len(nonRoot.and(o.active))},
		"ActiveNonRootPeersDemotions":   {k.ActiveNonRootPeersDemotions, len(nonRoot.and(o.demoteHot))},
		"KnownBootstrapPeers":           {k.KnownBootstrapPeers, len(o.boot)},
		"ColdBootstrapPeersPromotions":  {k.ColdBootstrapPeersPromotions, len(o.boot.and(o.promoteCold))},
		"EstablishedBootstrapPeers":     {k.EstablishedBootstrapPeers, len(o.boot.and(o.established))},
		"WarmBootstrapPeersDemotions":   {k.WarmBootstrapPeersDemotions, len(o.boot.and(o.demoteWarm))},
		"WarmBootstrapPeersPromotions":  {k.WarmBootstrapPeersPromotions, len(o.boot.and(o.promoteWarm))},
		"ActiveBootstrapPeers":          {k.ActiveBootstrapPeers, len(o.boot.and(o.active))},
		"ActiveBootstrapPeersDemotions": {k.ActiveBootstrapPeersDemotions, len(o.boot.and(o.demoteHot))},
		"CoolingPeers":                  {k.CoolingPeers, len(o.cooling)},
	} {
		if is[0] != is[1] {
			return fmt.Errorf("counter %s is %d, its set has %d", name, is[0], is[1])
		}
	}
	return nil
}

// trusted reports peers that a clean state must not know.
func (o *oracle) untrusted() set {
	out := o.known.minus(o.boot)
	for i, g := range o.localGroups {
		if o.c.groups[i].Trustable {
			out = out.minus(g)
		}
	}
	return out
}
