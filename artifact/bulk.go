package artifact

import (
	"context"
	"fmt"
	"time"
)

// JoinError is a bulk bearer that may not join; the reason has been sent.
type JoinError struct{ Peer PeerID }

// Error names the peer, in hexadecimal digits.
func (e *JoinError) Error() string {
	return fmt.Sprintf("artifact: a bulk bearer of %x may not join", e.Peer)
}

// AcceptBulk runs join on an incoming bulk bearer whose handshake named the peer id, and makes link our lane on it. The host
// then gives the responder direction to ServeBulk under the same index. On an error the host closes the bearer, after 5 s if
// it is a *JoinError, so that the answer is not overtaken. ctx limits join and, afterwards, the life of the bearer.
func (n *Node) AcceptBulk(ctx context.Context, id PeerID, link Link) (index int, err error) {
	jctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	msg, err := link.Recv(jctx)
	if err != nil {
		return 0, err
	}
	var reply []byte
	var p *peer
	ok := false
	n.mu.Lock()
	n.core.now = time.Since(n.start)
	reply, p, index, ok = n.core.acceptJoin(id, msg)
	n.core.settle()
	a := n.peers[id]
	if ok && a != nil && a.p == p {
		a.dropSenders(index) // of the bearer that this one replaces
	}
	t := n.finish()
	n.mu.Unlock()
	defer n.carryOut(t)
	if reply == nil {
		return 0, &DecodeError{Want: "join"}
	}
	if err := link.Send(jctx, RankJoin, reply); err != nil || !ok || a == nil || a.p != p {
		if err == nil {
			err = &JoinError{id}
		}
		return 0, err
	}
	a.lane(ctx, index, bearerOut+Stream(index), link)
	return index, nil
}

// ServeBulk takes the responder direction of a bulk bearer: the lane on which the peer asks and we answer.
func (n *Node) ServeBulk(ctx context.Context, id PeerID, index int, link Link) error {
	n.mu.Lock()
	a := n.peers[id]
	n.mu.Unlock()
	if a == nil || index < 0 || index >= maxBearers {
		return &JoinError{id}
	}
	a.lane(ctx, index, bearerIn+Stream(index), link)
	return nil
}
