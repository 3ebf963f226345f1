package main

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPlacesStay: a peer that stays is found in the same place, and there are no holes.
func TestPlacesStay(t *testing.T) {
	at := func(ports ...uint16) (all []netip.AddrPort) {
		for _, p := range ports {
			all = append(all, netip.AddrPortFrom(netip.IPv4Unspecified(), p))
		}
		return all
	}
	var s shown
	first := s.keep(at(1, 2, 3, 4))
	require.Equal(t, at(1, 2, 3, 4), first)
	require.Equal(t, at(1, 5, 3, 4), s.keep(at(5, 4, 3, 1)))
	require.Equal(t, at(1, 2, 3, 4), first, "whoever has it keeps it")
	require.Equal(t, at(1, 4, 3), s.keep(at(1, 3, 4)))
	require.Equal(t, at(6, 4, 3, 7), s.keep(at(6, 7, 3, 4)))
	require.Equal(t, 4, s.id(at(7)[0]))
	require.Equal(t, -1, s.id(at(1)[0]))
	require.Empty(t, s.keep(nil))
}
