package memnet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSimultaneousOpenMakesOneConnection(t *testing.T) {
	bubble(t, Config{Link: Link{Latency: 10 * time.Millisecond}}, func(d *duo) {
		var wg sync.WaitGroup
		var a, b *Conn
		wg.Go(func() {
			var err error
			a, err = d.a.Dial(context.Background(), portA, portB)
			require.NoError(t, err)
		})
		wg.Go(func() {
			time.Sleep(5 * time.Millisecond)
			var err error
			b, err = d.b.Dial(context.Background(), portB, portA)
			require.NoError(t, err)
		})
		wg.Wait()
		require.Equal(t, 1, d.net.Pairs(addrA, addrB))
		for _, l := range []*Listener{d.la, d.lb} {
			l.SetDeadline(time.Now().Add(time.Second))
			_, err := l.Accept()
			require.ErrorIs(t, err, os.ErrDeadlineExceeded, "nobody accepts a simultaneous open")
		}
		a.Write([]byte("to b"))
		b.Write([]byte("to a"))
		require.Equal(t, "to b", string(readN(t, b, 4)))
		require.Equal(t, "to a", string(readN(t, a, 4)))
		closeAll(a, b)
	})
}

func TestDialOfABusyTupleFails(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		a, err := d.a.Dial(context.Background(), portA, portB)
		require.NoError(t, err)
		b, err := d.lb.Accept()
		require.NoError(t, err)
		_, err = d.a.Dial(context.Background(), portA, portB)
		require.ErrorIs(t, err, syscall.EADDRNOTAVAIL)
		_, err = d.b.Dial(context.Background(), portB, portA)
		require.ErrorIs(t, err, syscall.EADDRNOTAVAIL, "the other side's tuple is the same one")
		closeAll(a, b)
	})
}

func TestSelfConnectIsAnEcho(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		c, err := d.a.Dial(context.Background(), portA, portA)
		require.NoError(t, err)
		require.Equal(t, c.LocalAddr(), c.RemoteAddr())
		c.Write([]byte("hello"))
		require.Equal(t, "hello", string(readN(t, c, 5)))
		c.Close()
	})
}

func TestDialFailures(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		ctx := context.Background()
		_, err := d.a.Dial(ctx, any4, netip.AddrPortFrom(addrB, 9))
		require.ErrorIs(t, err, syscall.ECONNREFUSED)

		begin := time.Now()
		_, err = d.a.Dial(ctx, any4, netip.MustParseAddrPort("10.9.9.9:1"))
		require.ErrorIs(t, err, syscall.ETIMEDOUT)
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		require.True(t, timeout.Timeout())
		require.Equal(t, 120*time.Second, time.Since(begin))

		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err = d.a.Dial(short, any4, netip.MustParseAddrPort("10.9.9.9:1"))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)

		_, err = d.a.Dial(ctx, portB, portB)
		require.ErrorIs(t, err, syscall.EADDRNOTAVAIL, "not our address")

		d.a.FailSockets(syscall.ENFILE)
		_, err = d.a.Dial(ctx, any4, portB)
		require.ErrorIs(t, err, syscall.ENFILE)

		boom := errors.New("boom")
		d.net.Script(addrA, addrB, Bearer{DialErr: boom}, Bearer{Delay: time.Hour}, Bearer{})
		_, err = d.a.Dial(ctx, any4, portB)
		require.ErrorIs(t, err, boom)
		_, err = d.a.Dial(ctx, any4, portB)
		require.ErrorIs(t, err, syscall.ETIMEDOUT)
		for range 2 { // the last bearer serves all further dials
			a, b := d.connect()
			closeAll(a, b)
		}
		require.Equal(t, 1, d.a.Descriptors(), "only the listener is left")
	})
}

func TestAbandonedDialLeavesNothingAtTheListener(t *testing.T) {
	bubble(t, Config{Link: Link{Latency: time.Second}}, func(d *duo) {
		ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
		defer cancel()
		_, err := d.a.Dial(ctx, any4, portB)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		time.Sleep(10 * time.Second)
		d.la.Close()
		d.lb.Close()
		require.NoError(t, d.net.Check())
	})
}

