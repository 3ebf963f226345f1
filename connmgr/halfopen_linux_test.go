package connmgr

import (
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/protocols"
)

// tcpRepair is TCP_REPAIR, which package syscall does not name: a socket closed in this mode is gone without a word to its peer.
const tcpRepair = 19

// A peer whose host has lost the connection without telling, on real TCP: the next keep-alive finds out, the peer is cold, and it
// can be dialled again.
func TestLoopbackHalfOpen(t *testing.T) {
	tcp, err := ListenTCP(bg, netip.MustParseAddrPort("127.0.0.1:0"))
	require.NoError(t, err)
	at := tcp.Addr().(*net.TCPAddr).AddrPort()
	ln := &keepingListener{Listener: tcp, accepted: make(chan net.Conn, 10)}
	peer, err := NewManager(Config{Network: 42, Local: []netip.AddrPort{at},
		Protocols: []*protocols.MiniProtocol{echo(102, protocols.Hot, time.Hour, &echoes{})}})
	require.NoError(t, err)
	require.NoError(t, peer.Serve(ln))
	m, _ := tcpNode(t, "127.0.0.1", func(c *Config) {
		c.KeepAlive = 100 * time.Millisecond
		c.Protocols = []*protocols.MiniProtocol{echo(102, protocols.Hot, time.Hour, &echoes{})}
	})
	cold := make(chan error, 10)
	m.Watch(func(_ netip.AddrPort, temperature int, _ time.Duration, cause error) {
		if temperature == int(StatusCold) {
			cold <- cause
		}
	})
	_, err = m.Connect(bg, at, ConnectOptions{})
	require.NoError(t, err)
	require.NoError(t, m.Activate(bg, at))

	// The accepting end's socket vanishes.
	if err := vanish(<-ln.accepted); err != nil {
		require.NoError(t, m.Close())
		require.NoError(t, peer.Close())
		t.Skipf("skipped: no CAP_NET_ADMIN (%v); memnet has the same test", err)
	}
	select {
	case cause := <-cold:
		require.Error(t, cause)
		require.Equal(t, FaultNetwork, Classify(cause).Fault)
	case <-time.After(10 * time.Second):
		t.Fatal("not noticed")
	}
	require.Empty(t, m.Connections())
	require.NoError(t, connectRetrying(m, at))
	require.NoError(t, m.Close())
	require.NoError(t, peer.Close())
}

// keepingListener hands on what it has accepted.
type keepingListener struct {
	net.Listener
	accepted chan net.Conn
}

func (l *keepingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted <- c
	}
	return c, err
}

// vanish puts a connection's socket into repair mode, so that its close sends nothing, and closes it.
func vanish(c net.Conn) error {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := raw.Control(func(fd uintptr) {
		serr = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpRepair, 1)
	}); err != nil {
		return err
	}
	if serr != nil {
		return serr
	}
	return c.Close()
}
