package connmgr

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/protocols"
)

// goodbyes notes how the runs of b's responders end.
func goodbyes(change func(*protocols.MiniProtocol)) (func(*Config), func() []error) {
	var mu sync.Mutex
	var ends []error
	return func(c *Config) {
			for _, mp := range c.Protocols {
				respond := mp.Respond
				if change != nil {
					change(mp)
				}
				mp.Respond = func(ctx context.Context, s *protocols.Session) error {
					err := respond(ctx, s)
					mu.Lock()
					defer mu.Unlock()
					ends = append(ends, err)
					return err
				}
			}
		}, func() []error {
			mu.Lock()
			defer mu.Unlock()
			return ends
		}
}

// TestShutdownSaysGoodbye: whoever may speak says Done, where Close cuts them all off.
func TestShutdownSaysGoodbye(t *testing.T) {
	for _, polite := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			n := memnet.New(memnet.Config{Link: memnet.Link{Latency: 20 * time.Millisecond}})
			watched, ends := goodbyes(nil)
			a, b := newNode(t, n, 1, nil), newNode(t, n, 2, watched)
			defer b.stop()
			_, err := a.m.Connect(bg, b.addr, ConnectOptions{})
			require.NoError(t, err)
			require.NoError(t, a.m.Activate(bg, b.addr))
			time.Sleep(3 * time.Second)
			require.Empty(t, ends())
			began := time.Now()
			if polite {
				ctx, cancel := context.WithTimeout(bg, time.Minute)
				defer cancel()
				require.NoError(t, a.m.Shutdown(ctx))
				require.Less(t, time.Since(began), 3*time.Second, "nobody holds it up but the close itself")
			}
			a.stop()
			time.Sleep(time.Second)
			clean := 0
			for _, err := range ends() {
				if err == nil {
					clean++
				}
			}
			require.Equal(t, map[bool]int{true: 3, false: 0}[polite], clean)
			_, err = n.Host(netip.MustParseAddr("10.7.0.1")).DialFrom(bg, netip.AddrPort{}, a.addr)
			require.Error(t, err, "it does not listen any more")
		})
	}
}

// TestShutdownDoesNotWaitForEver: a remote that does not answer holds it up for as long as its context lasts.
func TestShutdownDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{})
		mute, _ := goodbyes(nil)
		a, b := newNode(t, n, 1, nil), newNode(t, n, 2, func(c *Config) {
			mute(c)
			c.Protocols[2].Respond = func(ctx context.Context, _ *protocols.Session) error {
				<-ctx.Done()
				return ctx.Err()
			}
		})
		defer b.stop()
		_, err := a.m.Connect(bg, b.addr, ConnectOptions{})
		require.NoError(t, err)
		require.NoError(t, a.m.Activate(bg, b.addr))
		time.Sleep(3 * time.Second)
		began := time.Now()
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		require.NoError(t, a.m.Shutdown(ctx))
		require.GreaterOrEqual(t, time.Since(began), time.Second)
		require.LessOrEqual(t, time.Since(began), 3*time.Second, "the goodbye's time, and the drain's")
		require.NoError(t, a.m.Shutdown(bg), "again, when it is closed")
		a.stop()
	})
}

// TestFailedListenerIsReported: one that nobody closed and that cannot go on calls for the end of the node; one that the manager
// closed does not.
func TestFailedListenerIsReported(t *testing.T) {
	failures := make(chan error, 2)
	m, err := NewManager(Config{Network: 42, Fatal: func(err error) { failures <- err }})
	require.NoError(t, err)
	var lns [2]net.Listener
	for i := range lns {
		lns[i], err = ListenTCP(bg, netip.MustParseAddrPort("127.0.0.1:0"))
		require.NoError(t, err)
		require.NoError(t, m.Serve(lns[i]))
	}
	require.NoError(t, lns[0].Close())
	require.ErrorContains(t, <-failures, lns[0].Addr().String())
	require.NoError(t, m.Close())
	require.Empty(t, failures)
}

// TestRoundTripsAndCausesAreTold: keep-alive's round trips by peer, and in the trace why a connection ended.
func TestRoundTripsAndCausesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{Link: memnet.Link{Latency: 20 * time.Millisecond}})
		type measured struct {
			peer netip.AddrPort
			rtt  time.Duration
		}
		told := make(chan measured, 10)
		a, b := newNode(t, n, 1, func(c *Config) {
			c.RoundTrip = func(peer netip.AddrPort, rtt time.Duration) { told <- measured{peer, rtt} }
		}), newNode(t, n, 2, nil)
		_, err := a.m.Connect(bg, b.addr, ConnectOptions{})
		require.NoError(t, err)
		time.Sleep(3 * time.Second)
		require.Equal(t, measured{b.addr, 40 * time.Millisecond}, <-told)
		ended := make(chan error, 10)
		a.audit.mu.Lock()
		a.audit.ended = ended
		a.audit.mu.Unlock()
		b.stop()
		time.Sleep(time.Second)
		require.Error(t, <-ended)
		a.stop()
	})
}
