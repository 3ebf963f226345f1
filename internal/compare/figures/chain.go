package figures

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"sync"
	"time"

	ouroboros "github.com/blinklabs-io/gouroboros"
	gcbor "github.com/blinklabs-io/gouroboros/cbor"
	gblockfetch "github.com/blinklabs-io/gouroboros/protocol/blockfetch"
	gchainsync "github.com/blinklabs-io/gouroboros/protocol/chainsync"
	gcommon "github.com/blinklabs-io/gouroboros/protocol/common"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

const network = connmgr.Preview

// conwayBlock is the block tag of the made-up chain, whose era index is one less (wire §5.3).
const conwayBlock = 7

// made is a chain in memory that never ends: headers repeat, only the first few thousand differ.
type made struct {
	headers  [][]byte // bare
	payloads [][]byte // enveloped
	blocks   [][]byte // header with three empty parts: what gouroboros's server wants to see to serve a header
}

// headerSize is what a Conway header of mainnet takes.
const headerSize = 860

var madeChain = sync.OnceValue(func() *made {
	c := &made{}
	for i := range 4096 {
		h := cbor.AppendArray(nil, 2)
		h = cbor.AppendUint(cbor.AppendArray(h, 2), 1_000_000+uint64(i))
		h = cbor.AppendBytes(h, make([]byte, headerSize-len(h)-3-450))
		h = cbor.AppendBytes(h, make([]byte, 447))
		c.headers = append(c.headers, h)
		c.payloads = append(c.payloads, chainsync.AppendHeader(nil, chainsync.Header{Era: conwayBlock - 1, Bytes: h}))
		b := append(cbor.AppendArray(nil, 4), h...)
		c.blocks = append(c.blocks, append(b, 0x80, 0x80, 0xa0))
	}
	return c
})

func madePoint(i int) chainsync.Point {
	return chainsync.Point{Slot: uint64(i) + 1, Hash: [32]byte{1, byte(i), byte(i >> 8), byte(i >> 16)}}
}

var madeTip = chainsync.Tip{Point: madePoint(1 << 30), Block: 1 << 30}

// Cursor implements chainsync.Source.
func (c *made) Cursor(chainsync.Form) chainsync.Cursor { return &madeCursor{c: c} }

type madeCursor struct {
	c  *made
	at int
}

// Intersect implements chainsync.Cursor: the origin is all there is.
func (m *madeCursor) Intersect([]chainsync.Point) (chainsync.Point, chainsync.Tip, bool) {
	m.at = 0
	return chainsync.Origin, madeTip, true
}

// Next implements chainsync.Cursor.
func (m *madeCursor) Next() (chainsync.Update, error) {
	m.at++
	if m.at == 1 {
		return chainsync.Update{Kind: chainsync.Backward, Tip: madeTip}, nil
	}
	return chainsync.Update{Kind: chainsync.Forward, Payload: m.c.payloads[m.at%len(m.c.payloads)], Tip: madeTip}, nil
}

// ChainSync is headers followed over node-to-node chain-sync.
func ChainSync() Row {
	return Row{
		Name: fmt.Sprintf("chain-sync: headers of %d B", headerSize), Unit: "headers/s", Scale: 1, Least: 1000,
		Subjects: []Subject{{"gouroboros", theirHeaders}, {"hearth", ourHeaders}},
	}
}

