package interop

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ouroboros "github.com/blinklabs-io/gouroboros"
	gblockfetch "github.com/blinklabs-io/gouroboros/protocol/blockfetch"
	gchainsync "github.com/blinklabs-io/gouroboros/protocol/chainsync"
	gcommon "github.com/blinklabs-io/gouroboros/protocol/common"
	gkeepalive "github.com/blinklabs-io/gouroboros/protocol/keepalive"
	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

const (
	network       = connmgr.Network(42)   // none of the public ones, where what is told of addresses here would not be believed
	keepAlive     = 30 * time.Millisecond // short, so that several fit into a test
	keepAliveWord = 0x1234                // the one cookie that gouroboros uses for ever (wire §15)
)

// change is one event of a chain, as either implementation reports it. Hash is computed from the payload, never taken on trust.
type change struct {
	kind  chainsync.UpdateKind
	era   uint            // Forward: the block's tag
	body  []byte          // Forward: the bare header, or the bare block on node-to-client
	point chainsync.Point // Backward
	tip   chainsync.Tip
}

// theirs is one end of a connection that gouroboros runs: it serves a ledger, and reports what its client hears.
type theirs struct {
	conn    *ouroboros.Connection
	changes chan change
	blocks  chan change
	batches chan struct{}
	pongs   atomic.Int64 // keep-alive answers received
	failed  chan error
}

type theirConfig struct {
	serve      *ledger // nil: serve nothing
	nodeToNode bool
	server     bool
	duplex     bool
	magic      uint32
	tap        *tap        // listens in, if set
	refused    chan error  // gets why handshakes failed, if set
	failed     func(error) // told of every error of a server's connection, if set
	more       []ouroboros.ConnectionOptionFunc
}

func gpoint(p chainsync.Point) gcommon.Point {
	if p.IsOrigin() {
		return gcommon.NewPointOrigin()
	}
	return gcommon.NewPoint(p.Slot, append([]byte(nil), p.Hash[:]...))
}

func gtip(t chainsync.Tip) gchainsync.Tip {
	return gchainsync.Tip{Point: gpoint(t.Point), BlockNumber: t.Block}
}

func ourPoint(p gcommon.Point) (q chainsync.Point) {
	q.Slot = p.Slot
	copy(q.Hash[:], p.Hash)
	return q
}

func ourTip(t gchainsync.Tip) chainsync.Tip {
	return chainsync.Tip{Point: ourPoint(t.Point), Block: t.BlockNumber}
}

// newTheirs does gouroboros's side of the handshake on conn and starts everything.
func newTheirs(conn net.Conn, c theirConfig) (*theirs, error) {
	t := &theirs{
		changes: make(chan change, 64), blocks: make(chan change, 64), batches: make(chan struct{}, 64),
		failed: make(chan error, 16),
	}
	if c.tap == nil {
		c.tap = &tap{}
	}
	conn = c.tap.on(conn)
	if c.magic == 0 {
		c.magic = uint32(network)
	}
	syncConfig := gchainsync.NewConfig(
		gchainsync.WithRollForwardRawFunc(func(_ gchainsync.CallbackContext, era uint, body []byte, tip gchainsync.Tip) error {
			t.changes <- change{kind: chainsync.Forward, era: era, body: append([]byte(nil), body...), tip: ourTip(tip)}
			return nil
		}),
		gchainsync.WithRollBackwardFunc(func(_ gchainsync.CallbackContext, p gcommon.Point, tip gchainsync.Tip) error {
			t.changes <- change{kind: chainsync.Backward, point: ourPoint(p), tip: ourTip(tip)}
			return nil
		}),
	)
	fetchConfig, err := gblockfetch.NewConfig(
		gblockfetch.WithBlockRawFunc(func(_ gblockfetch.CallbackContext, era uint, body []byte) error {
			t.blocks <- change{era: era, body: append([]byte(nil), body...)}
			return nil
		}),
		gblockfetch.WithBatchDoneFunc(func(gblockfetch.CallbackContext) error {
			t.batches <- struct{}{}
			return nil
		}),
	)
	if err != nil {
		return nil, err
	}
	if c.serve != nil {
		s := &theirServer{ledger: c.serve, form: chainsync.Blocks}
		if c.nodeToNode {
			s.form = chainsync.Headers
		}
		syncConfig.FindIntersectFunc, syncConfig.RequestNextFunc = s.findIntersect, s.requestNext
		fetchConfig.RequestRangeFunc = s.requestRange
	}
	options := []ouroboros.ConnectionOptionFunc{
		ouroboros.WithConnection(conn), ouroboros.WithNetworkMagic(c.magic), ouroboros.WithServer(c.server),
		ouroboros.WithNodeToNode(c.nodeToNode), ouroboros.WithFullDuplex(c.duplex), ouroboros.WithErrorChan(t.failed),
		ouroboros.WithChainSyncConfig(syncConfig), ouroboros.WithBlockFetchConfig(fetchConfig),
		ouroboros.WithKeepAlive(!c.server),
		ouroboros.WithKeepAliveConfig(gkeepalive.NewConfig(
			gkeepalive.WithPeriod(keepAlive), gkeepalive.WithCookie(keepAliveWord),
			gkeepalive.WithKeepAliveResponseFunc(func(gkeepalive.CallbackContext, uint16) error {
				t.pongs.Add(1)
				return nil
			}),
		)),
	}
	t.conn, err = ouroboros.NewConnection(append(options, c.more...)...)
	if err != nil {
		return nil, err
	}
	if c.server && c.duplex && c.nodeToNode {
		// A server that starts keep-alive by itself may send the first request before its answer to the handshake, which the
		// reference, and Hearth, take for a failed handshake. So start it when the answer is out.
		for deadline := time.Now().Add(10 * time.Second); len(c.tap.theirs(0)) == 0; <-time.After(time.Millisecond) {
			if time.Now().After(deadline) {
				return nil, errors.New("the handshake was never answered")
			}
		}
		t.conn.KeepAlive().Client.Start()
	}
	return t, nil
}

