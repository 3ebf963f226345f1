package governor

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"
)

// carryOut starts an order; its result is an event.
func (r *run) carryOut(e Effect) {
	var do func(ctx context.Context) Event
	limit := time.Duration(0)
	switch e.Kind {
	case Connect:
		do = func(ctx context.Context) Event {
			shares, err := r.actions.Connect(ctx, e.Peer, e.Options)
			return Connected{Job: e.Job, Peer: e.Peer, Shares: shares, Failure: failureOf(err)}
		}
	case Activate:
		do = func(ctx context.Context) Event {
			return Activated{Job: e.Job, Peer: e.Peer, Failure: failureOf(r.actions.Activate(ctx, e.Peer))}
		}
	case Deactivate:
		do = func(ctx context.Context) Event {
			return Deactivated{Job: e.Job, Peer: e.Peer, Failure: failureOf(r.actions.Deactivate(ctx, e.Peer))}
		}
	case Disconnect:
		do = func(ctx context.Context) Event {
			failure := failureOf(r.actions.Disconnect(ctx, e.Peer))
			if e.Job == 0 {
				return nil
			}
			return Disconnected{Job: e.Job, Peer: e.Peer, Failure: failure}
		}
	case AskForPeers:
		// The limit is the time at which the core cancels what is left, so CancelAsk has nothing to do here.
		limit = r.cfg.Timing.ShareOverall
		do = func(ctx context.Context) Event {
			peers, err := r.actions.AskForPeers(ctx, e.Peer, e.N)
			return Answered{Job: e.Job, Peer: e.Peer, Peers: peers[:min(len(peers), shareMost+1)], Failure: failureOf(err)}
		}
	case RequestRoots:
		limit = rootsLimit
		do = func(ctx context.Context) Event { return r.askRoots(ctx, e) }
	case ListInbound:
		do = func(context.Context) Event { return r.listInbound() }
	case VerifySnapshot:
		v, ok := r.ledger.(SnapshotVerifier)
		if !ok {
			return
		}
		slot, hash := r.settings.SnapshotSlot, r.settings.SnapshotHash
		limit = verifyLimit
		do = func(ctx context.Context) Event {
			good, err := v.VerifySnapshot(ctx, slot, hash)
			return SnapshotVerified{OK: good && err == nil}
		}
	default:
		return
	}
	r.jobs.Go(func() {
		ctx := r.ctx
		if limit > 0 {
			limited, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			ctx = limited
		}
		var ev Event
		if err := r.host(e.Kind.String(), func() { ev = do(ctx) }); err != nil {
			ev = e.failed(err)
		}
		if ev != nil {
			r.post(ev)
		}
	})
}

func (r *run) askRoots(ctx context.Context, e Effect) Event {
	var (
		peers []netip.AddrPort
		ttl   time.Duration
		err   error
	)
	answer := RootsAnswered{Job: e.Job}
	switch e.Source {
	case SourceBootstrap:
		peers, ttl, err = r.roots.BootstrapPeers(ctx)
	case SourceLedger, SourceBigLedger:
		peers, ttl, err = r.roots.LedgerPeers(ctx, e.N, e.Source == SourceBigLedger)
	default:
		var advertise map[netip.AddrPort]bool
		advertise, ttl, err = r.roots.PublicRoots(ctx)
		for a := range advertise {
			peers = append(peers, a)
		}
		slices.SortFunc(peers, netip.AddrPort.Compare) // a map's order must not reach the core
		for _, a := range peers {
			answer.Peers = append(answer.Peers, RootPeer{a, advertise[a]})
		}
		peers = nil
	}
	for _, a := range peers {
		answer.Peers = append(answer.Peers, RootPeer{Peer: a})
	}
	answer.Peers = answer.Peers[:min(len(answer.Peers), r.cfg.Limits.Answer)]
	answer.TTL, answer.Failure = ttl, failureOf(err)
	return answer
}

func (r *run) listInbound() Event {
	var ev InboundListed
	for a, shares := range r.actions.MatureInbound() {
		ev.Peers = append(ev.Peers, InboundPeer{a, shares})
	}
	slices.SortFunc(ev.Peers, func(a, b InboundPeer) int { return a.Peer.Compare(b.Peer) })
	ev.Peers = ev.Peers[:min(len(ev.Peers), inboundLimit)]
	return ev
}

// save writes the peer store without stopping the loop.
func (r *run) save() {
	if r.cfg.StorePath == "" {
		return
	}
	r.jobs.Go(r.saveStore)
}

func (g *Governor) saveStore() {
	if g.cfg.StorePath == "" {
		return
	}
	g.mu.Lock()
	peers := g.core.Stored()
	g.mu.Unlock()
	if err := SavePeers(g.cfg.StorePath, peers); err != nil {
		g.log.Warn("the peer store was not written", "path", g.cfg.StorePath, "error", err)
	}
}

// failureOf reads what an error says about itself.
func failureOf(err error) *Failure {
	if err == nil {
		return nil
	}
	f := &Failure{Text: err.Error()}
	var fault interface{ Fault() string }
	if errors.As(err, &fault) {
		for i, name := range faultNames {
			if fault.Fault() == name {
				f.Fault = Fault(i)
			}
		}
	}
	var retry interface{ RetryAfter() time.Duration }
	if errors.As(err, &retry) {
		f.RetryAfter = max(0, retry.RetryAfter())
	}
	var timeout interface{ Timeout() bool }
	f.Timeout = errors.As(err, &timeout) && timeout.Timeout()
	return f
}
