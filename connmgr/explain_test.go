package connmgr

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/protocols/handshake"
)

func TestExplain(t *testing.T) {
	inBubble(t, memnet.Config{}, nil, func(n *memnet.Network, a, b *node) {
		_, err := a.m.Connect(bg, b.addr, ConnectOptions{})
		require.NoError(t, err)
		time.Sleep(3 * time.Second)
		info, ok := a.m.Explain(ConnID{a.addr, b.addr})
		require.True(t, ok)
		require.Equal(t, StateOutboundDupTicking, info.State)
		require.Equal(t, "remote idle", info.Timer)
		require.Equal(t, 2*time.Second, info.TimerIn)
		require.Equal(t, 3*time.Second, info.Age)
		require.Equal(t, []string{"us: warm", "us: initiator of echo-warm", "us: initiator of echo-established", "us: initiator of keep-alive"}, info.HeldBy)
		require.Equal(t, "duplex", info.Flow)
		require.True(t, info.Dialled)
		bytes := uint64(0)
		for _, s := range info.Streams {
			bytes += s.BytesOut
		}
		require.Positive(t, bytes)
		require.Contains(t, info.String(), "remote idle in 2s")
		there, ok := b.m.Explain(ConnID{b.addr, a.addr})
		require.True(t, ok)
		require.Equal(t, []string{"remote: 3 responders, 0 hot"}, there.HeldBy)
		_, ok = a.m.Explain(ConnID{a.addr, nodeAddr(77)})
		require.False(t, ok)
		_, err = NewManager(Config{Network: 1, Local: []netip.AddrPort{nodeAddr(1), nodeAddr(2)}, Limits: Limits{Hard: 1, Soft: 2}})
		require.ErrorContains(t, err, "at most one of a family")
		require.ErrorContains(t, err, "soft limit 2 above hard limit 1")
	})
}

// Every socket that is counted is explained: parked, silent, answered with a refusal or with our versions.
func TestExplainOfSocketsWithoutAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{})
		server := newNode(t, n, 1, func(c *Config) {
			c.Timeouts.RemoteIdle = -1
			c.Limits = Limits{Hard: 5, Soft: 1, Delay: 8 * time.Second, Reserve: -1}
			c.Protected = func(a netip.Addr) bool { return a == nodeAddr(3).Addr() }
		})
		explained := func(of netip.AddrPort) Info {
			t.Helper()
			info, ok := server.m.Explain(ConnID{server.addr, of})
			require.True(t, ok)
			waiting := 0
			for _, i := range server.m.Connections() {
				if i.Phase != "" {
					waiting++
				}
				if i.Conn.Remote == of {
					require.Equal(t, info, i)
				}
			}
			require.Equal(t, server.m.Counters().Accept.Unnegotiated, waiting)
			require.NotEmpty(t, info.HeldBy)
			require.Equal(t, nodeAddr(3).Addr() == of.Addr(), info.Protects)
			require.False(t, info.Dialled)
			return info
		}
		clients, root := n.Host(nodeAddr(2).Addr()), n.Host(nodeAddr(3).Addr())
		var honest []*Conn
		for range 2 {
			c, err := bareClient(clients, server.addr)
			require.NoError(t, err)
			honest = append(honest, c)
		}

		// Parked for (2 − 1) · 8 s / (5 − 1).
		parked, err := n.Host(nodeAddr(4).Addr()).DialFrom(bg, nodeAddr(4), server.addr)
		require.NoError(t, err)
		time.Sleep(500 * time.Millisecond)
		i := explained(nodeAddr(4))
		require.Equal(t, "parked, accept delay in 1.5s at 500ms", i.Phase+", "+i.Timer+" in "+i.TimerIn.String()+" at "+i.Age.String())
		require.Equal(t, StateUnknown, i.State)
		require.Contains(t, i.String(), "socket parked, accept delay in 1.5s")

		// Its handshake has begun, and it says nothing.
		time.Sleep(2 * time.Second)
		i = explained(nodeAddr(4))
		require.Equal(t, "handshake, handshake in 19.5s at 500ms", i.Phase+", "+i.Timer+" in "+i.TimerIn.String()+" at "+i.Age.String())
		require.Equal(t, StateUnnegotiatedInbound, i.State)
		require.NoError(t, parked.Close())

		// Those who have been answered keep their sockets open.
		for _, c := range []struct {
			network Network
			query   bool
			want    string
			err     error
		}{
			{43, false, "lingers, linger in 1.5s", nil},
			{42, true, "lingers, linger in 19.5s", ErrHandshakeQuery},
		} {
			bearer, err := root.DialFrom(bg, nodeAddr(3), server.addr)
			require.NoError(t, err)
			p := Options{}.proposal(c.network, false, true)
			p.Data.Query = c.query
			_, _ = handshake.Initiate(bg, bearer, p) // refused, or answered
			time.Sleep(500 * time.Millisecond)
			i = explained(nodeAddr(3))
			require.Equal(t, c.want, i.Phase+", "+i.Timer+" in "+i.TimerIn.String())
			require.Equal(t, StateTerminated, i.State)
			require.Error(t, i.Err)
			if c.err != nil {
				require.ErrorIs(t, i.Err, c.err)
			}
			require.NoError(t, bearer.Close())
			synctest.Wait()
			_, ok := server.m.Explain(ConnID{server.addr, nodeAddr(3)})
			require.False(t, ok)
		}
		for _, c := range honest {
			require.NoError(t, c.Close())
		}
		server.stop()
	})
}
