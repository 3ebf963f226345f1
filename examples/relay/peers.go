package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hearthnet/hearth/examples/internal/cli"
	"github.com/hearthnet/hearth/governor"
	"github.com/hearthnet/hearth/topology"
)

// wallet is the preset that serves nobody.
const wallet = "wallet"

var presets = []string{"relay", "producer", wallet, "private"}

// configuration is the governor's for a preset.
func configuration(preset string) governor.Config {
	switch preset {
	case "producer":
		c := governor.BlockProducer()
		// Local roots are kept by their valencies. There is nobody else but those that were, who are to be let go.
		c.Targets = governor.Targets{Known: c.Targets.Known}
		return c
	case wallet:
		return governor.Wallet()
	case "private":
		return governor.PrivateNetwork()
	}
	return governor.Relay()
}

// localRootsOnly tells which presets connect to local roots and to nobody else.
func localRootsOnly(preset string) bool { return preset == "producer" || preset == "private" }

// peers are what the command line says of them.
type peers struct {
	file   string // of the topology; may be empty
	read   topology.Options
	static []topology.AccessPoint // of -peer
	closed bool                   // local roots only
}

// load reads the topology file, if there is one, and adds the peers of -peer. Every problem of the file goes to the log, and what of
// it is not used.
func (p peers) load(log *slog.Logger) (*topology.Topology, error) {
	t := &topology.Topology{}
	if p.file != "" {
		r, err := topology.ReadFile(p.file, p.read)
		if err != nil {
			return nil, err
		}
		for _, w := range r.Problems {
			level := slog.LevelWarn
			if w.Severity == topology.Error {
				level = slog.LevelError
			}
			log.Log(context.Background(), level, "topology", "problem", w.String())
		}
		if err := r.Err(); err != nil {
			return nil, err
		}
		t = r.Topology
	}
	if p.closed {
		for _, unused := range []struct {
			what string
			is   bool
		}{
			{"public roots", len(t.PublicRoots) > 0}, {"bootstrap peers", len(t.BootstrapPeers) > 0}, {"ledger peers", t.UseLedger.Enabled()},
		} {
			if unused.is {
				log.Warn("not used by this preset, which knows local roots only", "topology", p.file, "what", unused.what)
			}
		}
		t = &topology.Topology{LocalRoots: t.LocalRoots}
	}
	groups := make([]topology.Group, 0, len(p.static)+len(t.LocalRoots))
	for _, a := range p.static { // a group each: a name may have several addresses, of which one is enough
		groups = append(groups, topology.Group{AccessPoints: []topology.AccessPoint{a}, HotValency: 1, WarmValency: 1, Advertise: true, Trustable: true})
	}
	t.LocalRoots = append(groups, t.LocalRoots...)
	return t, nil
}

// dir is where the paths in the topology file start.
func (p peers) dir() string { return filepath.Dir(p.file) }

// accessPoint reads an address of -peer.
func accessPoint(addr string) (topology.AccessPoint, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return topology.AccessPoint{}, cli.Usagef("-peer %s: %v", addr, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" {
		return topology.AccessPoint{}, cli.Usagef("-peer %s: want HOST:PORT", addr)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return topology.AccessPoint{Kind: topology.IP, IP: ip, Port: uint16(n)}, nil
	}
	return topology.AccessPoint{Kind: topology.Domain, Name: strings.TrimSuffix(host, ".") + ".", Port: uint16(n)}, nil
}

// lines are the changes of a topology and what it keeps, one each.
func lines(c topology.Changes) (all []string) {
	for l := range strings.Lines(c.String()) {
		all = append(all, strings.TrimSuffix(l, "\n"))
	}
	for _, a := range c.Local.Keep {
		all = append(all, "keep local root "+a.String())
	}
	return all
}

// summary says in short what a change of the topology does with the local roots.
func summary(c topology.Changes) string {
	return fmt.Sprintf("%d to connect, %d to drop, %d to keep", len(c.Local.Connect), len(c.Local.Drop), len(c.Local.Keep))
}
