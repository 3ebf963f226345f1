package topology

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// walker goes through a document once and collects values and problems.
type walker struct {
	doc     *document
	opt     Options
	file    string
	list    problemList
	refused bool // cardano-node's parser refuses the file
	stops   bool // cardano-node reads it and then refuses to start
	// seen holds the access points of earlier local-root groups and, while a group is read, its own.
	seen map[AccessPoint]struct{}
}

func (w *walker) problem(s Severity, tok int, p *path, format string, args ...any) {
	offset := int(w.doc.toks[tok].start)
	if !w.list.wants(s, offset) {
		return
	}
	message := format
	if len(args) > 0 {
		message = fmt.Sprintf(format, args...)
	}
	w.list.add(s, offset, p.pointer(), message)
}

// refuse reports what cardano-node refuses, an error in both modes.
func (w *walker) refuse(tok int, p *path, format string, args ...any) {
	w.refused = true
	w.problem(Error, tok, p, format, args...)
}

// strict reports what cardano-node lets pass and we do not.
func (w *walker) strict(tok int, p *path, format string, args ...any) {
	s := Error
	if w.opt.Lenient {
		s = Warning
	}
	w.problem(s, tok, p, format, args...)
}

func (w *walker) warn(tok int, p *path, format string, args ...any) {
	w.problem(Warning, tok, p, format, args...)
}

// wrong reports a value of the wrong type.
func (w *walker) wrong(tok int, p *path, want string) {
	w.refuse(tok, p, "%s is expected, not %s", want, w.doc.toks[tok].kind)
}

func (w *walker) format() Format {
	if w.doc.toks[0].kind != jsonObject {
		return FormatUnknown
	}
	for _, f := range []struct {
		format Format
		keys   []string
	}{
		{FormatP2P, []string{"localRoots", "publicRoots"}},
		{FormatP2POld, []string{"LocalRoots", "PublicRoots"}},
		{FormatLegacy, []string{"Producers"}},
		{FormatMock, []string{"MockProducers"}},
	} {
		for _, key := range f.keys {
			if _, ok := w.doc.lookup(0, key); ok {
				return f.format
			}
		}
	}
	return FormatUnknown
}

// fields finds the values of the known keys of an object: their tokens, 0 for an absent one. Unknown and repeated keys are
// reported.
func (w *walker) fields(obj int, p *path, names []string, out []int) {
	w.doc.members(obj, func(k, v int) {
		for i, name := range names {
			if w.doc.keyIs(k, name) {
				if out[i] != 0 {
					q := p.key1(name)
					w.warn(k, &q, "the key appears again; the last one counts")
				}
				out[i] = v
				return
			}
		}
		q := p.key1(w.doc.text(k))
		for _, name := range names {
			if strings.EqualFold(q.key, name) {
				w.warn(k, &q, "unknown field, ignored; keys are case-sensitive: %s", name)
				return
			}
		}
		w.warn(k, &q, "unknown field, ignored")
	})
}

// present drops a null: for optional fields null means absent.
func (w *walker) present(tok int) bool { return tok != 0 && w.doc.toks[tok].kind != jsonNull }

var topologyFields = []string{"localRoots", "publicRoots", "useLedgerAfterSlot", "peerSnapshotFile", "bootstrapPeers"}

func (w *walker) topology() *Topology {
	var f [5]int
	root := &path{}
	w.fields(0, root, topologyFields, f[:])
	t := &Topology{}
	p := root.key1("localRoots")
	if f[0] == 0 {
		w.refuse(0, &p, "the field is required")
	} else if w.isArray(f[0], &p) {
		t.LocalRoots = make([]Group, 0, w.doc.length(f[0]))
		w.doc.elements(f[0], func(i, v int) {
			q := p.at(i)
			t.LocalRoots = append(t.LocalRoots, w.group(v, &q))
		})
	}
	p = root.key1("publicRoots")
	if f[1] == 0 {
		w.refuse(0, &p, "the field is required")
	} else if w.isArray(f[1], &p) {
		w.publicRoots(f[1], &p, t)
	}
	p = root.key1("useLedgerAfterSlot")
	if w.present(f[2]) {
		t.UseLedger = w.useLedger(f[2], &p)
	}
	p = root.key1("peerSnapshotFile")
	if w.present(f[3]) {
		if w.doc.toks[f[3]].kind != jsonString {
			w.wrong(f[3], &p, "a string")
		} else {
			name := w.doc.text(f[3])
			t.PeerSnapshotFile = &name
		}
	}
	p = root.key1("bootstrapPeers")
	if w.present(f[4]) {
		if w.isArray(f[4], &p) {
			t.BootstrapPeers, _ = w.accessPoints(f[4], &p)
			w.duplicates(f[4], &p, t.BootstrapPeers, map[AccessPoint]struct{}{})
		}
	}
	w.checkTopology(t, f)
	return t
}

