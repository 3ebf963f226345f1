package libp2p

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/core/sec/insecure"
	basichost "github.com/libp2p/go-libp2p/p2p/host/basic"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	libswarm "github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
)

// What gossipsub is given so that nothing but its own work holds it up.
const (
	topicName = "compare"
	// maxMessage is above the largest body with its envelope; the default is 1 MiB.
	maxMessage = 2 << 20
	// queues of messages to a peer, and to the subscriber: what finds one full is thrown away, and 32, the default, is less than
	// is under way here.
	queueSize = 8192
	// dontWants are the limits of IDONTWANT a heartbeat; the defaults, 10 and 1,000, are less than is published here in one.
	dontWants = 1 << 20
	// meshTime is three heartbeats, in which the meshes form: what is published before comes late.
	meshTime = 3 * time.Second
	// readBuffer of a connection. Yamux has none by default, since encrypting transports have their own; this one does not encrypt.
	readBuffer = 64 << 10
)

// gossipsub is the swarm of go-libp2p-pubsub: TCP without encryption, yamux, messages without author and signature, named by the
// SHA-256 of their data, no discovery and no scoring. All else is as it comes: degree 6, 5 to 12, heartbeat 1 s, IDONTWANT above 1 KiB.
type gossipsub struct {
	hosts  []host.Host
	topics []*pubsub.Topic
	subs   []*pubsub.Subscription
	cancel context.CancelFunc
	reads  sync.WaitGroup

	bytes  atomic.Uint64
	hashed atomic.Uint64 // bodies named: one for each that arrived, one for each that was published
	sent   atomic.Uint64
}

func newGossipsub(ctx context.Context, delivered func(delivery)) (swarm, error) {
	g := &gossipsub{}
	run, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	for range nodes {
		if err := g.add(run); err != nil {
			return nil, errors.Join(err, g.close())
		}
	}
	for _, l := range links() {
		to := g.hosts[l[1]]
		if err := g.hosts[l[0]].Connect(ctx, peer.AddrInfo{ID: to.ID(), Addrs: to.Addrs()}); err != nil {
			return nil, errors.Join(err, g.close())
		}
	}
	for i, sub := range g.subs {
		g.reads.Go(func() {
			for {
				m, err := sub.Next(run)
				if err != nil {
					return // the swarm is closed
				}
				if m.ReceivedFrom != g.hosts[i].ID() {
					delivered(delivery{i, id([]byte(m.ID)), m.Data, time.Now()})
				}
			}
		})
	}
	err := await(ctx, "the meshes", func() bool {
		for _, t := range g.topics {
			if len(t.ListPeers()) < 7 {
				return false
			}
		}
		return true
	})
	if err != nil {
		return nil, errors.Join(err, g.close())
	}
	time.Sleep(meshTime)
	return g, nil
}

// add makes one node.
func (g *gossipsub) add(ctx context.Context) error {
	h, err := g.host()
	if err != nil {
		return err
	}
	g.hosts = append(g.hosts, h)
	params := pubsub.DefaultGossipSubParams()
	params.MaxIDontWantLength, params.MaxIDontWantMessages = dontWants, dontWants
	ps, err := pubsub.NewGossipSub(ctx, h,
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign),
		pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(func(m *pb.Message) string {
			g.hashed.Add(1)
			sum := sha256.Sum256(m.GetData())
			return string(sum[:])
		}),
		pubsub.WithMaxMessageSize(maxMessage),
		pubsub.WithPeerOutboundQueueSize(queueSize),
		pubsub.WithGossipSubParams(params),
	)
	if err != nil {
		return err
	}
	t, err := ps.Join(topicName)
	if err != nil {
		return err
	}
	sub, err := t.Subscribe(pubsub.WithBufferSize(queueSize))
	if err != nil {
		return err
	}
	g.topics, g.subs = append(g.topics, t), append(g.subs, sub)
	return nil
}

// host makes a libp2p host out of the parts that are needed.
func (g *gossipsub) host() (host.Host, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, err
	}
	self, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, err
	}
	ps, err := pstoremem.NewPeerstore()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(ps.AddPubKey(self, key.GetPublic()), ps.AddPrivKey(self, key)); err != nil {
		return nil, err
	}
	net, err := libswarm.NewSwarm(self, ps, eventbus.NewBus())
	if err != nil {
		return nil, err
	}
	mux := *yamux.DefaultTransport
	mux.ReadBufSize = readBuffer
	plain := counted{insecure.NewWithIdentity(insecure.ID, self, key), &g.bytes}
	up, err := upgrader.New([]sec.SecureTransport{plain}, []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: &mux}}, nil, nil, nil)
	if err != nil {
		return nil, err
	}
	t, err := tcp.NewTCPTransport(up, nil, nil, tcp.DisableReuseport())
	if err != nil {
		return nil, err
	}
	if err := errors.Join(net.AddTransport(t), net.Listen(ma.StringCast("/ip4/127.0.0.1/tcp/0"))); err != nil {
		return nil, err
	}
	ps.AddAddrs(self, net.ListenAddresses(), peerstore.PermanentAddrTTL)
	h, err := basichost.NewHost(net, nil)
	if err != nil {
		return nil, err
	}
	h.Start()
	return h, nil
}

func (g *gossipsub) publish(node int, body []byte, _ bool) (id, error) {
	g.sent.Add(1)
	return sha256.Sum256(body), g.topics[node].Publish(context.Background(), body)
}

func (g *gossipsub) received() (bytes, bodies uint64) {
	return g.bytes.Load(), g.hashed.Load() - g.sent.Load()
}

// forget does nothing: gossipsub forgets by the clock.
func (g *gossipsub) forget(id, int, bool) {}

func (g *gossipsub) violations() uint64 { return 0 }

func (g *gossipsub) close() (err error) {
	for _, s := range g.subs {
		s.Cancel()
	}
	g.cancel()
	g.reads.Wait()
	for _, h := range g.hosts {
		ps := h.Peerstore()
		err = errors.Join(err, h.Close(), ps.Close())
	}
	return err
}

// counted counts what arrives on the connections of a security transport.
type counted struct {
	*insecure.Transport
	bytes *atomic.Uint64
}

func (c counted) SecureInbound(ctx context.Context, conn net.Conn, p peer.ID) (sec.SecureConn, error) {
	return c.Transport.SecureInbound(ctx, countedConn{conn, c.bytes}, p)
}

func (c counted) SecureOutbound(ctx context.Context, conn net.Conn, p peer.ID) (sec.SecureConn, error) {
	return c.Transport.SecureOutbound(ctx, countedConn{conn, c.bytes}, p)
}

type countedConn struct {
	net.Conn
	bytes *atomic.Uint64
}

func (c countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.bytes.Add(uint64(n))
	return n, err
}