func TestAcceptFailures(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		a, err := d.a.Dial(context.Background(), any4, portB)
		require.NoError(t, err)
		d.lb.FailAccept(syscall.EMFILE, syscall.ENOBUFS)
		_, err = d.lb.Accept()
		require.ErrorIs(t, err, syscall.EMFILE)
		_, err = d.lb.Accept()
		require.ErrorIs(t, err, syscall.ENOBUFS)
		b, err := d.lb.Accept()
		require.NoError(t, err, "the connection waited in the queue")
		closeAll(a, b)

		d.lb.AbortAccept(syscall.ECONNABORTED)
		a, err = d.a.Dial(context.Background(), any4, portB)
		require.NoError(t, err)
		_, err = d.lb.Accept()
		require.ErrorIs(t, err, syscall.ECONNABORTED)
		_, err = a.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		a.Close()

		d.lb.FailAcceptFor(time.Second, syscall.EPROTO)
		a, err = d.a.Dial(context.Background(), any4, portB)
		require.NoError(t, err)
		_, err = d.lb.Accept()
		require.ErrorIs(t, err, syscall.EPROTO)
		a.Close()
		time.Sleep(time.Second)
		a, b = d.connect()
		closeAll(a, b)
	})
}

func TestDescriptorLimit(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		d.b.SetDescriptors(2) // the listener and one more
		a, b := d.connect()
		a2, err := d.a.Dial(context.Background(), any4, portB)
		require.NoError(t, err, "the kernel connects, the process cannot accept")
		_, err = d.lb.Accept()
		require.ErrorIs(t, err, syscall.EMFILE)
		_, err = d.b.Dial(context.Background(), any4, portA)
		require.ErrorIs(t, err, syscall.EMFILE)
		b.Close()
		b2, err := d.lb.Accept()
		require.NoError(t, err)
		closeAll(a, a2, b2)
		require.Equal(t, 1, d.b.Descriptors())
	})
}

func TestFullBacklogDropsSyns(t *testing.T) {
	bubble(t, Config{Backlog: 2}, func(d *duo) {
		a1, err := d.a.Dial(context.Background(), any4, portB)
		require.NoError(t, err)
		a2, err := d.a.Dial(context.Background(), any4, portB)
		require.NoError(t, err)
		time.AfterFunc(5*time.Second, func() {
			b, _ := d.lb.Accept()
			b.Close()
		})
		begin := time.Now()
		a3, err := d.a.Dial(context.Background(), any4, portB)
		require.NoError(t, err)
		require.Equal(t, 7*time.Second, time.Since(begin), "SYNs at 0, 1, 3 and 7 s")
		closeAll(a1, a2, a3)
	})
}

func TestWildcardListenersOfDifferentHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(Config{})
		six := netip.MustParseAddr("fd00::1")
		a, b := n.Host(addrA, six), n.Host(addrB)
		var ls []*Listener
		for _, h := range []*Host{a, b} {
			l, err := h.Listen(netip.MustParseAddrPort("0.0.0.0:3001"))
			require.NoError(t, err)
			ls = append(ls, l)
			_, err = h.Listen(netip.MustParseAddrPort("0.0.0.0:3001"))
			require.ErrorIs(t, err, syscall.EADDRINUSE)
		}
		c, err := b.DialContext(context.Background(), "tcp", "10.0.0.1:3001")
		require.NoError(t, err)
		s, err := ls[0].Accept()
		require.NoError(t, err)
		require.Equal(t, "10.0.0.1:3001", s.LocalAddr().String())
		_, err = a.Dial(context.Background(), any4, netip.AddrPortFrom(six, 3001))
		require.ErrorIs(t, err, syscall.ECONNREFUSED, "the IPv4 wildcard does not serve IPv6")
		closeAll(c, s)
		closeAllListeners(ls...)
		require.NoError(t, n.Check())
	})
}

func closeAllListeners(ls ...*Listener) {
	for _, l := range ls {
		l.Close()
	}
}
