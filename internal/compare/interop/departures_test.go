package interop

import (
	"errors"
	"maps"
	"net"
	"slices"
	"testing"
	"time"

	gprotocol "github.com/blinklabs-io/gouroboros/protocol"
	gblockfetch "github.com/blinklabs-io/gouroboros/protocol/blockfetch"
	gchainsync "github.com/blinklabs-io/gouroboros/protocol/chainsync"
	gcommon "github.com/blinklabs-io/gouroboros/protocol/common"
	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/protocols/handshake"
	"github.com/hearthnet/hearth/protocols/keepalive"
)

// The tests here hold what wire §15 says of gouroboros, and beside it that Hearth does as the reference does. One that fails after an update
// of gouroboros says that a departure is gone.

// speed is how many units of the sender's clock pass in a second of ours, between the first and the last of some SDUs.
func speed(t *testing.T, sdus []sdu) float64 {
	t.Helper()
	begin, last := sdus[0], sdus[1]
	for _, s := range sdus {
		if s.at.Sub(begin.at) < 4*time.Second { // before 32 bits of nanoseconds wrap
			last = s
		}
	}
	return float64(last.Time-begin.Time) / last.at.Sub(begin.at).Seconds()
}

// TestDepartureMultiplexer: gouroboros stamps SDUs with the wall clock's nanoseconds and cuts segments of up to 65,535 bytes; the reference
// has microseconds and 12,288 (wire §2.1, §2.3, §15).
func TestDepartureMultiplexer(t *testing.T) {
	links := realLinks(t)
	ctx := testContext(t)
	listening := &tap{}
	source := newLedger(links)
	addr, _ := serveTheirs(t, "tcp", "127.0.0.1:0", theirConfig{serve: source, nodeToNode: true, duplex: true, tap: listening})
	conn, err := connmgr.Dial(ctx, addr, network, connmgr.WithDuplex(), connmgr.WithKeepAlive(keepAlive), connmgr.Serve(chainsync.Responder(source)))
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, fetchOurs(ctx, conn, links[:500]))
	require.Eventually(t, func() bool {
		return len(listening.theirs(keepalive.Number)) >= 16 && len(listening.ours(keepalive.Number)) >= 16
	}, 10*time.Second, time.Millisecond)

	require.InEpsilon(t, 1e9, speed(t, listening.theirs(keepalive.Number)), 0.4)
	require.InEpsilon(t, 1e6, speed(t, listening.ours(keepalive.Number)), 0.4)

	largest := func(sdus []sdu) int {
		return int(slices.MaxFunc(sdus, func(a, b sdu) int { return int(a.Length) - int(b.Length) }).Length)
	}
	require.Greater(t, largest(listening.theirs(blockfetch.Number)), 12288)

	ours := &tap{}
	addr, _ = serveOurs(t, "tcp", "127.0.0.1:0", connmgr.Serve(blockfetch.Responder(source)))
	peer := dialTheirs(t, "tcp", addr, theirConfig{nodeToNode: true, tap: ours})
	require.NoError(t, peer.fetch(ctx, links[:500]))
	require.LessOrEqual(t, largest(ours.ours(blockfetch.Number)), 12288)

	for _, s := range listening.theirs(keepalive.Number) { // both directions of one number on one connection
		role := mux.Initiator
		if s.payload[1] == keepalive.TagResponse {
			role = mux.Responder
		}
		require.Equal(t, role, s.From)
	}
}

// TestDepartureVersions: gouroboros has no node-to-node version 16 and no node-to-client version 22 or 23, and knows versions that
// the reference has given up (wire §4.3, §15).
func TestDepartureVersions(t *testing.T) {
	ctx := testContext(t)
	addr, _ := serveTheirs(t, "tcp", "127.0.0.1:0", theirConfig{nodeToNode: true})
	path, _ := serveTheirs(t, "unix", socketPath(t), theirConfig{})

	conn, err := connmgr.Dial(ctx, addr, network, connmgr.WithPeras())
	require.NoError(t, err)
	require.Equal(t, uint16(15), conn.Negotiated().Version)
	require.False(t, conn.Negotiated().Peras)
	require.NoError(t, conn.Close())

	conn, err = connmgr.DialLocal(ctx, path, network)
	require.NoError(t, err)
	require.Equal(t, uint16(21), conn.Negotiated().Version)
	require.NoError(t, conn.Close())

	versions := func(mode gprotocol.ProtocolMode) []uint16 {
		table := gprotocol.GetProtocolVersionMap(mode, uint32(network), gprotocol.DiffusionModeInitiatorOnly, false, false)
		return slices.Sorted(maps.Keys(table))
	}
	theirs := versions(gprotocol.ProtocolModeNodeToNode)
	require.Equal(t, []uint16{7, 15}, []uint16{theirs[0], theirs[len(theirs)-1]})
	require.Equal(t, []uint16{14, 15, 16}, handshake.NodeToNodeVersions())
	theirs = versions(gprotocol.ProtocolModeNodeToClient)
	require.Equal(t, []uint16{9 | 1<<15, 21 | 1<<15}, []uint16{theirs[0], theirs[len(theirs)-1]})
	require.Equal(t, []uint16{16, 17, 18, 19, 20, 21, 22, 23}, handshake.NodeToClientVersions())
}

