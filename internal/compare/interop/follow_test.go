package interop

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	gchainsync "github.com/blinklabs-io/gouroboros/protocol/chainsync"
	gcommon "github.com/blinklabs-io/gouroboros/protocol/common"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

func TestMain(m *testing.M) {
	// gouroboros leaves this one behind when a connection ends before its keep-alive client has started.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/blinklabs-io/gouroboros/protocol/keepalive.(*Client).Start.func1.1"))
}

// followOurs has our client follow conn's peer from the origin through all links, and checks every hash.
func followOurs(ctx context.Context, conn *connmgr.Conn, links []link) error {
	i := -1
	for ev, err := range chainsync.NewClient(conn).Follow(ctx, nil) {
		if err != nil {
			return err
		}
		if i < 0 {
			if ev.Kind != chainsync.Backward || !ev.Point.IsOrigin() {
				return errors.New("the first event is not the roll back to the intersection")
			}
		} else if err := checkForward(ev, links[i], conn.Negotiated().NodeToClient); err != nil {
			return err
		}
		if ev.Tip != tipOf(links) {
			return errors.New("wrong tip " + ev.Tip.String())
		}
		if i++; i == len(links) {
			return nil
		}
	}
	return errors.New("unreachable: the sequence ended without an error")
}

func checkForward(ev chainsync.Event, want link, nodeToClient bool) error {
	if ev.Kind != chainsync.Forward {
		return errors.New("want a roll forward to " + want.point.String())
	}
	if nodeToClient {
		b, err := chain.ParseBlockPayload(ev.Payload)
		if err != nil {
			return err
		}
		if _, err := b.CheckBody(); err != nil {
			return err
		}
		return sameHeader(b.Header, want)
	}
	h, err := chain.ParseHeaderPayload(ev.Payload)
	if err != nil {
		return err
	}
	return sameHeader(h, want)
}

func sameHeader(h chain.Header, want link) error {
	if got := (chainsync.Point{Slot: h.Slot, Hash: h.Hash}); got != want.point || h.Number != want.number || h.Era != want.era {
		return errors.New("got " + got.String() + ", want " + want.point.String())
	}
	return nil
}

// fetchOurs has our client fetch all links in ranges of a hundred, and checks every hash.
func fetchOurs(ctx context.Context, conn *connmgr.Conn, links []link) error {
	i := 0
	ranges := func(yield func(blockfetch.Range) bool) {
		for from := 0; from < len(links); from += 100 {
			to := min(from+100, len(links)) - 1
			if !yield(blockfetch.Range{From: links[from].point, To: links[to].point}) {
				return
			}
		}
	}
	for b, err := range blockfetch.NewClient(conn).Ranges(ctx, ranges) {
		if err != nil {
			return err
		}
		got, err := chain.ParseBlock(b.Bytes)
		if err != nil {
			return err
		}
		if _, err := got.CheckBody(); err != nil {
			return err
		}
		if err := sameHeader(got.Header, links[i]); err != nil {
			return err
		}
		i++
	}
	if i != len(links) {
		return errors.New("too few blocks")
	}
	return nil
}

// next waits for a change that gouroboros's client reports.
func (p *theirs) next(ctx context.Context, from <-chan change) (change, error) {
	select {
	case c := <-from:
		return c, nil
	case err := <-p.failed:
		return change{}, errors.Join(errors.New("gouroboros failed"), err)
	case <-ctx.Done():
		return change{}, ctx.Err()
	}
}

// follow has gouroboros's client follow its peer from the origin through all links, and checks every hash.
func (p *theirs) follow(ctx context.Context, links []link, nodeToClient bool) error {
	if err := p.conn.ChainSync().Client.Sync([]gcommon.Point{gcommon.NewPointOrigin()}); err != nil {
		return err
	}
	c, err := p.next(ctx, p.changes)
	if err != nil {
		return err
	}
	if c.kind != chainsync.Backward || !c.point.IsOrigin() {
		return errors.New("the first event is not the roll back to the intersection")
	}
	for i := range links {
		c, err := p.next(ctx, p.changes)
		if err != nil {
			return err
		}
		if err := c.check(links[i], nodeToClient); err != nil {
			return err
		}
		if c.tip != tipOf(links) {
			return errors.New("wrong tip " + c.tip.String())
		}
	}
	return nil
}

