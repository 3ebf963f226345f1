package conformance

import (
	"net"
	"sync"
	"testing"

	ouroboros "github.com/blinklabs-io/gouroboros"
	gblockfetch "github.com/blinklabs-io/gouroboros/protocol/blockfetch"
	gchainsync "github.com/blinklabs-io/gouroboros/protocol/chainsync"
	gcommon "github.com/blinklabs-io/gouroboros/protocol/common"
	gkeepalive "github.com/blinklabs-io/gouroboros/protocol/keepalive"
	gpeersharing "github.com/blinklabs-io/gouroboros/protocol/peersharing"
	gtxsubmission "github.com/blinklabs-io/gouroboros/protocol/txsubmission"
	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

const magic = 42

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

// served is what gouroboros's servers of one connection answer with: a chain of ours, which never changes.
type served struct {
	chain *chain.Chain

	mu     sync.Mutex
	cursor chainsync.Cursor
}

func (s *served) findIntersect(_ gchainsync.CallbackContext, points []gcommon.Point) (gcommon.Point, gchainsync.Tip, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ours := make([]chainsync.Point, len(points))
	for i, p := range points {
		ours[i] = ourPoint(p)
	}
	at, tip, ok := s.cursor.Intersect(ours)
	if !ok {
		return gcommon.Point{}, gtip(tip), gchainsync.ErrIntersectNotFound
	}
	return gpoint(at), gtip(tip), nil
}

func (s *served) requestNext(ctx gchainsync.CallbackContext) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.cursor.Next()
	if err != nil {
		return err
	}
	switch u.Kind {
	case chainsync.AtTip:
		return ctx.Server.AwaitReply()
	case chainsync.Backward:
		return ctx.Server.RollBackward(gpoint(u.Point), gtip(u.Tip))
	}
	b, err := chain.ParseBlockPayload(u.Payload)
	if err != nil {
		return err
	}
	return ctx.Server.RollForward(uint(b.Era), b.Raw, gtip(u.Tip))
}

func (s *served) requestRange(ctx gblockfetch.CallbackContext, from, to gcommon.Point) error {
	blocks, ok := s.chain.Range(ourPoint(from), ourPoint(to))
	if !ok {
		return ctx.Server.NoBlocks()
	}
	go func() { // the callback must return, or the server sees no shutdown
		err := ctx.Server.StartBatch()
		for item, failed := range blocks {
			if err == nil {
				err = failed
			}
			if err != nil {
				break
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

// txInit asks for transactions the only way that gouroboros has: one request at a time, what was received being acknowledged by the next.
func txInit(ctx gtxsubmission.CallbackContext) error {
	go func() {
		for {
			ids, err := ctx.Server.RequestTxIds(true, 3)
			if err != nil {
				return
			}
			wanted := make([]gtxsubmission.TxId, len(ids))
			for i, id := range ids {
				wanted[i] = id.TxId
			}
			if _, err := ctx.Server.RequestTxs(wanted); err != nil {
				return
			}
		}
	}()
	return nil
}

// serve runs gouroboros on a socket for the test's time.
func serve(t *testing.T) (addr string) {
	c := chain.NewMemory()
	for item := range chain.Generate(1, 30) {
		_, err := c.Append(item)
		require.NoError(t, err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			go func() { // nobody waits: after some violations gouroboros never says that it has shut down
				defer func() {
					conn.Close()
					mu.Lock()
					delete(open, conn)
					mu.Unlock()
				}()
				attend(conn, &served{chain: c, cursor: c.Cursor(chainsync.Blocks)})
			}()
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for conn := range open {
			conn.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return ln.Addr().String()
}

// attend serves one connection until it ends.
func attend(conn net.Conn, s *served) {
	fetch, err := gblockfetch.NewConfig(gblockfetch.WithRequestRangeFunc(s.requestRange))
	if err != nil {
		return
	}
	failed := make(chan error, 16)
	_, err = ouroboros.NewConnection(
		ouroboros.WithConnection(conn), ouroboros.WithNetworkMagic(magic), ouroboros.WithServer(true), ouroboros.WithNodeToNode(true),
		ouroboros.WithFullDuplex(true), ouroboros.WithPeerSharing(true), ouroboros.WithErrorChan(failed),
		ouroboros.WithChainSyncConfig(gchainsync.NewConfig(gchainsync.WithFindIntersectFunc(s.findIntersect), gchainsync.WithRequestNextFunc(s.requestNext))),
		ouroboros.WithBlockFetchConfig(fetch),
		ouroboros.WithTxSubmissionConfig(gtxsubmission.NewConfig(gtxsubmission.WithInitFunc(txInit))),
		ouroboros.WithPeerSharingConfig(gpeersharing.NewConfig(gpeersharing.WithShareRequestFunc(
			func(_ gpeersharing.CallbackContext, n int) ([]gpeersharing.PeerAddress, error) {
				return []gpeersharing.PeerAddress{{IP: net.IPv4(192, 0, 2, 1), Port: 3001}}[:min(n, 1)], nil
			}))),
		ouroboros.WithKeepAliveConfig(gkeepalive.NewConfig()),
	)
	if err != nil {
		return
	}
	for range failed { // until it has shut down
	}
}
