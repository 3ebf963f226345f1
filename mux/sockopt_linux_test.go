package mux

import (
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// wrapped is a bearer that runs on another one, as TLS does.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

// TestNotSentLowat reads the option back from the socket.
func TestNotSentLowat(t *testing.T) {
	get := func(c net.Conn) (v int) {
		raw, err := c.(*net.TCPConn).SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) {
			v, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat)
		}))
		require.NoError(t, err)
		return v
	}
	for _, c := range []struct {
		name      string
		set, want int
	}{{"default", 0, 65_536}, {"16 KiB", 16 << 10, 16 << 10}, {"left alone", -1, 0}} {
		for _, layered := range []bool{false, true} {
			x, _ := tcpPair(t)
			bearer := x
			if layered {
				bearer = wrapped{x}
			}
			untouched := get(x)
			m := New(bearer, Config{NotSentLowat: c.set})
			if c.set < 0 {
				require.Equal(t, untouched, get(x), c.name)
			} else {
				require.Equal(t, c.want, get(x), c.name)
			}
			require.NoError(t, m.Close())
		}
	}
	x, _ := unixPair(t) // has no such option, and works
	m := New(x, Config{})
	require.NoError(t, m.Close())
}

// TestReadBuffer reads SO_RCVBUF back, of which Linux reports twice what was set.
func TestReadBuffer(t *testing.T) {
	get := func(c net.Conn) (v int) {
		raw, err := c.(*net.TCPConn).SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) {
			v, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF)
		}))
		require.NoError(t, err)
		return v
	}
	x, y := tcpPair(t)
	untouched := get(x)
	require.NoError(t, New(y, Config{ReadBuffer: -1}).Close())
	require.Equal(t, untouched, get(x))
	defer New(x, Config{}).Close()
	require.Equal(t, 2*65_536, get(x), "the peer is on this host")
	x, _ = tcpPair(t)
	defer New(wrapped{x}, Config{ReadBuffer: 100_000}).Close()
	require.Equal(t, 200_000, get(x))
}