// TestDepartureAccept: gouroboros's server answers with its own data instead of the combination (wire §4.5, §15). Hearth's client goes by
// the combination all the same, so that neither end runs what the other does not expect.
func TestDepartureAccept(t *testing.T) {
	ctx := testContext(t)
	answer := func(of func(int) []sdu) handshake.Data {
		m, err := handshake.Decode(handshake.StateConfirm, first(t, of, handshake.Number).payload, false)
		require.NoError(t, err)
		accept := m.(handshake.MsgAccept)
		data, err := handshake.DecodeData(accept.Data, accept.Version, false)
		require.NoError(t, err)
		return data
	}

	listening := &tap{}
	addr, _ := serveTheirs(t, "tcp", "127.0.0.1:0", theirConfig{nodeToNode: true, duplex: true, tap: listening})
	conn, err := connmgr.Dial(ctx, addr, network) // initiator-only
	require.NoError(t, err)
	defer conn.Close()
	require.False(t, answer(listening.theirs).InitiatorOnly, "its own data")
	require.True(t, conn.Negotiated().InitiatorOnly, "the combination")

	listening = &tap{}
	addr, accepted := serveOurs(t, "tcp", "127.0.0.1:0", connmgr.WithPeerSharing())
	dialTheirs(t, "tcp", addr, theirConfig{nodeToNode: true, tap: listening})
	data := answer(listening.ours)
	require.True(t, data.InitiatorOnly, "the combination")
	require.False(t, data.PeerSharing, "the combination")
	require.True(t, (<-accepted).Negotiated().InitiatorOnly)
}

// TestDepartureQuery: gouroboros answers a query before it looks at the magic; the reference refuses one of another network (wire
// §4.7, §15). It closes as soon as it has answered, mostly before the answer has left, so this asks it what it did.
func TestDepartureQuery(t *testing.T) {
	ctx := testContext(t)
	refused := make(chan error, 1)
	theirAddr, _ := serveTheirs(t, "tcp", "127.0.0.1:0", theirConfig{nodeToNode: true, refused: refused})
	_, err := connmgr.Query(ctx, theirAddr, connmgr.Mainnet, false)
	require.ErrorContains(t, <-refused, "after query reply")
	var refusal *handshake.Refusal
	require.False(t, errors.As(err, &refusal))

	ourAddr, _ := serveOurs(t, "tcp", "127.0.0.1:0")
	_, err = connmgr.Query(ctx, ourAddr, connmgr.Mainnet, false)
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, handshake.Refused, refusal.Reason)
}

// TestRefusal: either server refuses another network's magic. Gouroboros closes before its words have left, which for the client is an
// ordinary failure of the handshake (wire §2.9); Hearth's are read.
func TestRefusal(t *testing.T) {
	refused := make(chan error, 1)
	theirAddr, _ := serveTheirs(t, "tcp", "127.0.0.1:0", theirConfig{nodeToNode: true, refused: refused})
	_, err := connmgr.Dial(testContext(t), theirAddr, connmgr.Mainnet)
	require.Error(t, err)
	require.ErrorContains(t, <-refused, "magic")

	ourAddr, _ := serveOurs(t, "tcp", "127.0.0.1:0")
	conn, err := net.Dial("tcp", ourAddr)
	require.NoError(t, err)
	_, err = newTheirs(conn, theirConfig{nodeToNode: true, magic: uint32(connmgr.Mainnet)})
	require.ErrorContains(t, err, "magic")
}

