package peersharing_test

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/internal/rawpeer"
	"github.com/hearthnet/hearth/protocols/internal/rig"
	"github.com/hearthnet/hearth/protocols/peersharing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// known shares all it has, whatever it is asked for.
type known []netip.AddrPort

func (k known) Shareable(int) []netip.AddrPort { return k }

func peers(n int) (k known) {
	for i := range n {
		k = append(k, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 3001))
	}
	return append(k, netip.MustParseAddrPort("[2001:db8::1]:3002"))
}

func TestAsk(t *testing.T) {
	k := peers(3)
	addr, _ := rawpeer.Serve(t, false, connmgr.WithPeerSharing(), connmgr.Serve(peersharing.Responder(k)))
	c := rawpeer.Dial(t, addr, false, connmgr.WithPeerSharing())
	ctx := rawpeer.Context(t)
	for range 2 { // Done in between
		client := peersharing.NewClient(c)
		for n, want := range map[int]known{1: k[:1], 2: k[:2], 4: k, 255: k, 1000: k, 0: k[:1]} {
			got, err := client.Ask(ctx, n)
			require.NoError(t, err)
			require.Equal(t, want, known(got), n)
		}
		require.NoError(t, client.Finish(ctx))
	}
	rawpeer.Alive(t, c)
}

// TestAnswersAreCapped: ten at most, whatever is asked for and whatever the host says.
func TestAnswersAreCapped(t *testing.T) {
	addr, _ := rawpeer.Serve(t, false, connmgr.WithPeerSharing(), connmgr.Serve(peersharing.Responder(peers(200))))
	got, err := peersharing.NewClient(rawpeer.Dial(t, addr, false, connmgr.WithPeerSharing())).Ask(rawpeer.Context(t), 255)
	require.NoError(t, err)
	require.Len(t, got, peersharing.DefaultPeers)
}

// TestOnlyWhenNegotiated: unless both sides are willing, neither side can run it, and bytes for it end the connection.
func TestOnlyWhenNegotiated(t *testing.T) {
	for name, c := range map[string]struct{ server, client []connmgr.Option }{
		"server unwilling": {nil, []connmgr.Option{connmgr.WithPeerSharing()}},
		"client unwilling": {[]connmgr.Option{connmgr.WithPeerSharing()}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			addr, _ := rawpeer.Serve(t, false, append(c.server, connmgr.Serve(peersharing.Responder(peers(1))))...)
			conn := rawpeer.Dial(t, addr, false, c.client...)
			_, err := peersharing.NewClient(conn).Ask(rawpeer.Context(t), 1)
			require.ErrorIs(t, err, protocols.ErrUnsupported)
			rawpeer.Alive(t, conn)
		})
	}
	addr, conns := rawpeer.Serve(t, false, connmgr.Serve(peersharing.Responder(peers(1))))
	p := rawpeer.Connect(t, addr, false, peersharing.Number)
	server := <-conns // before it is gone
	p.Say(peersharing.AppendShareRequest(nil, 1))
	require.Nil(t, p.Hear())
	err := server.Wait(rawpeer.Context(t))
	require.ErrorContains(t, err, "10")
	var m *mux.Error
	require.ErrorAs(t, err, &m)
	require.Equal(t, mux.UnknownProtocol, m.Kind)
}

func TestHostileClients(t *testing.T) {
	ask := peersharing.AppendShareRequest(nil, 10)
	for name, c := range map[string]struct {
		say  [][]byte
		kind protocols.ErrorKind
	}{
		"256 peers":        {[][]byte{cbor.AppendUint(cbor.AppendMessage(nil, 2, 0), 256)}, protocols.Violation},
		"answers itself":   {[][]byte{peersharing.AppendSharePeers(nil, nil)}, protocols.Unexpected},
		"a longer request": {[][]byte{{0x83, 0, 1, 1}}, protocols.Unexpected},
		"no CBOR":          {[][]byte{ask, {0xff}}, protocols.Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			addr, conns := rawpeer.Serve(t, false, connmgr.WithPeerSharing(), connmgr.Serve(peersharing.Responder(peers(3))))
			unaffected := peersharing.NewClient(rawpeer.Dial(t, addr, false, connmgr.WithPeerSharing()))
			<-conns
			p := rawpeer.Connect(t, addr, false, peersharing.Number)
			server := <-conns // before it is gone
			p.Say(c.say...)
			rawpeer.Violated(t, server, c.kind, nil)
			got, err := unaffected.Ask(rawpeer.Context(t), 2)
			require.NoError(t, err)
			require.Len(t, got, 2)
		})
	}
}

func TestHostileServers(t *testing.T) {
	for name, c := range map[string]struct {
		say   []byte
		kind  protocols.ErrorKind
		cause error
	}{
		"one more than asked for": {peersharing.AppendSharePeers(nil, peers(2)), protocols.Violation, peersharing.ErrTooMany},
		"a thousand":              {append([]byte{0x82, 1}, append(cbor.AppendArray(nil, 1000), make([]byte, 1000)...)...), protocols.Violation, nil},
		"unknown kind of address": {[]byte{0x82, 1, 0x81, 0x83, 2, 0, 0}, protocols.Violation, nil},
		"over 5760 bytes":         {append([]byte{0x82, 1, 0x5a, 0, 0, 0x20, 0}, make([]byte, 0x2000)...), protocols.TooLarge, nil},
		"a request":               {peersharing.AppendShareRequest(nil, 1), protocols.Unexpected, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p, conn := rawpeer.Accept(t, false, peersharing.Number, connmgr.WithPeerSharing())
			go func() {
				p.Hear()
				p.Say(c.say)
			}()
			_, err := peersharing.NewClient(conn).Ask(rawpeer.Context(t), 2)
			require.Error(t, err)
			if name == "over 5760 bytes" { // the stream's own limit is the same: whichever notices first
				require.Error(t, conn.Wait(rawpeer.Context(t)))
				return
			}
			rawpeer.Violated(t, conn, c.kind, c.cause)
		})
	}
}

// TestTimeLimit in virtual time: 60 s for an answer, none for the next question.
func TestTimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mp := peersharing.Responder(peers(1))
		a, b := rig.Conns(t, memnet.Link{})
		neg := protocols.Negotiated{Version: 15, PeerSharing: true}
		e := rig.Attach(t, a, neg, mp)
		client := peersharing.NewClient(e)
		p := &rawpeer.Peer{TB: t, Conn: b, Number: peersharing.Number, Role: mux.Responder}
		go func() {
			p.Hear()
			p.Say(peersharing.AppendSharePeers(nil, nil))
			p.Hear()
		}()
		_, err := client.Ask(context.Background(), 1)
		require.NoError(t, err)
		time.Sleep(100 * time.Hour)
		began := time.Now()
		_, err = client.Ask(context.Background(), 1)
		require.ErrorIs(t, err, protocols.ErrTimedOut)
		require.Equal(t, 60*time.Second, time.Since(began))
		e.Close()
		b.Close()
		synctest.Wait()
	})
}