// withOurs connects our client to our server.
func withOurs(serve connmgr.Option, f func(ctx context.Context, c *connmgr.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	l, err := connmgr.Listen(ctx, "127.0.0.1:0", network, serve)
	if err != nil {
		return err
	}
	defer l.Close()
	served := make(chan error, 1)
	serving, stop := context.WithCancel(ctx)
	go func() { served <- l.Serve(serving, nil) }()
	defer func() { stop(); <-served }()
	c, err := connmgr.Dial(ctx, l.Addr().String(), network)
	if err != nil {
		return err
	}
	defer c.Close()
	return f(ctx, c)
}

func ourHeaders(m *Meter, n int) error {
	return withOurs(connmgr.Serve(chainsync.Responder(madeChain())), func(ctx context.Context, c *connmgr.Conn) error {
		i := -1
		m.Start()
		for ev, err := range chainsync.NewClient(c).Follow(ctx, nil) {
			if err != nil {
				return err
			}
			if len(ev.Payload) == 0 && i >= 0 {
				return errors.New("no header")
			}
			if i++; i == n {
				m.Stop()
				return nil
			}
		}
		return errors.New("the chain ended")
	})
}

// withTheirs connects a gouroboros client to a gouroboros server.
func withTheirs(client, server []ouroboros.ConnectionOptionFunc, f func(ctx context.Context, c *ouroboros.Connection) error) error {
	near, far, err := tcpPair()
	if err != nil {
		return err
	}
	var other *ouroboros.Connection
	accepted := make(chan error, 1)
	go func() {
		var err error
		other, err = theirEnd(far, append(server, ouroboros.WithServer(true)))
		accepted <- err
	}()
	c, err := theirEnd(near, client)
	if err := errors.Join(err, <-accepted); err != nil {
		return err
	}
	defer other.Close()
	defer c.Close()
	ctx, cancel := context.WithTimeoutCause(context.Background(), 2*time.Minute, errors.New("gouroboros has not finished"))
	defer cancel()
	failed := make(chan error, 1)
	go func() { failed <- f(ctx, c) }()
	select {
	case err := <-failed:
		return err
	case err := <-c.ErrorChan():
		return fmt.Errorf("client: %w", err)
	case err := <-other.ErrorChan():
		return fmt.Errorf("server: %w", err)
	}
}

func theirEnd(conn net.Conn, options []ouroboros.ConnectionOptionFunc) (*ouroboros.Connection, error) {
	return ouroboros.NewConnection(append([]ouroboros.ConnectionOptionFunc{
		ouroboros.WithConnection(conn), ouroboros.WithNetworkMagic(uint32(network)), ouroboros.WithNodeToNode(true),
	}, options...)...)
}

func theirTip() gchainsync.Tip {
	p := madeTip.Point
	return gchainsync.Tip{Point: gcommon.NewPoint(p.Slot, p.Hash[:]), BlockNumber: madeTip.Block}
}

func theirHeaders(m *Meter, n int) error {
	c := madeChain()
	at := 0
	tip := theirTip()
	server := gchainsync.NewConfig(
		gchainsync.WithFindIntersectFunc(func(gchainsync.CallbackContext, []gcommon.Point) (gcommon.Point, gchainsync.Tip, error) {
			return gcommon.NewPointOrigin(), tip, nil
		}),
		gchainsync.WithRequestNextFunc(func(ctx gchainsync.CallbackContext) error {
			at++
			if at == 1 {
				return ctx.Server.RollBackward(gcommon.NewPointOrigin(), tip)
			}
			return ctx.Server.RollForward(conwayBlock, c.blocks[at%len(c.blocks)], tip)
		}),
	)
	i := 0
	all := make(chan struct{})
	client := gchainsync.NewConfig(
		gchainsync.WithPipelineLimit(gchainsync.MaxPipelineLimit),
		gchainsync.WithRecvQueueSize(gchainsync.MaxRecvQueueSize),
		gchainsync.WithRollBackwardFunc(func(gchainsync.CallbackContext, gcommon.Point, gchainsync.Tip) error { return nil }),
		gchainsync.WithRollForwardRawFunc(func(_ gchainsync.CallbackContext, _ uint, header []byte, _ gchainsync.Tip) error {
			if len(header) != headerSize {
				return errors.New("no header")
			}
			if i++; i == n {
				m.Stop()
				close(all)
			}
			return nil
		}),
	)
	return withTheirs(
		[]ouroboros.ConnectionOptionFunc{ouroboros.WithChainSyncConfig(client)},
		[]ouroboros.ConnectionOptionFunc{ouroboros.WithChainSyncConfig(server)},
		func(ctx context.Context, conn *ouroboros.Connection) error {
			m.Start()
			if err := conn.ChainSync().Client.Sync([]gcommon.Point{gcommon.NewPointOrigin()}); err != nil {
				return err
			}
			select {
			case <-all:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
}

// blockSize is the size of the stored pair of a block, nearly mainnet's largest.
const blockSize = 64 * kib

// madeBlock is the pair [block tag, block].
var madeBlock = sync.OnceValue(func() []byte {
	b := cbor.AppendUint(cbor.AppendArray(nil, 2), conwayBlock)
	return cbor.AppendBytes(b, make([]byte, blockSize-len(b)-3))
})

type blockSource struct{ n int }

// Range implements blockfetch.Source.
func (s blockSource) Range(_, _ blockfetch.Point) (iter.Seq2[[]byte, error], bool) {
	return func(yield func([]byte, error) bool) {
		for range s.n {
			if !yield(madeBlock(), nil) {
				return
			}
		}
	}, true
}

// BlockFetch is one long range of large blocks. Gouroboros's server is measured twice: as its interface has it, where every block is
// formatted for a log that nobody reads, and with the message handed to the mini-protocol below that. Either way it must wait for its
// own queue every mebibyte, or it takes itself for a violator.
func BlockFetch() Row {
	return Row{
		Name: fmt.Sprintf("block-fetch: blocks of %d KiB", blockSize/kib), Unit: "MiB/s", Scale: float64(blockSize) / mib, Least: 64,
		Subjects: []Subject{
			{"raw TCP", throughput(oneTCP, blockSize, 1)},
			{"hearth", ourBlocks},
			{"gouroboros", theirBlocks(func(s *gblockfetch.Server) error {
				b := madeBlock()
				return s.Block(conwayBlock, b[2:])
			})},
			{"gouroboros below its API", theirBlocks(func(s *gblockfetch.Server) error {
				wrapped, err := gcbor.Encode(&gblockfetch.WrappedBlock{Type: conwayBlock, RawBlock: madeBlock()[2:]})
				if err != nil {
					return err
				}
				return s.SendMessage(gblockfetch.NewMsgBlock(wrapped))
			})},
		},
	}
}

func ourBlocks(m *Meter, n int) error {
	return withOurs(connmgr.Serve(blockfetch.Responder(blockSource{n})), func(ctx context.Context, c *connmgr.Conn) error {
		i := 0
		m.Start()
		for b, err := range blockfetch.NewClient(c).Range(ctx, madePoint(0), madePoint(n-1)) {
			if err != nil {
				return err
			}
			if len(b) != blockSize {
				return errors.New("not the block")
			}
			i++
		}
		m.Stop()
		if i != n {
			return fmt.Errorf("%d blocks of %d", i, n)
		}
		return nil
	})
}

func theirBlocks(send func(*gblockfetch.Server) error) func(*Meter, int) error {
	return func(m *Meter, n int) error {
		server, err := gblockfetch.NewConfig(gblockfetch.WithRequestRangeFunc(
			func(ctx gblockfetch.CallbackContext, _, _ gcommon.Point) error {
				go func() {
					err := ctx.Server.StartBatch()
					for i := 0; i < n && err == nil; i++ {
						if i%(mib/blockSize) == 0 {
							ctx.Server.ProtocolInstance().WaitSendQueueDrained(10 * time.Second)
						}
						err = send(ctx.Server)
					}
					if err == nil {
						err = ctx.Server.BatchDone()
					}
					if err != nil {
						ctx.Server.SendError(err)
					}
				}()
				return nil
			}))
		if err != nil {
			return err
		}
		i := 0
		all := make(chan struct{})
		client, err := gblockfetch.NewConfig(
			gblockfetch.WithRecvQueueSize(gblockfetch.MaxRecvQueueSize),
			gblockfetch.WithBlockRawFunc(func(_ gblockfetch.CallbackContext, _ uint, block []byte) error {
				if len(block) != blockSize-2 {
					return errors.New("not the block")
				}
				if i++; i == n {
					m.Stop()
					close(all)
				}
				return nil
			}))
		if err != nil {
			return err
		}
		return withTheirs(
			[]ouroboros.ConnectionOptionFunc{ouroboros.WithBlockFetchConfig(client)},
			[]ouroboros.ConnectionOptionFunc{ouroboros.WithBlockFetchConfig(server)},
			func(ctx context.Context, conn *ouroboros.Connection) error {
				p := gcommon.NewPoint(1, make([]byte, 32))
				m.Start()
				if err := conn.BlockFetch().Client.GetBlockRange(p, p); err != nil {
					return err
				}
				select {
				case <-all:
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			})
	}
}