func (w *walker) isArray(tok int, p *path) bool {
	if w.doc.toks[tok].kind != jsonArray {
		w.wrong(tok, p, "an array")
		return false
	}
	return true
}

func (w *walker) isObject(tok int, p *path) bool {
	if w.doc.toks[tok].kind != jsonObject {
		w.wrong(tok, p, "an object")
		return false
	}
	return true
}

func (w *walker) boolean(tok int, p *path, key string) bool {
	if !w.present(tok) {
		return false
	}
	if w.doc.toks[tok].kind != jsonBool {
		q := p.key1(key)
		w.wrong(tok, &q, "a boolean")
		return false
	}
	return w.doc.isTrue(tok)
}

// integer reads an integral number that fits in 64 bits.
func (w *walker) integer(tok int) (int64, bool) {
	if w.doc.toks[tok].kind != jsonNumber {
		return 0, false
	}
	return parseDecimal(w.doc.raw(tok)).int64()
}

var groupFields = []string{"accessPoints", "valency", "hotValency", "warmValency", "advertise", "trustable", "behindFirewall", "diffusionMode"}

func (w *walker) group(tok int, p *path) Group {
	var g Group
	if !w.isObject(tok, p) {
		return g
	}
	var f [8]int
	w.fields(tok, p, groupFields, f[:])
	complete := true
	q := p.key1("accessPoints")
	if f[0] == 0 {
		w.refuse(tok, &q, "the field is required")
		complete = false
	} else if w.isArray(f[0], &q) {
		g.AccessPoints, complete = w.accessPoints(f[0], &q)
	} else {
		complete = false
	}
	hot := w.hotValency(tok, p, f[1], f[2], &g)
	warm := f[3]
	g.WarmValency = g.HotValency
	if w.present(warm) {
		var ok bool
		if g.WarmValency, ok = w.integer(warm); !ok {
			q := p.key1("warmValency")
			w.refuse(warm, &q, "an integer of at most 64 bits is expected")
		}
	} else {
		warm = 0
	}
	g.Advertise = w.boolean(f[4], p, "advertise")
	g.Trustable = w.boolean(f[5], p, "trustable")
	g.BehindFirewall = w.boolean(f[6], p, "behindFirewall")
	if m := f[7]; w.present(m) {
		q := p.key1("diffusionMode")
		switch {
		case w.doc.toks[m].kind != jsonString:
			w.wrong(m, &q, "a string")
		case w.doc.text(m) == "InitiatorOnly":
			g.DiffusionMode = InitiatorOnly
		case w.doc.text(m) != "InitiatorAndResponder":
			w.refuse(m, &q, "InitiatorAndResponder or InitiatorOnly is expected, not %s", quote(w.doc.text(m)))
		}
	}
	if complete {
		w.checkGroup(&g, tok, f[0], hot, warm, p)
	}
	return g
}

// hotValency reads valency or hotValency and returns the token it came from, 0 when there is none. A valency that is no
// integer falls through to hotValency.
func (w *walker) hotValency(group int, p *path, valency, hotValency int, g *Group) int {
	v, h := p.key1("valency"), p.key1("hotValency")
	if !w.present(valency) {
		valency = 0
	}
	if !w.present(hotValency) {
		hotValency = 0
	}
	if valency != 0 {
		if n, ok := w.integer(valency); ok {
			g.HotValency = n
			if hotValency != 0 {
				if m, ok := w.integer(hotValency); !ok || m != n {
					w.warn(hotValency, &h, "not used: valency is there too and wins")
				}
			}
			return valency
		}
	}
	if hotValency != 0 {
		if n, ok := w.integer(hotValency); ok {
			if valency != 0 {
				w.warn(valency, &v, "not an integer of at most 64 bits; hotValency counts")
			}
			g.HotValency = n
			return hotValency
		}
	}
	switch {
	case valency == 0 && hotValency == 0:
		w.refuse(group, &h, "hotValency (or valency) is required")
	case hotValency != 0:
		w.refuse(hotValency, &h, "an integer of at most 64 bits is expected")
	default:
		w.refuse(valency, &v, "an integer of at most 64 bits is expected")
	}
	return 0
}

var publicRootFields = []string{"accessPoints", "advertise"}

func (w *walker) publicRoots(tok int, p *path, t *Topology) {
	t.PublicRoots = make([]PublicRoot, 0, w.doc.length(tok))
	seen := map[AccessPoint]struct{}{}
	w.doc.elements(tok, func(i, v int) {
		q := p.at(i)
		var r PublicRoot
		if w.isObject(v, &q) {
			var f [2]int
			w.fields(v, &q, publicRootFields, f[:])
			l := q.key1("accessPoints")
			if f[0] == 0 {
				w.refuse(v, &l, "the field is required")
			} else if w.isArray(f[0], &l) {
				r.AccessPoints, _ = w.accessPoints(f[0], &l)
				w.duplicates(f[0], &l, r.AccessPoints, seen)
			}
			r.Advertise = w.boolean(f[1], &q, "advertise")
		}
		t.PublicRoots = append(t.PublicRoots, r)
	})
}

