package bearer

import (
	"errors"
	"net"
	"slices"
	"time"

	"github.com/hearthnet/hearth/artifact"
)

// visitor is a connection that has not negotiated.
type visitor struct{ conn net.Conn }

// accept takes connections until the network is closed. Its errors, such as too many open files, pass: it waits and tries again.
func (n *Network) accept(ln net.Listener) {
	pause := time.Duration(0)
	for {
		conn, err := ln.Accept()
		if err == nil {
			pause = 0
			v := &visitor{conn}
			if !n.admit(v) {
				_ = conn.Close()
				return
			}
			n.tasks.Go(func() { n.welcome(v) })
			continue
		}
		if n.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		if !n.sleep(pause) {
			return
		}
	}
}

// admit puts a connection among those that have not negotiated; the oldest makes room. False: the network is closed.
func (n *Network) admit(v *visitor) bool {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return false
	}
	var oldest *visitor
	if len(n.door) >= n.cfg.MaxHandshakes {
		oldest = n.door[0]
		n.door = slices.Delete(n.door, 0, 1)
	}
	n.door = append(n.door, v)
	n.mu.Unlock()
	if oldest != nil {
		_ = oldest.conn.Close()
	}
	return true
}

// leave takes a connection off that list.
func (n *Network) leave(v *visitor) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := slices.Index(n.door, v); i >= 0 {
		n.door = slices.Delete(n.door, i, i+1)
	}
}

// welcome does the acceptor's handshake and runs the bearer until it ends.
func (n *Network) welcome(v *visitor) {
	defer n.leave(v)
	conn := v.conn
	reject := Event{Kind: Rejected, Addr: conn.RemoteAddr().String()}
	info := artifact.PeerInfo{Addr: addrOf(conn)}
	if left := n.node.Banned(info); left > 0 {
		_ = conn.Close()
		reject.Err = &artifact.BannedError{For: left}
		n.note(reject)
		return
	}
	peer, err := respond(n.ctx, conn, n.own, func(p artifact.VersionData) *RefusalError { return n.refusal(info, p) })
	reject.Peer = peer.NodeID
	switch {
	case err != nil:
		_ = conn.Close()
	case peer.Features&artifact.FeatureBulk != 0:
		if _, err = n.identify(conn, peer.NodeID); err != nil {
			_ = conn.Close()
		} else {
			err = n.acceptBulk(n.ctx, conn, peer.NodeID, func() { n.leave(v) })
		}
	default:
		attached := false
		err = n.run(conn, peer, false, func() { attached = true; n.leave(v) })
		if attached || errors.Is(err, artifact.ErrDuplicate) { // it has been told
			return
		}
	}
	if err != nil && n.ctx.Err() == nil {
		reject.Err = err
		n.note(reject)
	}
}

// refusal says why a peer is not let in.
func (n *Network) refusal(info artifact.PeerInfo, p artifact.VersionData) *RefusalError {
	info.ID = p.NodeID
	if n.node.Banned(info) > 0 {
		return &RefusalError{Text: "banned"}
	}
	if p.Features&artifact.FeatureBulk != 0 {
		return nil // join decides
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, known := n.mains[p.NodeID]; !known && len(n.mains) >= n.limits.MaxPeers {
		return &RefusalError{Text: "no room"}
	}
	return nil
}

// sleep reports whether d has passed before the network was closed.
func (n *Network) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-n.ctx.Done():
		return false
	}
}
