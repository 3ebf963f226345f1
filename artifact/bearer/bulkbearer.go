package bearer

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/mux"
)

// joinNoLinger is how long an acceptor leaves a refused bulk bearer open, so that its answer is not overtaken by a reset.
const joinNoLinger = 5 * time.Second

// bulkBearer is a connection with join, then one fetch lane each way.
type bulkBearer struct {
	n      *Network
	m      *mux.Mux
	peer   artifact.PeerID
	ctx    context.Context
	cancel context.CancelCauseFunc
	budget *budget

	join, out, in   *mux.Stream // out: we ask, in: we answer
	outLane, inLane link
	joined          atomic.Uint64 // bytes of the message of join that has been taken; 0: none yet
}

// bulkKey names the bulk bearers that replace each other.
type bulkKey struct {
	peer    artifact.PeerID
	index   int
	dialled bool
}

var (
	errJoinOrder = errors.New("artifact: an SDU on a bulk bearer that join does not allow")
	errReplaced  = errors.New("artifact: another bulk bearer has joined under the same index")
	errDone      = errors.New("artifact: a bulk bearer is not needed any more")
)

// newBulk makes a bulk bearer; dialler registers the lanes at once, an acceptor when it has admitted the peer.
func (n *Network) newBulk(ctx context.Context, conn net.Conn, peer artifact.PeerID, dialler bool) (*bulkBearer, error) {
	b := &bulkBearer{n: n, peer: peer, budget: n.takeBudget(peer)}
	b.ctx, b.cancel = context.WithCancelCause(ctx)
	b.m = n.newMux(conn, mux.Config{NotSentLowat: bulkLowat, Budget: b.budget.b})
	role, limit := mux.Responder, joinIngress
	if dialler {
		role, limit = mux.Initiator, artifact.MaxSmall
	}
	var err error
	if b.join, err = b.m.Register(mux.StreamConfig{Number: artifact.NumJoin, Role: role, IngressLimit: limit}); err == nil && dialler {
		err = b.lanes()
	}
	if err != nil {
		b.close(err)
		b.keep()
		return nil, err
	}
	// Runs on the reader, so the order of the SDUs is theirs: one message of join, and nothing else before it.
	b.join.OnData(b.onlyJoin)
	if dialler {
		early := func() {
			if b.join.Counters().BytesIn == 0 {
				b.close(errJoinOrder)
			}
		}
		b.out.OnData(early)
		b.in.OnData(early)
	}
	return b, nil
}

// onlyJoin closes the bearer if more than its one message has come on join. The message may have been taken before the reader says that
// it came, so what counts is how much did.
func (b *bulkBearer) onlyJoin() {
	if n := b.joined.Load(); n > 0 && b.join.Counters().BytesIn > n {
		b.close(errJoinOrder)
	}
}

// lanes registers the two lanes.
func (b *bulkBearer) lanes() (err error) {
	if b.out, err = b.m.Register(mux.StreamConfig{Number: artifact.NumBulk, Role: mux.Initiator, IngressLimit: laneIngress(&b.n.limits)}); err != nil {
		return err
	}
	if b.in, err = b.m.Register(mux.StreamConfig{Number: artifact.NumBulk, Role: mux.Responder, IngressLimit: withSlack(serveIngress)}); err != nil {
		return err
	}
	b.outLane.s, b.outLane.max = b.out, artifact.MaxPiece
	b.inLane.s, b.inLane.max = b.in, artifact.MaxFetch
	return nil
}

// close ends the bearer; it does not wait.
func (b *bulkBearer) close(cause error) { b.cancel(cause) }

// keep waits for the end of the bearer and sees it through.
func (b *bulkBearer) keep() {
	select {
	case <-b.ctx.Done():
	case <-b.m.Gone():
	case <-b.m.Done():
	}
	b.outLane.end(endOf(b.m))
	b.inLane.end(endOf(b.m))
	if cause := context.Cause(b.ctx); cause != nil {
		b.m.Abort(cause) // nothing on it is owed to anybody: what was asked for is asked elsewhere
	}
	b.cancel(errDone)
	_ = b.m.Close() // always nil
	b.n.ended(b.m)
	b.n.giveBudget(b.peer, b.budget)
}

// outLink is the Link of our lane: the first message each way is join's.
type outLink struct {
	b          *bulkBearer
	join       link
	sent, seen bool
	// begin runs before the first message of the lane is delivered: join is over then.
	begin func()
}

func newOutLink(b *bulkBearer, joinMax int) *outLink {
	return &outLink{b: b, join: link{s: b.join, max: joinMax}}
}

// Send implements artifact.Link.
func (l *outLink) Send(ctx context.Context, rank uint8, msg []byte) error {
	err := error(nil)
	if !l.sent {
		l.sent = true
		if l.b.out == nil { // the acceptor answers: from now on the lanes are legal
			err = l.b.lanes()
		}
		if err == nil {
			err = l.join.Send(ctx, rank, msg)
		}
	} else {
		err = l.b.outLane.Send(ctx, rank, msg)
	}
	return l.ended(err)
}

