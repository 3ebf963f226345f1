package memnet

import (
	"context"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOrderlyCloseDeliversEverythingAndLeavesTimeWait(t *testing.T) {
	bubble(t, Config{Link: Link{Latency: 10 * time.Millisecond}}, func(d *duo) {
		a, err := d.a.Dial(context.Background(), portA, portB)
		require.NoError(t, err)
		b, err := d.lb.Accept()
		require.NoError(t, err)
		a.Write([]byte("last words"))
		a.Close()
		got, err := io.ReadAll(b)
		require.NoError(t, err)
		require.Equal(t, "last words", string(got))
		b.Close()
		time.Sleep(time.Second)
		_, err = d.a.Dial(context.Background(), portA, portB)
		require.ErrorIs(t, err, syscall.EADDRNOTAVAIL, "the active closer is in TIME_WAIT")
		// The other side may come in from the same tuple.
		b2, err := d.b.Dial(context.Background(), portB, portA)
		require.NoError(t, err)
		a2, err := d.la.Accept()
		require.NoError(t, err)
		closeAll(b2, a2)
		time.Sleep(2 * time.Minute)
		require.Zero(t, d.net.remains())
	})
}

func TestCloseWriteKeepsReading(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		a, b := d.connect()
		require.NoError(t, a.CloseWrite())
		_, err := a.Write([]byte("x"))
		require.ErrorIs(t, err, syscall.EPIPE)
		_, err = b.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
		b.Write([]byte("still here"))
		require.Equal(t, "still here", string(readN(t, a, 10)))
		closeAll(b, a)
	})
}

func TestLingerZeroResets(t *testing.T) {
	bubble(t, Config{Link: Link{Latency: 10 * time.Millisecond}}, func(d *duo) {
		a, err := d.a.Dial(context.Background(), portA, portB)
		require.NoError(t, err)
		b, err := d.lb.Accept()
		require.NoError(t, err)
		a.SetLinger(0)
		a.Close()
		_, err = b.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		_, err = b.Write([]byte("x"))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		b.Close()
		// No TIME_WAIT: the tuple is free at once.
		a, err = d.a.Dial(context.Background(), portA, portB)
		require.NoError(t, err)
		b, err = d.lb.Accept()
		require.NoError(t, err)
		closeAll(a, b)
	})
}

func TestCloseWithUnreadBytesResets(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		a, b := d.connect()
		a.Write([]byte("never read"))
		b.Close()
		_, err := a.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		a.Close()
	})
}

func TestLostResetLeavesTheOtherEndHalfOpen(t *testing.T) {
	bubble(t, Config{Link: Link{LoseReset: true}}, func(d *duo) {
		a, b := d.connect()
		a.SetLinger(0)
		a.Close()
		b.SetDeadline(time.Now().Add(time.Hour))
		_, err := b.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "nobody told b")
		b.SetDeadline(time.Time{})
		_, err = b.Write([]byte("anybody?"))
		require.NoError(t, err)
		d.net.SetLinks(addrA, addrB, Link{})
		_, err = b.Write([]byte("anybody?"))
		require.NoError(t, err)
		_, err = b.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET, "bytes for nobody are answered by a reset")
		b.Close()
	})
}

// A peer that restarted without a word dials from the same port: the stale end is found out by the challenge of its kernel.
func TestRedialOverAHalfOpenConnection(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		a, err := d.a.Dial(context.Background(), portA, portB)
		require.NoError(t, err)
		stale, err := d.lb.Accept()
		require.NoError(t, err)
		a.Vanish()
		a.Close()
		begin := time.Now()
		a2, err := d.a.Dial(context.Background(), portA, portB)
		require.NoError(t, err)
		require.Equal(t, time.Second, time.Since(begin), "the second SYN gets in")
		_, err = stale.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		fresh, err := d.lb.Accept()
		require.NoError(t, err)
		closeAll(stale, a2, fresh)
	})
}

func TestKillPowerOffAndOn(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		a, b := d.connect()
		d.b.Kill()
		_, err := a.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
		_, err = d.a.Dial(context.Background(), any4, portB)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		closeAll(a, b)

		d.lb, err = d.b.Listen(portB)
		require.NoError(t, err)
		a, b = d.connect()
		d.b.PowerOff()
		_, err = b.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ENETDOWN)
		_, err = d.b.Dial(context.Background(), any4, portA)
		require.ErrorIs(t, err, syscall.ENETDOWN)
		a.Write([]byte("anybody?"))
		a.SetReadDeadline(time.Now().Add(time.Minute))
		_, err = a.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		a.SetReadDeadline(time.Time{})
		d.b.PowerOn()
		_, err = a.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		closeAll(a, b)
		d.lb, err = d.b.Listen(portB)
		require.NoError(t, err)
	})
}

func TestCheckListsWhatIsOpen(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		a, b := d.connect()
		require.ErrorContains(t, d.net.Check(), "listener 10.0.0.1:3001")
		require.ErrorContains(t, d.net.Check(), "ESTABLISHED 10.0.0.2:3001 -> 10.0.0.1:32768")
		closeAll(a, b)
		closeAllListeners(d.la, d.lb)
		require.NoError(t, d.net.Check())
		_, err := d.la.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

// remains counts what the network still remembers or waits for.
func (n *Network) remains() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.conns) + len(n.events) + len(n.held)
}
