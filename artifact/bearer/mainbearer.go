package bearer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/keepalive"
)

// TCP_NOTSENT_LOWAT, and how many bytes go into one write (artifact §6.7).
const (
	mainLowat = 16 << 10
	bulkLowat = 64 << 10
	mainBatch = 16 << 10
)

// keepAliveIngress is enough for requests that come one at a time.
const keepAliveIngress = 1408

// mainBearer is one main bearer: the artifact.Bearers of its peer.
type mainBearer struct {
	n    *Network
	m    *mux.Mux
	peer artifact.PeerID
	addr string // where bulk bearers are dialled

	links  artifact.Links
	alive  [2]*protocols.Session
	srtt   atomic.Int64
	budget *budget

	once    sync.Once
	closing chan struct{}
	blame   error
}

// newMain builds a main bearer over a connection whose handshake is done. It moves no byte before start.
func (n *Network) newMain(conn net.Conn, peer artifact.PeerID) (*mainBearer, error) {
	b := &mainBearer{n: n, peer: peer, addr: conn.RemoteAddr().String(), closing: make(chan struct{}), budget: n.takeBudget(peer)}
	b.m = n.newMux(conn, mux.Config{NotSentLowat: mainLowat, BatchBytes: mainBatch, Budget: b.budget.b})
	var err error
	register := func(number uint16, role mux.Role, ingress int) *mux.Stream {
		s, e := b.m.Register(mux.StreamConfig{Number: number, Role: role, IngressLimit: ingress})
		err = errors.Join(err, e)
		return s
	}
	both := func(l *[2]artifact.Link, number uint16, ingress, max [2]int) {
		for role := range 2 {
			l[role] = &link{s: register(number, mux.Role(role), ingress[role]), max: max[role]}
		}
	}
	cfg := &n.limits
	lane, serve := laneIngress(cfg), withSlack(serveIngress)
	both(&b.links.Offer, artifact.NumOffer, [2]int{withSlack(4*artifact.MaxOffers + cfg.InlineBytes), withSlack(artifact.MaxInit)},
		[2]int{artifact.MaxOffers + cfg.InlineBytes, artifact.MaxInit})
	both(&b.links.Control, artifact.NumControl, [2]int{ackIngress, withSlack(controlIngress)}, [2]int{artifact.MaxSmall, artifact.MaxControl})
	both(&b.links.Urgent, artifact.NumUrgent, [2]int{lane, serve}, [2]int{artifact.MaxPiece, artifact.MaxFetch})
	both(&b.links.Bulk, artifact.NumBulk, [2]int{lane, serve}, [2]int{artifact.MaxPiece, artifact.MaxFetch})
	latency := &keepalive.Latency{Sampled: b.sampled}
	for role, mp := range []*protocols.MiniProtocol{keepalive.Client(n.cfg.KeepAlive, latency), keepalive.Server()} {
		if s := register(keepalive.Number, mux.Role(role), keepAliveIngress); s != nil {
			b.alive[role] = protocols.NewSession(mp, s, protocols.Negotiated{}, nil)
		}
	}
	if err != nil {
		b.drop(err)
		return nil, err
	}
	return b, nil
}

// start lets bytes flow.
func (b *mainBearer) start() {
	b.m.Start()
	for _, s := range b.alive {
		s.RunEvents()
	}
}

// sampled smooths the round trips; it runs on the reader.
func (b *mainBearer) sampled(rtt time.Duration) {
	rtt = max(rtt, time.Microsecond)
	old := time.Duration(b.srtt.Load())
	if old > 0 {
		rtt = old + (rtt-old)/8
	}
	b.srtt.Store(int64(rtt))
	if old == 0 {
		b.n.node.SetRTT(b.peer, rtt)
	}
}

// RTT is the smoothed round trip; 0: not known yet.
func (b *mainBearer) RTT() time.Duration { return time.Duration(b.srtt.Load()) }

// Close ends the bearer; it does not wait. What the peer did wrong ends it at once, anything else in good order.
func (b *mainBearer) Close(blame error) {
	b.once.Do(func() {
		b.blame = blame
		close(b.closing)
	})
}

// Bulk dials a bulk bearer.
func (b *mainBearer) Bulk(ctx context.Context, index int) (artifact.Link, error) {
	return b.n.dialBulk(ctx, b, index)
}

// keep waits for the end of the bearer and sees it through. It returns why it ended. Of a connection that fails the node is told,
// which closes the bearer when it has forgotten the peer.
func (b *mainBearer) keep() error {
	select {
	case <-b.closing:
	case <-b.m.Gone():
		b.lost()
	case <-b.m.Done():
		b.lost()
	}
	<-b.closing
	if adversarial(b.blame) {
		b.m.Abort(b.blame)
	}
	return b.drop(b.blame)
}

func (b *mainBearer) lost() {
	err := endOf(b.m)
	l := &b.links
	for _, both := range [...][2]artifact.Link{l.Offer, l.Control, l.Urgent, l.Bulk} {
		for _, x := range both {
			x.(*link).end(err)
		}
	}
}

// drop closes the connection and waits until nothing of it is left.
func (b *mainBearer) drop(cause error) error {
	if cause == nil {
		cause = b.m.Err() // nil when it is we who end it
	}
	_ = b.m.Close() // always nil
	for _, s := range b.alive {
		if s != nil {
			s.Cancel()
		}
	}
	b.n.ended(b.m)
	b.n.giveBudget(b.peer, b.budget)
	return cause
}

// refuseInit serves a main bearer that is not kept: an init is answered initNo(duplicate), and the dialler closes. At the latest
// after limit we do.
func (b *mainBearer) refuseInit(ctx context.Context, limit time.Duration) {
	defer b.drop(nil)
	ctx, stop := context.WithTimeout(ctx, limit)
	defer stop()
	b.start()
	offer := b.links.Offer[mux.Responder]
	if _, err := offer.Recv(ctx); err != nil {
		return
	}
	if offer.Send(ctx, artifact.RankControl, initNoDuplicate) == nil {
		_ = b.m.Wait(ctx) // whichever comes first
	}
}

// initNoDuplicate is the offer protocol's [6, 2].
var initNoDuplicate = []byte{0x82, 6, 2}

func adversarial(err error) bool {
	var f interface{ Fault() string }
	return errors.As(err, &f) && f.Fault() == "adversarial"
}

// budget is what all bearers of one peer share, for as long as there are any.
type budget struct {
	b     *mux.Budget
	users int
}

func (n *Network) takeBudget(peer artifact.PeerID) *budget {
	n.mu.Lock()
	defer n.mu.Unlock()
	b := n.budgets[peer]
	if b == nil {
		b = &budget{b: mux.NewBudget(peerIngress(&n.limits))}
		n.budgets[peer] = b
	}
	b.users++
	return b
}

func (n *Network) giveBudget(peer artifact.PeerID, b *budget) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if b.users--; b.users == 0 {
		delete(n.budgets, peer)
	}
}

// addrOf is the IP of a connection's other end.
func addrOf(conn net.Conn) netip.Addr {
	if a, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		return a.Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