// TestDepartureKeyOrder: gouroboros takes a version table in any order; to the reference it is malformed, which ends the connection
// without a word (wire §4.2, §15).
func TestDepartureKeyOrder(t *testing.T) {
	data := handshake.Data{Magic: uint32(network), InitiatorOnly: true}
	proposal := handshake.MsgPropose{Table: []handshake.Entry{
		{Version: 15, Data: handshake.AppendData(nil, 15, false, data)},
		{Version: 14, Data: handshake.AppendData(nil, 14, false, data)},
	}}.Append(nil, false)
	propose := func(addr string) ([]byte, error) {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		require.NoError(t, mux.WriteSDU(conn, mux.Header{Number: handshake.Number}, proposal))
		_, answer, err := mux.ReadSDU(conn, mux.MaxPayload)
		return answer, err
	}
	theirAddr, _ := serveTheirs(t, "tcp", "127.0.0.1:0", theirConfig{nodeToNode: true})
	answer, err := propose(theirAddr)
	require.NoError(t, err)
	m, err := handshake.Decode(handshake.StateConfirm, answer, false)
	require.NoError(t, err)
	require.Equal(t, uint16(15), m.(handshake.MsgAccept).Version)

	ourAddr, _ := serveOurs(t, "tcp", "127.0.0.1:0")
	_, err = propose(ourAddr)
	require.Error(t, err)
	var deadline net.Error
	require.False(t, errors.As(err, &deadline) && deadline.Timeout(), "closed at once")
}

// TestDepartureSimultaneousOpen: both ends propose. The reference takes the other's proposal for the answer; gouroboros fails (wire
// §4.8, §15).
func TestDepartureSimultaneousOpen(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer near.Close()
	far, err := ln.Accept()
	require.NoError(t, err)
	failed := make(chan error, 1)
	listening := &tap{}
	go func() {
		peer, err := newTheirs(far, theirConfig{nodeToNode: true, duplex: true, tap: listening})
		if err == nil {
			peer.conn.Close()
		}
		far.Close()
		failed <- err
	}()
	require.Eventually(t, func() bool { return len(listening.theirs(handshake.Number)) == 1 }, 10*time.Second, time.Millisecond)
	res, err := handshake.Initiate(testContext(t), near, handshake.Proposal{
		Versions: []uint16{14, 15}, Data: handshake.Data{Magic: uint32(network)},
	})
	require.NoError(t, err)
	require.Equal(t, uint16(15), res.Negotiated.Version)
	require.True(t, res.Negotiated.Duplex())
	require.Error(t, <-failed)
}

// TestDepartureLimits compares the tables: gouroboros lets larger messages pass in chain-sync and in block-fetch's Busy, and has less
// patience in chain-sync's MustReply, where it would drop a healthy peer during a long run of empty slots (wire §15).
func TestDepartureLimits(t *testing.T) {
	ours := chainsync.Spec()
	require.Equal(t, 65_535, ours.States[chainsync.StateIdle].Bytes)
	require.Equal(t, 462_000, gchainsync.MaxPendingMessageBytes)
	require.Equal(t, 3373*time.Second, ours.States[chainsync.StateIdle].Timeout.Max)
	require.Equal(t, 3673*time.Second, gchainsync.IdleTimeout)
	require.Less(t, gchainsync.MustReplyTimeoutMax, ours.States[chainsync.StateMustReply].Timeout.Min)
	require.Equal(t, ours.States[chainsync.StateCanAwait].Timeout.Max, gchainsync.CanAwaitTimeout)
	require.Equal(t, 269*time.Second, gchainsync.NewConfig().BlockTimeout, "what its client waits in CanAwait instead")
	require.Less(t, gchainsync.MaxPipelineLimit, chainsync.LowMark)
	fetch := blockfetch.Spec()
	require.Equal(t, 65_535, fetch.States[blockfetch.StateBusy].Bytes)
	require.Equal(t, 2_500_000, gblockfetch.BusyMaxPendingMessageBytes)
}

// TestDepartureCookie: gouroboros sends one cookie for ever, the reference a fresh one each time (wire §10.1, §15).
func TestDepartureCookie(t *testing.T) {
	ctx := testContext(t)
	listening := &tap{}
	addr, _ := serveTheirs(t, "tcp", "127.0.0.1:0", theirConfig{nodeToNode: true, duplex: true, tap: listening})
	conn, err := connmgr.Dial(ctx, addr, network, connmgr.WithDuplex(), connmgr.WithKeepAlive(keepAlive))
	require.NoError(t, err)
	defer conn.Close()
	cookies := func(sdus []sdu) (all []uint16) {
		for _, s := range sdus {
			if s.From == mux.Initiator {
				cookie, err := keepalive.DecodeKeepAlive(s.payload)
				require.NoError(t, err)
				all = append(all, cookie)
			}
		}
		return all
	}
	var theirs, ours []uint16
	require.Eventually(t, func() bool {
		theirs, ours = cookies(listening.theirs(keepalive.Number)), cookies(listening.ours(keepalive.Number))
		return len(theirs) >= 6 && len(ours) >= 6
	}, 10*time.Second, time.Millisecond)
	require.Equal(t, []uint16{keepAliveWord}, slices.Compact(theirs))
	slices.Sort(ours)
	require.Greater(t, len(slices.Compact(ours)), 2)
}

