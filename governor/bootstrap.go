package governor

// Targets, bootstrap peers, the ledger state judgement and what becomes of trust (governor §7).

// sensitive: the ledger state is too old and bootstrap peers are on, as far as it has been worked off. Genesis mode knows no
// such state.
func (c *Core) sensitive() bool { return !c.cfg.Genesis && c.useBootstrap && c.tooOld }

// liveSensitive is the same, judged by what the outside says now: root requests go by it (governor §6.2).
func (c *Core) liveSensitive() bool { return !c.cfg.Genesis && c.settings.UseBootstrap && c.liveTooOld }

// draining: sensitive, and peers that are not trusted are still about. Neither targets nor local roots change then.
func (c *Core) draining() bool { return c.sensitive() && !c.onlyTrusted }

// bootstrapFlag works off a change of use-bootstrap-peers, also from and to an empty list. The ledger state is taken to be young
// enough, so that the next rule sees the real one as a change.
func (c *Core) bootstrapFlag() verdict {
	empty := c.settings.UseBootstrap && c.settings.BootstrapEmpty
	if c.cfg.Genesis || c.settings.UseBootstrap == c.useBootstrap && empty == c.bootstrapEmpty {
		return skip
	}
	if c.sensitive() {
		c.tell("BootstrapPeersFlagChangedWhilstInSensitiveState", "")
	}
	c.useBootstrap, c.bootstrapEmpty = c.settings.UseBootstrap, empty
	note := "off"
	if c.useBootstrap {
		note = "on"
	}
	c.forgetBootstrap()
	c.tooOld = false
	c.cleared()
	c.tell("UseBootstrapPeersChanged", note)
	return did
}

// forgetBootstrap forgets bootstrap peers that are neither established nor connecting.
func (c *Core) forgetBootstrap() {
	for _, in := range [...]place{coldReady, coldWait} {
		for b := &c.buckets[classBootstrap][in]; len(b.ids) > 0; {
			p := c.at(b.ids[len(b.ids)-1])
			c.tell("ForgetColdPeers", "bootstrap peer", p.addr)
			c.forget(p)
		}
	}
}

// cleared ends whatever was known about only trusted peers being left.
func (c *Core) cleared() {
	c.onlyTrusted, c.bootstrapDeadline = false, Never
	c.localDirty = true
}

// ledgerState works off a change of the ledger state judgement. Praos mode does not follow it unless bootstrap peers are on.
func (c *Core) ledgerState() verdict {
	if c.liveTooOld == c.tooOld || !c.cfg.Genesis && !c.useBootstrap {
		return skip
	}
	c.tooOld = c.liveTooOld
	note := "young enough"
	if c.tooOld {
		note = "too old"
	}
	c.tell("LedgerStateJudgementChanged", note)
	switch {
	case c.cfg.Genesis:
		c.genesisTargets()
		if c.tooOld && c.settings.SnapshotSlot != 0 {
			c.out.Effects = append(c.out.Effects, Effect{Kind: VerifySnapshot})
		}
	case c.tooOld:
		// Everything is dropped: the rules for too many drain hot to warm to cold to forgotten, and root requests are answered
		// by bootstrap peers only. Targets and local roots come back once nobody untrusted is left.
		c.cleared()
		c.targets = Targets{}
		if len(c.applied) > 0 {
			c.putLocalRoots(nil)
		}
		c.roots[0].backoff, c.roots[0].retry = 0, c.now
		c.bootstrapDeadline = c.now + c.cfg.Timing.BootstrapTimeout
	default:
		c.forgetBootstrap() // established ones stay, and churn out
		c.roots[0].backoff, c.roots[0].retry = 0, c.now
		c.cleared()
	}
	return did
}

// genesisTargets replaces the targets if they are exactly those configured for the other judgement, without waiting for churn.
func (c *Core) genesisTargets() {
	from, to := c.cfg.SyncTargets, c.cfg.Targets
	if c.tooOld {
		from, to = to, from
	}
	if c.offered == from {
		c.offered = to
	}
}