// Put implements artifact.Gatherer. Join's message is not put.
func (l *outLink) Put(ctx context.Context, rank uint8, head, body []byte) error {
	return l.ended(l.b.out.Hold(ctx, rank, head, body))
}

// Flush implements artifact.Gatherer.
func (l *outLink) Flush() error { return l.ended(l.b.out.Flush()) }

// WaitCut implements artifact.Gatherer.
func (l *outLink) WaitCut(ctx context.Context) error { return l.ended(l.b.out.WaitCut(ctx)) }

// Uncut implements artifact.Gatherer.
func (l *outLink) Uncut() int { return l.b.out.Uncut() }

// Recv implements artifact.Link.
func (l *outLink) Recv(ctx context.Context) ([]byte, error) {
	if !l.seen {
		l.seen = true
		msg, err := l.join.Recv(ctx)
		if err == nil {
			l.b.joined.Store(max(uint64(len(msg)), 1))
			l.b.onlyJoin()
		}
		return msg, l.ended(err)
	}
	msg, err := l.b.outLane.Recv(ctx)
	return msg, l.ended(err)
}

// Deliver implements artifact.Deliverer. It is called when join is over.
func (l *outLink) Deliver(ctx context.Context, f func(msg []byte, err error)) {
	if l.begin != nil {
		l.begin()
	}
	l.b.outLane.Deliver(ctx, func(msg []byte, err error) { f(msg, l.ended(err)) })
}

// ended closes the bearer once its lane is given up.
func (l *outLink) ended(err error) error {
	if err != nil {
		l.b.close(err)
	}
	return err
}

// inLink is the Link of the lane that the peer asks on.
func (b *bulkBearer) inLink() artifact.Link { return &b.inLane }

// dialBulk dials a bulk bearer for a main one. ctx ends it.
func (n *Network) dialBulk(ctx context.Context, main *mainBearer, index int) (artifact.Link, error) {
	if !n.enter() {
		return nil, artifact.ErrClosed
	}
	defer n.tasks.Done()
	dctx, stop := context.WithTimeout(ctx, n.cfg.DialTimeout)
	defer stop()
	conn, err := n.cfg.Dial(dctx, "tcp", main.addr)
	if err != nil {
		return nil, err
	}
	own := n.own
	own.Features = artifact.FeatureBulk
	peer, _, err := propose(dctx, conn, own)
	if err == nil && peer.NodeID != main.peer {
		err = &HandshakeError{errors.New("a bulk bearer led to another node")}
	}
	if err == nil {
		_, err = n.identify(conn, peer.NodeID)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	b, err := n.newBulk(ctx, conn, main.peer, true)
	if err != nil {
		return nil, err
	}
	l := newOutLink(b, artifact.MaxSmall)
	l.begin = func() {
		n.replaceBulk(bulkKey{main.peer, index, true}, b)
		if err := n.node.ServeBulk(b.ctx, main.peer, index, b.inLink()); err != nil {
			b.close(err)
		}
	}
	b.m.Start()
	n.tasks.Add(1)
	go func() {
		defer n.tasks.Done()
		b.keep()
		n.forgetBulk(bulkKey{main.peer, index, true}, b)
	}()
	return l, nil
}

// acceptBulk runs a bulk bearer that somebody dialled, until it ends. negotiated is called once it has joined.
func (n *Network) acceptBulk(ctx context.Context, conn net.Conn, peer artifact.PeerID, negotiated func()) error {
	b, err := n.newBulk(ctx, conn, peer, false)
	if err != nil {
		return err
	}
	b.m.Start()
	index, err := n.node.AcceptBulk(b.ctx, peer, newOutLink(b, joinIngress))
	if err == nil {
		err = n.node.ServeBulk(b.ctx, peer, index, b.inLink())
	}
	var no *artifact.JoinError
	switch {
	case errors.As(err, &no):
		t := time.NewTimer(joinNoLinger)
		select {
		case <-t.C:
		case <-b.m.Done():
		case <-b.ctx.Done():
		}
		t.Stop()
		b.close(err)
	case err != nil:
		b.close(err)
	default:
		negotiated()
		n.replaceBulk(bulkKey{peer, index, false}, b)
		n.note(Event{Kind: BulkUp, Peer: peer, Addr: conn.RemoteAddr().String()})
		defer n.forgetBulk(bulkKey{peer, index, false}, b)
	}
	b.keep()
	return err
}

func (n *Network) replaceBulk(k bulkKey, b *bulkBearer) {
	n.mu.Lock()
	old := n.bulks[k]
	n.bulks[k] = b
	n.mu.Unlock()
	if old != nil {
		old.close(errReplaced)
	}
}

func (n *Network) forgetBulk(k bulkKey, b *bulkBearer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.bulks[k] == b {
		delete(n.bulks, k)
	}
}