// TestDepartureLists: gouroboros writes the points of FindIntersect as a definite list, the reference as an indefinite one; both
// read both (wire §6, §15).
func TestDepartureLists(t *testing.T) {
	ctx := testContext(t)
	links := realLinks(t)[:20]
	source := newLedger(links)
	listening := &tap{}
	addr, _ := serveTheirs(t, "tcp", "127.0.0.1:0", theirConfig{serve: source, nodeToNode: true, tap: listening})
	conn, err := connmgr.Dial(ctx, addr, network)
	require.NoError(t, err)
	defer conn.Close()
	_, _, err = chainsync.NewClient(conn).FindIntersect(ctx, []chainsync.Point{links[3].point})
	require.NoError(t, err)
	require.Equal(t, []byte{0x82, 0x04, 0x9f}, first(t, listening.ours, chainsync.Number).payload[:3])

	listening = &tap{}
	addr, _ = serveOurs(t, "tcp", "127.0.0.1:0", connmgr.Serve(chainsync.Responder(source)))
	peer := dialTheirs(t, "tcp", addr, theirConfig{nodeToNode: true, tap: listening})
	require.NoError(t, peer.conn.ChainSync().Client.Sync([]gcommon.Point{gpoint(links[3].point)}))
	require.Equal(t, []byte{0x82, 0x04, 0x81}, first(t, listening.theirs, chainsync.Number).payload[:3])
}

// TestDepartureStalledReader: nobody takes the blocks that come. In gouroboros that stops keep-alive too, since its demultiplexer waits
// for the slowest reader; in Hearth, as in the reference, it stops nothing else (wire §2.6, §15).
func TestDepartureStalledReader(t *testing.T) {
	links := realLinks(t)
	ctx := testContext(t)
	source := newLedger(links)
	t.Run("ours", func(t *testing.T) {
		addr, _ := serveTheirs(t, "tcp", "127.0.0.1:0", theirConfig{serve: source, nodeToNode: true})
		trips := make(chan time.Duration, 1024)
		conn, err := connmgr.Dial(ctx, addr, network, connmgr.WithKeepAlive(keepAlive), connmgr.WithRoundTrip(func(d time.Duration) {
			select {
			case trips <- d:
			default:
			}
		}))
		require.NoError(t, err)
		defer conn.Close()
		n := 0
		for _, err := range blockfetch.NewClient(conn).Range(ctx, links[0].point, links[len(links)-1].point) {
			require.NoError(t, err)
			if n++; n > 1 {
				continue
			}
			unread := func() bool { // all the rest has come and lies there
				for _, c := range conn.Counters() {
					if c.Number == blockfetch.Number && c.Role == mux.Initiator {
						return c.BytesIn > 2<<20
					}
				}
				return false
			}
			require.Eventually(t, unread, 10*time.Second, time.Millisecond)
			for len(trips) > 0 {
				<-trips
			}
			for range 5 {
				select {
				case <-trips:
				case <-ctx.Done():
					t.Fatal("keep-alive has stopped")
				}
			}
		}
		require.Equal(t, len(links), n)
	})
	t.Run("theirs", func(t *testing.T) {
		addr, _ := serveOurs(t, "tcp", "127.0.0.1:0", connmgr.Serve(blockfetch.Responder(source)))
		peer := dialTheirs(t, "tcp", addr, theirConfig{nodeToNode: true})
		go peer.conn.BlockFetch().Client.GetBlockRange(gpoint(links[0].point), gpoint(links[len(links)-1].point))
		require.Eventually(t, func() bool {
			before := peer.pongs.Load()
			<-time.After(12 * keepAlive)
			return peer.pongs.Load() == before
		}, 20*time.Second, time.Millisecond)
		for range links { // and goes on when they are taken
			if _, err := peer.next(ctx, peer.blocks); err != nil {
				t.Fatal(err)
			}
		}
		before := peer.pongs.Load()
		require.Eventually(t, func() bool { return peer.pongs.Load() > before }, 10*time.Second, time.Millisecond)
	})
}
