package main

import (
	"encoding/json"
	"os"

	"github.com/hearthnet/hearth/topology"
)

// writeTopology writes a topology of local roots, each group as hot as it can be. The first group may be told to others. Nobody is a
// root otherwise: whom else a relay gets to know it learns from these.
func writeTopology(file string, groups ...[]site) error {
	t := &topology.Topology{}
	for i, peers := range groups {
		if len(peers) == 0 {
			continue
		}
		g := topology.Group{HotValency: int64(len(peers)), WarmValency: int64(len(peers)), Advertise: i == 0}
		for _, p := range peers {
			g.AccessPoints = append(g.AccessPoints, topology.AccessPoint{Kind: topology.IP, IP: p.addr, Port: relayPort})
		}
		t.LocalRoots = append(t.LocalRoots, g)
	}
	b, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o666)
}
