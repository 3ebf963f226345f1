package topology

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Kind says how an access point is turned into addresses (governor §6.4).
type Kind uint8

// The three kinds of access points.
const (
	IP     Kind = iota // an IP address and a port
	Domain             // a name for A and AAAA look-ups, and a port
	SRV                // a name for an SRV look-up; the answer brings the ports
)

// String returns "ip", "domain" or "srv".
func (k Kind) String() string { return [...]string{"ip", "domain", "srv"}[k] }

// MarshalText writes "ip", "domain" or "srv".
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// AccessPoint is where a peer, or several, can be found. Values are comparable.
type AccessPoint struct {
	Kind Kind
	IP   netip.Addr // set when Kind is IP
	Name string     // set otherwise; ends with a dot
	Port uint16     // 0 when Kind is SRV
}

// Address returns the IP address or the name as text.
func (a AccessPoint) Address() string {
	if a.Kind == IP {
		return a.IP.String()
	}
	return a.Name
}

// String returns address and port the way people write them, an SRV name alone.
func (a AccessPoint) String() string {
	switch a.Kind {
	case IP:
		return netip.AddrPortFrom(a.IP, a.Port).String()
	case Domain:
		return fmt.Sprintf("%s:%d", a.Name, a.Port)
	}
	return "srv " + a.Name
}

// AddrPort returns the socket address of an IP access point, an IPv4 address in IPv6 clothes as IPv4.
func (a AccessPoint) AddrPort() netip.AddrPort { return netip.AddrPortFrom(a.IP.Unmap(), a.Port) }

// identity is the same for two access points that always lead to the same peers.
func (a AccessPoint) identity() AccessPoint {
	if a.Kind == IP {
		a.IP = a.IP.Unmap()
	} else {
		a.Name = strings.ToLower(a.Name)
	}
	return a
}

// newAccessPoint applies the reading rules of governor §6.4: no port makes an SRV name, even of an IP address; a name gets a
// final dot.
func newAccessPoint(address string, port int64, hasPort bool) AccessPoint {
	if hasPort {
		// The reference's reader of addresses allows blanks around them and knows no zones.
		if ip, err := netip.ParseAddr(strings.TrimSpace(address)); err == nil && ip.Zone() == "" {
			return AccessPoint{Kind: IP, IP: ip, Port: uint16(port)}
		}
	}
	if !strings.HasSuffix(address, ".") {
		address += "."
	}
	if hasPort {
		return AccessPoint{Kind: Domain, Name: address, Port: uint16(port)}
	}
	return AccessPoint{Kind: SRV, Name: address}
}

// DiffusionMode says what a connection to a group's members may be used for.
type DiffusionMode uint8

// The two diffusion modes.
const (
	InitiatorAndResponder DiffusionMode = iota // duplex when both sides agree
	InitiatorOnly                              // we negotiate a unidirectional connection
)

// String returns the word used in topology files.
func (m DiffusionMode) String() string {
	if m == InitiatorOnly {
		return "InitiatorOnly"
	}
	return "InitiatorAndResponder"
}

// MarshalText writes the word used in topology files.
func (m DiffusionMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// Group is one group of local roots as the file has it: nothing is dropped, reduced or reordered. [Normalise] does that
// later, on resolved addresses.
type Group struct {
	AccessPoints   []AccessPoint
	HotValency     int64 // peers to keep hot; any integer, negative ones included
	WarmValency    int64 // peers to keep warm or hot
	Advertise      bool  // share these peers with others
	Trustable      bool  // usable while the ledger is too old
	BehindFirewall bool  // never dialled, only reused when they dial us
	DiffusionMode  DiffusionMode
}

// PublicRoot is a set of fall-back peers.
type PublicRoot struct {
	AccessPoints []AccessPoint
	Advertise    bool
}

// LedgerMode says whether peers are taken from the ledger.
type LedgerMode uint8

// The three values of useLedgerAfterSlot (governor §6.2).
const (
	LedgerNever  LedgerMode = iota // negative or absent
	LedgerAlways                   // zero
	LedgerAfter                    // positive: once the tip's slot has reached UseLedger.Slot
)

// String returns "never", "always" or "after".
func (m LedgerMode) String() string { return [...]string{"never", "always", "after"}[m] }

// MarshalText writes "never", "always" or "after".
func (m LedgerMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UseLedger is the meaning of useLedgerAfterSlot.
type UseLedger struct {
	Mode LedgerMode
	Slot uint64 // 0 unless Mode is LedgerAfter; 0.5 in a file is "after slot 0"
}

// Enabled tells whether the ledger is used at all.
func (u UseLedger) Enabled() bool { return u.Mode != LedgerNever }

// Allows tells whether ledger peers may be used with the tip at the given slot; atOrigin means that there is no tip yet.
func (u UseLedger) Allows(tip uint64, atOrigin bool) bool {
	switch u.Mode {
	case LedgerAlways:
		return true
	case LedgerAfter:
		return !atOrigin && tip >= u.Slot
	}
	return false
}

// Topology is the content of a topology file with all defaults filled in (governor §8.1). The zero value has no peers at all.
type Topology struct {
	LocalRoots  []Group
	PublicRoots []PublicRoot
	// BootstrapPeers is nil when bootstrap peers are off. Empty but not nil means "on, and there are none" (governor §7).
	BootstrapPeers []AccessPoint
	UseLedger      UseLedger
	// PeerSnapshotFile is nil when there is none; a relative path starts at the topology file's directory.
	PeerSnapshotFile *string
}

// UsesBootstrap tells whether bootstrap peers are on, with or without any in the list.
func (t *Topology) UsesBootstrap() bool { return t.BootstrapPeers != nil }

// Clone returns a deep copy.
func (t *Topology) Clone() *Topology {
	c := *t
	c.LocalRoots = slices.Clone(t.LocalRoots)
	for i := range c.LocalRoots {
		c.LocalRoots[i].AccessPoints = slices.Clone(c.LocalRoots[i].AccessPoints)
	}
	c.PublicRoots = slices.Clone(t.PublicRoots)
	for i := range c.PublicRoots {
		c.PublicRoots[i].AccessPoints = slices.Clone(c.PublicRoots[i].AccessPoints)
	}
	c.BootstrapPeers = slices.Clone(t.BootstrapPeers)
	if t.PeerSnapshotFile != nil {
		file := *t.PeerSnapshotFile
		c.PeerSnapshotFile = &file
	}
	return &c
}

// MarshalJSON writes the topology in the P2P format, which [Parse] reads back to the same value.
func (t *Topology) MarshalJSON() ([]byte, error) { return t.AppendJSON(nil), nil }

var _ json.Marshaler = (*Topology)(nil)
