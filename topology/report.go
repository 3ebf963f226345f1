package topology

import "encoding/json"

// Report is what a checking tool prints about a file as one JSON object: the format, what cardano-node would do with it, the
// values as read and every problem. Absent values are null.
type Report struct {
	Format      *Format         `json:"format"`
	JSON        *bool           `json:"json"` // false when the text is not JSON, else absent
	NodeAccepts bool            `json:"node_accepts"`
	NodeStarts  *bool           `json:"node_starts"` // absent when NodeAccepts is false
	Parsed      *ReportTopology `json:"parsed"`
	Old         *ReportOld      `json:"old"`
	Problems    []Problem       `json:"problems"`
}

// ReportTopology is the content of a file in the present format.
type ReportTopology struct {
	BootstrapPeers   []ReportPoint  `json:"bootstrapPeers"` // null when off
	LocalRoots       []ReportGroup  `json:"localRoots"`
	PeerSnapshotFile *string        `json:"peerSnapshotFile"`
	PublicRoots      []ReportPublic `json:"publicRoots"`
	UseLedger        ReportLedger   `json:"useLedger"`
}

// ReportPoint is an access point; an SRV name has no port.
type ReportPoint struct {
	Address string  `json:"address"`
	Kind    Kind    `json:"kind"`
	Port    *uint16 `json:"port,omitempty"`
}

// ReportGroup is a group of local roots.
type ReportGroup struct {
	AccessPoints   []ReportPoint `json:"accessPoints"`
	Advertise      bool          `json:"advertise"`
	BehindFirewall bool          `json:"behindFirewall"`
	DiffusionMode  DiffusionMode `json:"diffusionMode"`
	HotValency     int64         `json:"hotValency"`
	Trustable      bool          `json:"trustable"`
	WarmValency    int64         `json:"warmValency"`
}

// ReportPublic is a group of public roots.
type ReportPublic struct {
	AccessPoints []ReportPoint `json:"accessPoints"`
	Advertise    bool          `json:"advertise"`
}

// ReportLedger says when ledger peers are used; Slot is absent unless Mode is "after".
type ReportLedger struct {
	Mode LedgerMode `json:"mode"`
	Slot *uint64    `json:"slot,omitempty"`
}

// ReportOld is the content of a file in a retired format: Producers for the legacy one, the rest for the P2P drafts.
type ReportOld struct {
	*reportProducers
	*reportDrafts
}

type reportProducers struct {
	Producers []OldProducer `json:"producers"`
}

type reportDrafts struct {
	LocalRoots         []OldGroup      `json:"localRoots"`
	PublicRoots        []OldPublicRoot `json:"publicRoots"`
	UseLedgerAfterSlot json.RawMessage `json:"useLedgerAfterSlot"`
}

// Report arranges the result for printing.
func (r *Result) Report() *Report {
	out := &Report{NodeAccepts: r.NodeAccepts, Problems: r.Problems}
	if out.Problems == nil {
		out.Problems = []Problem{}
	}
	if !r.JSON {
		no := false
		out.JSON = &no
		return out
	}
	out.Format = &r.Format
	if r.NodeAccepts {
		out.NodeStarts = &r.NodeStarts
		out.Parsed = reportTopology(r.Topology)
	}
	if o := r.Old; o != nil {
		if o.Format == FormatLegacy {
			out.Old = &ReportOld{reportProducers: &reportProducers{o.Producers}}
		} else {
			d := &reportDrafts{LocalRoots: o.LocalRoots, PublicRoots: o.PublicRoots}
			if o.UseLedgerAfterSlot != "" {
				d.UseLedgerAfterSlot = json.RawMessage(o.UseLedgerAfterSlot)
			}
			out.Old = &ReportOld{reportDrafts: d}
		}
	}
	return out
}

func reportTopology(t *Topology) *ReportTopology {
	out := &ReportTopology{
		LocalRoots:       make([]ReportGroup, 0, len(t.LocalRoots)),
		PublicRoots:      make([]ReportPublic, 0, len(t.PublicRoots)),
		PeerSnapshotFile: t.PeerSnapshotFile,
		UseLedger:        ReportLedger{Mode: t.UseLedger.Mode},
	}
	if t.BootstrapPeers != nil {
		out.BootstrapPeers = reportPoints(t.BootstrapPeers)
	}
	for _, g := range t.LocalRoots {
		out.LocalRoots = append(out.LocalRoots, ReportGroup{
			AccessPoints: reportPoints(g.AccessPoints), Advertise: g.Advertise, BehindFirewall: g.BehindFirewall,
			DiffusionMode: g.DiffusionMode, HotValency: g.HotValency, Trustable: g.Trustable, WarmValency: g.WarmValency,
		})
	}
	for _, p := range t.PublicRoots {
		out.PublicRoots = append(out.PublicRoots, ReportPublic{reportPoints(p.AccessPoints), p.Advertise})
	}
	if t.UseLedger.Mode == LedgerAfter {
		out.UseLedger.Slot = &t.UseLedger.Slot
	}
	return out
}

func reportPoints(list []AccessPoint) []ReportPoint {
	out := make([]ReportPoint, 0, len(list))
	for _, a := range list {
		p := ReportPoint{Address: a.Address(), Kind: a.Kind}
		if a.Kind != SRV {
			port := a.Port
			p.Port = &port
		}
		out = append(out, p)
	}
	return out
}