func (w *walker) useLedger(tok int, p *path) UseLedger {
	if w.doc.toks[tok].kind != jsonNumber {
		w.wrong(tok, p, "a number")
		return UseLedger{}
	}
	d := parseDecimal(w.doc.raw(tok))
	switch d.sign() { // before rounding: 0.5 is "after slot 0", not "always"
	case 0:
		return UseLedger{Mode: LedgerAlways}
	case -1:
		return UseLedger{}
	}
	slot, fits := d.floor()
	if !fits {
		w.warn(tok, p, "the slot does not fit in 64 bits; cardano-node reads it as %d", slot)
	}
	return UseLedger{Mode: LedgerAfter, Slot: slot}
}

// accessPoints reads a list; complete is false when cardano-node refuses an element, which is left out then.
func (w *walker) accessPoints(tok int, p *path) (list []AccessPoint, complete bool) {
	complete = true
	list = make([]AccessPoint, 0, w.doc.length(tok))
	w.doc.elements(tok, func(i, v int) {
		q := p.at(i)
		a, ok := w.accessPoint(v, &q, &topologyRelay)
		complete = complete && ok
		list = append(list, a)
	})
	return list, complete
}

// relayRules is what differs between access points of a topology and relays of a snapshot.
type relayRules struct {
	fields []string // address, port and perhaps an older key for the address
	// anyIP lets unspecified addresses pass, as the reference does in snapshots.
	anyIP bool
}

var topologyRelay = relayRules{fields: []string{"address", "port"}}

// accessPoint applies the reading rules of governor §8.1.
func (w *walker) accessPoint(tok int, p *path, rules *relayRules) (AccessPoint, bool) {
	if !w.isObject(tok, p) {
		return AccessPoint{}, false
	}
	var f [3]int
	w.fields(tok, p, rules.fields, f[:])
	name := "address"
	if f[0] == 0 && f[2] != 0 {
		f[0], name = f[2], rules.fields[2]
	}
	q := p.key1(name)
	if f[0] == 0 {
		w.refuse(tok, &q, "the field is required")
		return AccessPoint{}, false
	}
	if w.doc.toks[f[0]].kind != jsonString {
		w.wrong(f[0], &q, "a string")
		return AccessPoint{}, false
	}
	address := w.doc.text(f[0])
	var port int64
	hasPort := false
	if f[1] != 0 {
		r := p.key1("port")
		port, hasPort = w.integer(f[1])
		switch {
		case !hasPort:
			w.strict(f[1], &r, "the port is %s, not an integer; the address would be looked up as an SRV name", w.short(f[1]))
		case port < 1 || port > math.MaxUint16:
			w.strict(f[1], &r, "the port %d is not between 1 and 65535", port)
		}
	}
	a := newAccessPoint(address, port, hasPort)
	switch {
	case a.Kind == IP && a.IP.IsUnspecified() && !rules.anyIP:
		w.refuse(f[0], &q, "%s is not an address to connect to", a.IP)
		return a, false
	case a.Kind == IP && w.own(a.AddrPort()):
		w.warn(f[0], &q, "this is an address we listen on")
	case a.Kind == SRV && f[1] == 0 && isIP(address):
		w.warn(f[0], &q, "an IP address without a port is looked up as an SRV name")
	case a.Kind != IP && !plausibleName(a.Name):
		w.warn(f[0], &q, "%s is not a host name", quote(address))
	}
	return a, true
}

func (w *walker) own(a netip.AddrPort) bool {
	for _, l := range w.opt.Listen {
		if l.Port() == a.Port() && l.Addr().Unmap() == a.Addr() {
			return true
		}
	}
	return false
}

// short is the text of a value, cut for a message.
func (w *walker) short(tok int) string {
	switch t := w.doc.toks[tok]; t.kind {
	case jsonString:
		return quote(w.doc.text(tok))
	case jsonNumber:
		if t.end-t.start <= 40 {
			return string(w.doc.raw(tok))
		}
		return "a long number"
	default:
		return t.kind.String()
	}
}

// quote puts a text of any length and content into a message.
func quote(s string) string {
	if len(s) > 64 {
		s = strings.ToValidUTF8(s[:64], "") + "…"
	}
	return strconv.Quote(s)
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(strings.TrimSpace(s))
	return err == nil
}

// plausibleName finds what cannot be looked up: blanks, schemes, ports and lengths beyond the limits of the DNS.
func plausibleName(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := 0; i < len(label); i++ {
			if c := label[i]; c <= ' ' || c == 0x7f || strings.IndexByte(`/:@[]"\,`, c) >= 0 {
				return false
			}
		}
	}
	return true
}
