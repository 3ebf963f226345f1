package memnet

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	addrA = netip.MustParseAddr("10.0.0.1")
	addrB = netip.MustParseAddr("10.0.0.2")
	portA = netip.AddrPortFrom(addrA, 3001)
	portB = netip.AddrPortFrom(addrB, 3001)
	any4  = netip.AddrPort{}
)

// duo is two hosts, each with a listener.
type duo struct {
	*testing.T
	net    *Network
	a, b   *Host
	la, lb *Listener
}

// bubble runs f in virtual time.
func bubble(t *testing.T, cfg Config, f func(d *duo)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &duo{T: t, net: New(cfg)}
		d.a, d.b = d.net.Host(addrA), d.net.Host(addrB)
		var err error
		d.la, err = d.a.Listen(portA)
		require.NoError(t, err)
		d.lb, err = d.b.Listen(portB)
		require.NoError(t, err)
		f(d)
		d.la.Close()
		d.lb.Close()
	})
}

func (d *duo) connect() (a, b *Conn) {
	d.Helper()
	a, err := d.a.Dial(context.Background(), any4, portB)
	require.NoError(d, err)
	c, err := d.lb.Accept()
	require.NoError(d, err)
	return a, c.(*Conn)
}

func closeAll(conns ...net.Conn) {
	for _, c := range conns {
		c.Close()
	}
}

func readN(t require.TestingT, c net.Conn, n int) []byte {
	b := make([]byte, n)
	_, err := io.ReadFull(c, b)
	require.NoError(t, err)
	return b
}
