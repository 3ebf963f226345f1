package bearer

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/hearthnet/hearth/artifact"
)

// selfPause is how long an address that led to ourselves is left alone; settled is how long a bearer must have lived for the next
// pause to be a short one.
const (
	selfPause = time.Hour
	settled   = 10 * time.Second
)

// keepPeer keeps a main bearer to one address. While the one that is kept is another — the peer dialled us — it waits for its end.
func (n *Network) keepPeer(addr string) {
	pause := n.cfg.RedialMin
	for n.ctx.Err() == nil {
		began := time.Now()
		peer, err := n.dial(addr)
		wait := pause
		switch {
		case n.ctx.Err() != nil:
			return
		case errors.Is(err, artifact.ErrSelf):
			wait = selfPause
		case errors.Is(err, artifact.ErrDuplicate):
			n.awaitGone(peer)
			pause, wait = n.cfg.RedialMin, n.cfg.RedialMin
		case time.Since(began) > settled:
			pause, wait = n.cfg.RedialMin, n.cfg.RedialMin
		default:
			pause = min(2*pause, n.cfg.RedialMax)
		}
		var later interface{ RetryAfter() time.Duration }
		if errors.As(err, &later) {
			wait = max(wait, later.RetryAfter())
		}
		if !n.sleep(wait/2 + rand.N(wait/2+1)) {
			return
		}
	}
}

// dial dials a static peer and runs the bearer until it ends.
func (n *Network) dial(addr string) (peer artifact.PeerID, err error) {
	up := false
	defer func() {
		if err != nil && !up && n.ctx.Err() == nil && !errors.Is(err, artifact.ErrDuplicate) {
			n.note(Event{Kind: DialFailed, Peer: peer, Addr: addr, Dialled: true, Err: err})
		}
	}()
	ctx, stop := context.WithTimeout(n.ctx, n.cfg.DialTimeout)
	defer stop()
	conn, err := n.cfg.Dial(ctx, "tcp", addr)
	if err != nil {
		return peer, err
	}
	data, dialler, err := propose(ctx, conn, n.own)
	if err == nil && data.Features&artifact.FeatureBulk != 0 {
		err = &HandshakeError{errJoinOrder}
	}
	info := artifact.PeerInfo{ID: data.NodeID, Addr: addrOf(conn)}
	if err == nil {
		if left := n.node.Banned(info); left > 0 {
			err = &artifact.BannedError{For: left}
		}
	}
	if err != nil {
		_ = conn.Close()
		return data.NodeID, err
	}
	stop()
	err = n.run(conn, data, dialler, func() { up = true })
	if errors.Is(err, artifact.ErrDuplicate) && up {
		// replaced by another bearer to the same peer
		return data.NodeID, artifact.ErrDuplicate
	}
	return data.NodeID, err
}