// quiesce notices that only trusted peers are left and nothing runs that could bring others in.
func (c *Core) quiesce() verdict {
	if !c.draining() {
		return skip
	}
	if c.now >= c.bootstrapDeadline {
		c.fatal = true
		c.tell("OutboundGovernorCriticalFailure", "no clean state with trusted peers only in time")
		c.out.Effects = append(c.out.Effects, Effect{Kind: Fatal, Text: "bootstrap peers: no clean state in time"})
		return did
	}
	if !c.trustedOnly() || c.all(connecting)+c.all(activating) > 0 || c.sharing.running > 0 || len(c.sharing.batches) > 0 ||
		c.roots[0].running || c.roots[1].running {
		return skip
	}
	c.onlyTrusted, c.bootstrapDeadline, c.localDirty = true, Never, true
	c.trace("OnlyBootstrapPeers", -1, c.table.count, -1, "")
	return did
}

// trustedOnly: all known peers are bootstrap peers or trustable local roots, and all local roots are trustable.
func (c *Core) trustedOnly() bool {
	return c.trusted == c.known[classLocal] && c.known[classBootstrap]+c.trusted == c.table.count
}

// snapshotReplaced notices another peer snapshot, and makes the ledger state judgement be worked off again.
func (c *Core) snapshotReplaced() verdict {
	if c.settings.SnapshotSlot == c.snapshot.SnapshotSlot && c.settings.SnapshotHash == c.snapshot.SnapshotHash {
		return skip
	}
	c.snapshot = c.settings
	c.tooOld = false
	c.tell("PeerSnapshotReplaced", "")
	return did
}

// targetsChanged puts the offered targets in force, unless we are draining or churn has not offered any yet.
func (c *Core) targetsChanged() verdict {
	if c.offered == c.targets || c.draining() || c.offered == (Targets{}) && !c.churning.begun {
		return skip
	}
	c.targets, c.localDirty = c.offered, true
	c.tell("TargetsChanged", c.targets.String())
	return did
}

// setTargets replaces the configured targets. Those that are out of order are refused, and the old ones stay.
func (c *Core) setTargets(e TargetsSet) {
	if !e.Targets.sane() || !e.Sync.sane() {
		c.tell("TargetsRefused", "out of order: "+e.Targets.String())
		return
	}
	c.cfg.Targets, c.cfg.SyncTargets = e.Targets, e.Sync
	c.churning.retarget(c)
}

// base is the configured set for the present judgement.
func (c *Core) base() Targets {
	if c.cfg.Genesis && c.liveTooOld {
		return c.cfg.SyncTargets
	}
	return c.cfg.Targets
}

// Association says how far our connections reach (governor §7).
type Association uint8

// The association modes.
const (
	Unrestricted Association = iota
	LocalRootsOnly
)

// Association is LocalRootsOnly when ledger peers, peer sharing and bootstrap peers are off; Genesis mode has no bootstrap peers.
func (c *Core) Association() Association {
	bootstrap := !c.cfg.Genesis && c.settings.UseBootstrap && !c.settings.BootstrapEmpty
	if !c.settings.UseLedger && !c.cfg.PeerSharing && !bootstrap {
		return LocalRootsOnly
	}
	return Unrestricted
}

// OutboundTrusted says whether consensus may trust that our outbound connections are with external peers (governor §7).
func (c *Core) OutboundTrusted() bool {
	established := c.tot[kindOrdinary].established
	trustable := 0
	for i := range c.groups {
		if c.groups[i].Trustable {
			trustable += c.groups[i].established()
		}
	}
	switch {
	case c.Association() == LocalRootsOnly:
		return established == trustable
	case !c.cfg.Genesis && c.useBootstrap:
		boot, active := 0, 0
		for p := warmReady; p < places; p++ {
			n := len(c.buckets[classBootstrap][p].ids)
			boot += n
			if p.active() {
				active += n
			}
		}
		return established == boot+trustable && active >= 1
	case !c.cfg.Genesis:
		return false
	}
	return c.tot[kindBig].active >= c.cfg.MinBigLedgerPeers
}

// outboundState tells consensus when that changes.
func (c *Core) outboundState() {
	if t := c.OutboundTrusted(); t != c.outboundTrusted {
		c.outboundTrusted = t
		c.out.Effects = append(c.out.Effects, Effect{Kind: Outbound, Trusted: t})
	}
}

// bulk is whether blocks are fetched in bulk (Praos mode); churn keeps the value of the beginning of its round.
func (c *Core) bulk() bool { return !c.cfg.Genesis && c.bulkSync }
