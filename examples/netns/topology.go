package main

import (
	"encoding/json"
	"os"
	"slices"

	"github.com/hearthnet/hearth/topology"
)

// writeTopology writes a topology whose only peers are these, all of them hot.
func writeTopology(file string, peers []site) error {
	t := &topology.Topology{LocalRoots: []topology.Group{{HotValency: int64(len(peers)), WarmValency: int64(len(peers))}}}
	for _, p := range peers {
		t.LocalRoots[0].AccessPoints = append(t.LocalRoots[0].AccessPoints, topology.AccessPoint{Kind: topology.IP, IP: p.addr, Port: relayPort})
	}
	b, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(slices.Clip(b), '\n'), 0o666)
}