// theirServer answers on behalf of gouroboros's servers.
type theirServer struct {
	ledger *ledger
	form   chainsync.Form

	mu     sync.Mutex
	cursor *cursor
}

func (s *theirServer) place() *cursor {
	if s.cursor == nil {
		s.cursor = s.ledger.Cursor(s.form).(*cursor)
	}
	return s.cursor
}

func (s *theirServer) findIntersect(_ gchainsync.CallbackContext, points []gcommon.Point) (gcommon.Point, gchainsync.Tip, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ours := make([]chainsync.Point, len(points))
	for i, p := range points {
		ours[i] = ourPoint(p)
	}
	at, tip, ok := s.place().Intersect(ours)
	if !ok {
		return gcommon.Point{}, gtip(tip), gchainsync.ErrIntersectNotFound
	}
	return gpoint(at), gtip(tip), nil
}

func (s *theirServer) requestNext(ctx gchainsync.CallbackContext) error {
	changed, err := s.answer(ctx.Server)
	if changed == nil || err != nil {
		return err
	}
	if err := ctx.Server.AwaitReply(); err != nil {
		return err
	}
	done := ctx.Server.ProtocolInstance().DoneChan()
	go func() {
		for changed != nil {
			select {
			case <-changed:
			case <-done:
				return
			}
			if changed, err = s.answer(ctx.Server); err != nil {
				ctx.Server.SendError(err)
				return
			}
		}
	}()
	return nil
}

// answer sends what there is to say, or returns the channel to wait on.
func (s *theirServer) answer(server *gchainsync.Server) (<-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.place()
	u, err := c.Next()
	switch {
	case err != nil:
		return nil, err
	case u.Kind == chainsync.AtTip:
		return u.Changed, nil
	case u.Kind == chainsync.Backward:
		return nil, server.RollBackward(gpoint(u.Point), gtip(u.Tip))
	}
	return nil, server.RollForward(uint(c.last.era), c.last.bare, gtip(u.Tip))
}

func (s *theirServer) requestRange(ctx gblockfetch.CallbackContext, from, to gcommon.Point) error {
	blocks, ok := s.ledger.Range(ourPoint(from), ourPoint(to))
	if !ok {
		return ctx.Server.NoBlocks()
	}
	go func() { // the callback must return, or the server sees no shutdown
		err := ctx.Server.StartBatch()
		unsent := 0
		for item := range blocks {
			if err != nil {
				break
			}
			if unsent += len(item); unsent > 1<<20 { // a server that gets 2.5 MB ahead of its socket gives up
				ctx.Server.ProtocolInstance().WaitSendQueueDrained(10 * time.Second)
				unsent = len(item)
			}
			err = ctx.Server.Block(uint(item[1]), item[2:])
		}
		if err == nil {
			err = ctx.Server.BatchDone()
		}
		if err != nil {
			ctx.Server.SendError(err)
		}
	}()
	return nil
}

// serveTheirs runs gouroboros servers on a listener of the given kind for the test's time. Each connection is announced.
func serveTheirs(t testing.TB, kind, addr string, c theirConfig) (string, <-chan *theirs) {
	t.Helper()
	ln, err := net.Listen(kind, addr)
	require.NoError(t, err)
	c.server = true
	accepted := make(chan *theirs, 16)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				peer, err := newTheirs(conn, c)
				if err != nil {
					conn.Close()
					if c.refused != nil {
						c.refused <- err
					}
					return
				}
				accepted <- peer
				for err := range peer.failed { // until it has shut down
					if c.failed != nil {
						c.failed(err)
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		close := func() {
			for {
				select {
				case p := <-accepted:
					p.conn.Close()
				default:
					return
				}
			}
		}
		close()
		all.Wait()
	})
	return ln.Addr().String(), accepted
}

// dialTheirs connects a gouroboros client.
func dialTheirs(t testing.TB, kind, addr string, c theirConfig) *theirs {
	t.Helper()
	conn, err := net.Dial(kind, addr)
	require.NoError(t, err)
	peer, err := newTheirs(conn, c)
	require.NoError(t, err)
	t.Cleanup(func() { peer.conn.Close() })
	return peer
}

// serveOurs runs our listener for the test's time.
func serveOurs(t testing.TB, kind, addr string, opts ...connmgr.Option) (string, <-chan *connmgr.Conn) {
	t.Helper()
	ln, err := net.Listen(kind, addr)
	require.NoError(t, err)
	l := connmgr.NewListener(ln, network, kind == "unix", opts...)
	ctx, cancel := context.WithCancel(context.Background())
	accepted := make(chan *connmgr.Conn, 16)
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, func(c *connmgr.Conn) { accepted <- c }) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-served)
		require.NoError(t, l.Close())
	})
	return ln.Addr().String(), accepted
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}
