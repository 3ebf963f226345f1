// Package seams asserts, at compile time, that the packages fit together without adapters.
package seams

import (
	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/governor"
	"github.com/hearthnet/hearth/protocols/peersharing"
	"github.com/hearthnet/hearth/topology"
)

var (
	_ governor.PeerActions = (*connmgr.Manager)(nil)
	_ governor.Roots       = (*topology.Provider)(nil)
	_ peersharing.Sharer   = (*governor.Governor)(nil)
)

var _ governor.InboundWatcher = (*connmgr.Manager)(nil)

var _ = func(g *governor.Governor, r *topology.Provider) connmgr.Config {
	return connmgr.Config{Protected: r.IsLocalRoot, Banned: g.Banned, RoundTrip: g.Measured}
}
