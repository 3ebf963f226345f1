package tlsbearer

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/connmgr/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func bearer(t *testing.T, allowed func(KeyID) bool) *Bearer {
	t.Helper()
	key, err := GenerateKey()
	require.NoError(t, err)
	b, err := New(Config{Key: key, Allowed: allowed})
	require.NoError(t, err)
	return b
}

// pair wraps both ends of a pipe and returns what each end got.
func pair(t *testing.T, a, b *Bearer) (ca, cb net.Conn, ea, eb error) {
	t.Helper()
	n := memnet.New(memnet.Config{})
	at := netip.MustParseAddrPort("10.0.0.2:1")
	ln, err := n.Host(at.Addr()).Listen(at)
	require.NoError(t, err)
	defer ln.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	x, err := n.Host(netip.MustParseAddr("10.0.0.1")).DialFrom(ctx, netip.AddrPort{}, at)
	require.NoError(t, err)
	y, err := ln.Accept()
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if cb, eb = b.Wrap(ctx, y, false); eb != nil {
			y.Close()
		}
	}()
	if ca, ea = a.Wrap(ctx, x, true); ea != nil {
		x.Close()
	}
	<-done
	t.Cleanup(func() { x.Close(); y.Close() })
	return ca, cb, ea, eb
}

func TestMutualAllowList(t *testing.T) {
	var a, b *Bearer
	a = bearer(t, func(id KeyID) bool { return id == b.ID() })
	b = bearer(t, func(id KeyID) bool { return id == a.ID() })
	ca, cb, ea, eb := pair(t, a, b)
	require.NoError(t, ea)
	require.NoError(t, eb)
	go ca.Write([]byte("hello"))
	got := make([]byte, 5)
	_, err := io.ReadFull(cb, got)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
	id, ok := PeerOf(cb)
	require.True(t, ok)
	require.Equal(t, a.ID(), id)
	_, ok = PeerOf(nil)
	require.False(t, ok)
}

func TestWhoIsNotOnTheListIsRefused(t *testing.T) {
	everybody := func(KeyID) bool { return true }
	stranger := bearer(t, everybody)
	for _, dialled := range []bool{true, false} {
		strict := bearer(t, Keys(KeyID{1}))
		var err error
		if dialled {
			_, _, err, _ = pair(t, strict, stranger)
		} else {
			_, _, _, err = pair(t, stranger, strict)
		}
		var refused *NotAllowedError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, stranger.ID(), refused.ID)
		require.Equal(t, "adversarial", connmgr.Classify(err).Fault)
	}
}

func TestExpectedKeyOfAnAddress(t *testing.T) {
	server := bearer(t, func(KeyID) bool { return true })
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	for want, ok := range map[KeyID]bool{server.ID(): true, {7}: false} {
		client, err := New(Config{Key: key, Allowed: func(KeyID) bool { return true }, Expect: func(net.Addr) (KeyID, bool) { return want, true }})
		require.NoError(t, err)
		_, _, ea, _ := pair(t, client, server)
		require.Equal(t, ok, ea == nil, ea)
	}
}

func TestConfigIsChecked(t *testing.T) {
	_, err := New(Config{})
	require.Error(t, err)
	_, err = New(Config{Key: badSigner{}, Allowed: Keys()})
	require.Error(t, err)
}

type badSigner struct{ crypto.Signer }

func (badSigner) Public() crypto.PublicKey { return "none" }

// Two managers over TLS: allowed ones connect, a stranger does not get as far as the handshake.
func TestManagersOverTLS(t *testing.T) {
	var nodes [3]*Bearer
	nodes[0] = bearer(t, func(id KeyID) bool { return id == nodes[1].ID() })
	nodes[1] = bearer(t, func(id KeyID) bool { return id == nodes[0].ID() })
	nodes[2] = bearer(t, func(KeyID) bool { return true })
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{Link: memnet.Link{Latency: 10 * time.Millisecond}})
		var managers [3]*connmgr.Manager
		at := func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 3001)
		}
		for i := range managers {
			h := n.Host(at(i).Addr())
			m, err := connmgr.NewManager(connmgr.Config{Network: 42, Local: []netip.AddrPort{at(i)}, Dial: h.DialFrom, Bearer: nodes[i].Wrap})
			require.NoError(t, err)
			ln, err := h.Listen(at(i))
			require.NoError(t, err)
			require.NoError(t, m.Serve(ln))
			managers[i] = m
			defer m.Close()
		}
		_, err := managers[0].Connect(context.Background(), at(1), connmgr.ConnectOptions{})
		require.NoError(t, err)
		time.Sleep(30 * time.Second)
		require.Equal(t, 1, managers[0].Counters().Duplex)
		require.Positive(t, managers[0].Connections()[0].Latency)
		_, err = managers[2].Connect(context.Background(), at(0), connmgr.ConnectOptions{})
		require.Error(t, err)
		_, err = managers[0].Connect(context.Background(), at(2), connmgr.ConnectOptions{})
		var refused *NotAllowedError
		require.True(t, errors.As(err, &refused), err)
		require.Equal(t, 1, managers[0].Counters().Duplex)
	})
}
