package connmgr

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestListenTCPRefusesATakenPort: two listeners that share their port would both get connections.
func TestListenTCPRefusesATakenPort(t *testing.T) {
	first, err := ListenTCP(bg, netip.MustParseAddrPort("127.0.0.1:0"))
	require.NoError(t, err)
	at := first.Addr().(*net.TCPAddr).AddrPort()
	_, err = ListenTCP(bg, at)
	require.ErrorContains(t, err, "in use")
	require.NoError(t, first.Close())
	again, err := ListenTCP(bg, at)
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

// TestBindLeadsSomewhere: outgoing connections share our address, unless that would lead nowhere.
func TestBindLeadsSomewhere(t *testing.T) {
	at := netip.MustParseAddrPort
	none := netip.AddrPort{}
	for _, c := range []struct{ local, remote, want netip.AddrPort }{
		{at("0.0.0.0:1"), at("192.0.2.1:2"), at("0.0.0.0:1")},
		{at("0.0.0.0:1"), at("127.0.0.1:2"), at("0.0.0.0:1")},
		{at("127.0.0.1:1"), at("127.0.0.2:2"), at("127.0.0.1:1")},
		{at("127.0.0.1:1"), at("192.0.2.1:2"), none},
		{at("127.0.0.1:1"), at("[::1]:2"), none},
		{at("[::1]:1"), at("[2001:db8::1]:2"), none},
		{at("[::1]:1"), at("[::1]:2"), at("[::1]:1")},
	} {
		require.Equal(t, c.want, Config{Local: []netip.AddrPort{c.local}}.bind(c.remote), c)
	}
}
