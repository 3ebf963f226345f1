package topology

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// AppendJSON appends the topology in the P2P format of governor §8.1, indented by two blanks, every field written out and in
// a fixed order, so that equal values give equal bytes. Reading it back gives the same value.
func (t *Topology) AppendJSON(b []byte) []byte {
	b = append(b, "{\n  \"bootstrapPeers\": "...)
	if t.BootstrapPeers == nil {
		b = append(b, "null"...)
	} else {
		b = appendAccessPoints(b, t.BootstrapPeers, "  ")
	}
	b = append(b, ",\n  \"localRoots\": ["...)
	for i, g := range t.LocalRoots {
		b = appendComma(b, i)
		b = append(b, "\n    {\n      \"accessPoints\": "...)
		b = appendAccessPoints(b, g.AccessPoints, "      ")
		b = append(b, ",\n      \"advertise\": "...)
		b = strconv.AppendBool(b, g.Advertise)
		b = append(b, ",\n      \"behindFirewall\": "...)
		b = strconv.AppendBool(b, g.BehindFirewall)
		b = append(b, ",\n      \"diffusionMode\": \""...)
		b = append(b, g.DiffusionMode.String()...)
		b = append(b, "\",\n      \"hotValency\": "...)
		b = strconv.AppendInt(b, g.HotValency, 10)
		b = append(b, ",\n      \"trustable\": "...)
		b = strconv.AppendBool(b, g.Trustable)
		b = append(b, ",\n      \"warmValency\": "...)
		b = strconv.AppendInt(b, g.WarmValency, 10)
		b = append(b, "\n    }"...)
	}
	b = appendEnd(b, len(t.LocalRoots), "  ")
	if t.PeerSnapshotFile != nil {
		b = append(b, ",\n  \"peerSnapshotFile\": "...)
		b = appendString(b, *t.PeerSnapshotFile)
	}
	b = append(b, ",\n  \"publicRoots\": ["...)
	for i, r := range t.PublicRoots {
		b = appendComma(b, i)
		b = append(b, "\n    {\n      \"accessPoints\": "...)
		b = appendAccessPoints(b, r.AccessPoints, "      ")
		b = append(b, ",\n      \"advertise\": "...)
		b = strconv.AppendBool(b, r.Advertise)
		b = append(b, "\n    }"...)
	}
	b = appendEnd(b, len(t.PublicRoots), "  ")
	b = append(b, ",\n  \"useLedgerAfterSlot\": "...)
	switch {
	case t.UseLedger.Mode == LedgerNever:
		b = append(b, "-1"...)
	case t.UseLedger.Mode == LedgerAlways:
		b = append(b, '0')
	case t.UseLedger.Slot == 0:
		b = append(b, "0.5"...) // the only way to write "after slot 0"
	default:
		b = strconv.AppendUint(b, t.UseLedger.Slot, 10)
	}
	return append(b, "\n}\n"...)
}

func appendAccessPoints(b []byte, list []AccessPoint, indent string) []byte {
	b = append(b, '[')
	for i, a := range list {
		b = appendComma(b, i)
		b = append(b, "\n"+indent+"  "...)
		b = appendAccessPoint(b, a)
	}
	return appendEnd(b, len(list), indent)
}

// appendAccessPoint writes one access point, or relay of a snapshot, on one line.
func appendAccessPoint(b []byte, a AccessPoint) []byte {
	b = append(b, `{ "address": `...)
	b = appendString(b, a.Address())
	if a.Kind != SRV {
		b = append(b, `, "port": `...)
		b = strconv.AppendUint(b, uint64(a.Port), 10)
	}
	return append(b, " }"...)
}

func appendComma(b []byte, i int) []byte {
	if i > 0 {
		return append(b, ',')
	}
	return b
}

func appendEnd(b []byte, n int, indent string) []byte {
	if n > 0 {
		b = append(b, "\n"+indent...)
	}
	return append(b, ']')
}

func appendString(b []byte, s string) []byte {
	var w bytes.Buffer
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string cannot fail
	return append(b, bytes.TrimSuffix(w.Bytes(), []byte("\n"))...)
}