func (c change) check(want link, whole bool) error {
	if c.kind == chainsync.Backward {
		return errors.New("roll back to " + c.point.String() + ", want forward to " + want.point.String())
	}
	if !whole {
		h, err := chain.ParseHeader(chain.Era(c.era), c.body)
		if err != nil {
			return err
		}
		return sameHeader(h, want)
	}
	b, err := chain.ParseBlock(chain.AppendItem(nil, chain.Era(c.era), c.body))
	if err != nil {
		return err
	}
	if _, err := b.CheckBody(); err != nil {
		return err
	}
	return sameHeader(b.Header, want)
}

// fetch has gouroboros's client fetch all links, range after range, which is all it can.
func (p *theirs) fetch(ctx context.Context, links []link) error {
	for from := 0; from < len(links); from += 500 {
		batch := links[from:min(from+500, len(links))]
		if err := p.conn.BlockFetch().Client.GetBlockRange(gpoint(batch[0].point), gpoint(batch[len(batch)-1].point)); err != nil {
			return err
		}
		for _, want := range batch {
			c, err := p.next(ctx, p.blocks)
			if err != nil {
				return err
			}
			c.kind = chainsync.Forward
			if err := c.check(want, true); err != nil {
				return err
			}
		}
		select {
		case <-p.batches:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// alive waits until both keep-alive clients of a connection have had answers, ours if conn is not nil, gouroboros's if peer is not.
func alive(t *testing.T, conn *connmgr.Conn, peer *theirs) {
	t.Helper()
	require.Eventually(t, func() bool {
		if conn != nil {
			if _, rtt, ok := conn.Latency(); !ok || rtt <= 0 {
				return false
			}
		}
		return peer == nil || peer.pongs.Load() >= 3
	}, 10*time.Second, time.Millisecond)
}

func socketPath(t testing.TB) string { return filepath.Join(t.TempDir(), "node.socket") }

func TestOurClientTheirServer(t *testing.T) {
	links := realLinks(t)
	t.Run("node-to-node over TCP", func(t *testing.T) {
		ctx := testContext(t)
		addr, _ := serveTheirs(t, "tcp", "127.0.0.1:0", theirConfig{serve: newLedger(links), nodeToNode: true})
		conn, err := connmgr.Dial(ctx, addr, network, connmgr.WithKeepAlive(keepAlive))
		require.NoError(t, err)
		defer conn.Close()
		both := make(chan error, 1)
		go func() { both <- fetchOurs(ctx, conn, links) }() // while the headers are coming
		require.NoError(t, followOurs(ctx, conn, links))
		require.NoError(t, <-both)
		alive(t, conn, nil)
		require.NoError(t, conn.Err())
	})
	t.Run("node-to-client over a Unix socket", func(t *testing.T) {
		ctx := testContext(t)
		path, _ := serveTheirs(t, "unix", socketPath(t), theirConfig{serve: newLedger(links)})
		conn, err := connmgr.DialLocal(ctx, path, network)
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, followOurs(ctx, conn, links))
		require.NoError(t, conn.Err())
	})
}

func TestTheirClientOurServer(t *testing.T) {
	links := realLinks(t)
	t.Run("node-to-node over TCP", func(t *testing.T) {
		ctx := testContext(t)
		source := newLedger(links)
		addr, _ := serveOurs(t, "tcp", "127.0.0.1:0", connmgr.Serve(chainsync.Responder(source), blockfetch.Responder(source)))
		peer := dialTheirs(t, "tcp", addr, theirConfig{nodeToNode: true})
		both := make(chan error, 1)
		go func() { both <- peer.fetch(ctx, links) }()
		require.NoError(t, peer.follow(ctx, links, false))
		require.NoError(t, <-both)
		alive(t, nil, peer)
	})
	t.Run("node-to-client over a Unix socket", func(t *testing.T) {
		ctx := testContext(t)
		path, _ := serveOurs(t, "unix", socketPath(t), connmgr.Serve(chainsync.LocalResponder(newLedger(links))))
		peer := dialTheirs(t, "unix", path, theirConfig{})
		require.NoError(t, peer.follow(ctx, links, true))
	})
}

// TestDuplex has both ends follow each other, fetch from each other and keep each other alive over one connection.
func TestDuplex(t *testing.T) {
	links := realLinks(t)
	source := newLedger(links)
	ours := []connmgr.Option{
		connmgr.WithDuplex(), connmgr.WithKeepAlive(keepAlive), connmgr.WithPeerSharing(),
		connmgr.Serve(chainsync.Responder(source), blockfetch.Responder(source)),
	}
	followEachOther := func(t *testing.T, conn *connmgr.Conn, peer *theirs) {
		ctx := testContext(t)
		require.True(t, conn.Negotiated().Duplex())
		work := []func() error{
			func() error { return followOurs(ctx, conn, links) },
			func() error { return fetchOurs(ctx, conn, links) },
			func() error { return peer.follow(ctx, links, false) },
			func() error { return peer.fetch(ctx, links) },
		}
		done := make(chan error, len(work))
		for _, f := range work {
			go func() { done <- f() }()
		}
		for range work {
			require.NoError(t, <-done)
		}
		alive(t, conn, peer)
		require.NoError(t, conn.Err())
	}
	t.Run("dialled by us", func(t *testing.T) {
		addr, accepted := serveTheirs(t, "tcp", "127.0.0.1:0", theirConfig{serve: source, nodeToNode: true, duplex: true})
		conn, err := connmgr.Dial(testContext(t), addr, network, ours...)
		require.NoError(t, err)
		defer conn.Close()
		followEachOther(t, conn, <-accepted)
	})
	t.Run("dialled by them", func(t *testing.T) {
		addr, accepted := serveOurs(t, "tcp", "127.0.0.1:0", ours...)
		peer := dialTheirs(t, "tcp", addr, theirConfig{serve: source, nodeToNode: true, duplex: true})
		followEachOther(t, <-accepted, peer)
	})
}

// TestRollBack switches the served chain while the other end sits at its tip: five blocks back, then as many forward again.
func TestRollBack(t *testing.T) {
	all := realLinks(t)[:400]
	const depth = 5
	short := all[:300]
	fork := short[:len(short)-depth]
	for _, local := range []bool{false, true} {
		name, kind := "node-to-node", "tcp"
		responder := chainsync.Responder
		if local {
			name, kind, responder = "node-to-client", "unix", chainsync.LocalResponder
		}
		where := func(t *testing.T) string {
			if local {
				return socketPath(t)
			}
			return "127.0.0.1:0"
		}
		t.Run(name+"/our client, their server", func(t *testing.T) {
			ctx := testContext(t)
			source := newLedger(short)
			addr, _ := serveTheirs(t, kind, where(t), theirConfig{serve: source, nodeToNode: !local})
			dial := connmgr.Dial
			if local {
				dial = connmgr.DialLocal
			}
			conn, err := dial(ctx, addr, network)
			require.NoError(t, err)
			defer conn.Close()
			client := chainsync.NewClient(conn)
			at, _, err := client.FindIntersect(ctx, []chainsync.Point{all[350].point, short[200].point, chainsync.Origin})
			require.NoError(t, err)
			require.Equal(t, short[200].point, at)
			next := func() chainsync.Event {
				ev, err := client.Next(ctx)
				require.NoError(t, err)
				return ev
			}
			ev := next()
			require.Equal(t, chainsync.Backward, ev.Kind)
			require.Equal(t, short[200].point, ev.Point)
			for _, want := range short[201:] {
				require.NoError(t, checkForward(next(), want, local))
			}
			source.set(fork)
			ev = next()
			require.Equal(t, chainsync.Backward, ev.Kind)
			require.Equal(t, fork[len(fork)-1].point, ev.Point)
			require.Equal(t, tipOf(fork), ev.Tip)
			source.set(all)
			for _, want := range all[len(fork):] {
				require.NoError(t, checkForward(next(), want, local))
			}
		})
		t.Run(name+"/their client, our server", func(t *testing.T) {
			ctx := testContext(t)
			source := newLedger(short)
			addr, _ := serveOurs(t, kind, where(t), connmgr.Serve(responder(source)))
			peer := dialTheirs(t, kind, addr, theirConfig{nodeToNode: !local})
			err := peer.conn.ChainSync().Client.Sync([]gcommon.Point{gpoint(all[350].point), gpoint(short[200].point)})
			require.NoError(t, err)
			next := func() change {
				c, err := peer.next(ctx, peer.changes)
				require.NoError(t, err)
				return c
			}
			c := next()
			require.Equal(t, chainsync.Backward, c.kind)
			require.Equal(t, short[200].point, c.point)
			for _, want := range short[201:] {
				require.NoError(t, next().check(want, local))
			}
			source.set(fork)
			c = next()
			require.Equal(t, chainsync.Backward, c.kind)
			require.Equal(t, fork[len(fork)-1].point, c.point)
			require.Equal(t, tipOf(fork), c.tip)
			source.set(all)
			for _, want := range all[len(fork):] {
				require.NoError(t, next().check(want, local))
			}
		})
	}
}

// TestNothingThere: no intersection and no blocks are answers, not failures, and after Done a mini-protocol can run again.
func TestNothingThere(t *testing.T) {
	all := realLinks(t)[:50]
	short := all[:20]
	ctx := testContext(t)
	t.Run("our client, their server", func(t *testing.T) {
		addr, accepted := serveTheirs(t, "tcp", "127.0.0.1:0", theirConfig{serve: newLedger(short), nodeToNode: true})
		conn, err := connmgr.Dial(ctx, addr, network)
		require.NoError(t, err)
		defer conn.Close()
		server := (<-accepted).conn.ChainSync().Server
		run := server.ProtocolInstance()
		client := chainsync.NewClient(conn)
		tip, err := client.Tip(ctx)
		require.NoError(t, err)
		require.Equal(t, tipOf(short), tip)
		_, _, err = client.FindIntersect(ctx, []chainsync.Point{all[30].point})
		var none *chainsync.NoIntersectionError
		require.ErrorAs(t, err, &none)
		var missing *blockfetch.NoBlocksError
		for _, err := range blockfetch.NewClient(conn).Range(ctx, all[30].point, all[31].point) {
			require.ErrorAs(t, err, &missing)
		}
		require.NotNil(t, missing)
		require.NoError(t, client.Finish(ctx)) // Done, after which the stream can be opened again
		// The reference gives bytes that follow Done to the next run (wire §2.8). gouroboros throws away what comes before its
		// server has started again, so wait for that.
		require.Eventually(t, func() bool { return server.ProtocolInstance() != run }, 10*time.Second, time.Millisecond)
		server.ProtocolInstance().Start() // returns when it is started, whoever does it
		_, err = chainsync.NewClient(conn).Tip(ctx)
		require.NoError(t, err)
	})
	t.Run("their client, our server", func(t *testing.T) {
		source := newLedger(short)
		addr, _ := serveOurs(t, "tcp", "127.0.0.1:0", connmgr.Serve(chainsync.Responder(source), blockfetch.Responder(source)))
		peer := dialTheirs(t, "tcp", addr, theirConfig{nodeToNode: true})
		tip, err := peer.conn.ChainSync().Client.GetCurrentTip()
		require.NoError(t, err)
		require.Equal(t, tipOf(short), ourTip(*tip))
		require.ErrorIs(t, peer.conn.ChainSync().Client.Sync([]gcommon.Point{gpoint(all[30].point)}), gchainsync.ErrIntersectNotFound)
		require.Error(t, peer.conn.BlockFetch().Client.GetBlockRange(gpoint(all[30].point), gpoint(all[31].point)))
		require.NoError(t, peer.conn.ChainSync().Client.Stop()) // Done; Start and Sync again run over the same stream
		peer.conn.ChainSync().Client.Start()
		require.NoError(t, peer.follow(ctx, short, false))
	})
}
