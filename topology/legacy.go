package topology

import (
	"encoding/json"
	"math"
)

// Old is the content of a file in a retired format, as it stands there (governor §8.2). Current nodes refuse such files.
type Old struct {
	Format Format
	// Producers is the content of a legacy file.
	Producers []OldProducer
	// LocalRoots and PublicRoots are the content of the two P2P drafts, UseLedgerAfterSlot is empty when absent.
	LocalRoots         []OldGroup
	PublicRoots        []OldPublicRoot
	UseLedgerAfterSlot json.Number
}

// OldProducer is an entry of Producers. Valency is, for a name, how many of its addresses to use; for an IP address 0 means
// that it is ignored.
type OldProducer struct {
	Address string `json:"address"`
	Port    int64  `json:"port"`
	Valency int64  `json:"valency"`
}

// OldAccessPoint is an address in a P2P draft.
type OldAccessPoint struct {
	Address string `json:"address"`
	Port    int64  `json:"port"`
}

// OldGroup is a group of local roots in a P2P draft.
type OldGroup struct {
	AccessPoints []OldAccessPoint `json:"accessPoints"`
	Advertise    bool             `json:"advertise"`
	Valency      int64            `json:"valency"`
}

// OldPublicRoot is a group of public roots in a P2P draft.
type OldPublicRoot struct {
	AccessPoints []OldAccessPoint `json:"accessPoints"`
	Advertise    bool             `json:"advertise"`
}

// old reads a file in a retired format. The format itself is an error, unless it is to be converted.
func (w *walker) old(format Format) *Old {
	key := "Producers"
	if format == FormatP2POld {
		if key = "LocalRoots"; !w.has(0, key) {
			key = "PublicRoots"
		}
	}
	tok, _ := w.doc.lookup(0, key)
	root := &path{}
	p := root.key1(key)
	bad := w.list.errors
	o := &Old{Format: format}
	if format == FormatLegacy {
		w.producers(o)
	} else {
		w.drafts(o)
	}
	if w.list.errors > bad {
		o = nil
	}
	w.refused = true
	if w.opt.Convert && o != nil {
		w.warn(tok, &p, "this format is retired and cardano-node refuses it; it is converted")
	} else {
		w.problem(Error, tok, &p, "this format is retired: cardano-node needs localRoots and publicRoots")
	}
	return o
}

func (w *walker) has(obj int, key string) bool {
	_, ok := w.doc.lookup(obj, key)
	return ok
}

// The fields of the retired formats.
var (
	producersFields = []string{"Producers"}
	producerFields  = []string{"addr", "port", "valency"}
	draftFields     = []string{"LocalRoots", "PublicRoots", "useLedgerAfterSlot"}
	groupsFields    = []string{"groups"}
	oldPublicFields = []string{"publicRoots"}
	oldGroupFields  = []string{"localRoots", "valency"}
	oldRootsFields  = []string{"accessPoints", "addrs", "advertise"}
	oldPointFields  = []string{"address", "addr", "port"}
)

func (w *walker) producers(o *Old) {
	root := &path{}
	var f [1]int
	w.fields(0, root, producersFields, f[:])
	p := root.key1("Producers")
	if !w.isArray(f[0], &p) {
		return
	}
	o.Producers = make([]OldProducer, 0, w.doc.length(f[0]))
	w.doc.elements(f[0], func(i, v int) {
		q := p.at(i)
		if !w.isObject(v, &q) {
			return
		}
		var f [3]int
		w.fields(v, &q, producerFields, f[:])
		o.Producers = append(o.Producers, OldProducer{
			Address: w.needString(v, f[0], &q, "addr"),
			Port:    w.needPort(v, f[1], &q),
			Valency: w.needInteger(v, f[2], &q, "valency"),
		})
	})
}

func (w *walker) drafts(o *Old) {
	root := &path{}
	var f [3]int
	w.fields(0, root, draftFields, f[:])
	o.LocalRoots, o.PublicRoots = []OldGroup{}, []OldPublicRoot{}
	p := root.key1("LocalRoots")
	if f[0] == 0 {
		w.refuse(0, &p, "the field is required")
	} else if w.isObject(f[0], &p) {
		var g [1]int
		w.fields(f[0], &p, groupsFields, g[:])
		q := p.key1("groups")
		if g[0] == 0 {
			w.refuse(f[0], &q, "the field is required")
		} else if w.isArray(g[0], &q) {
			w.doc.elements(g[0], func(i, v int) {
				r := q.at(i)
				o.LocalRoots = append(o.LocalRoots, w.oldGroup(v, &r))
			})
		}
	}
	p = root.key1("PublicRoots")
	if f[1] == 0 {
		w.refuse(0, &p, "the field is required")
	} else if w.isArray(f[1], &p) {
		w.doc.elements(f[1], func(i, v int) {
			q := p.at(i)
			if !w.isObject(v, &q) {
				return
			}
			var g [1]int
			w.fields(v, &q, oldPublicFields, g[:])
			points, advertise := w.oldRoots(v, g[0], &q, "publicRoots")
			o.PublicRoots = append(o.PublicRoots, OldPublicRoot{points, advertise})
		})
	}
	if p = root.key1("useLedgerAfterSlot"); w.present(f[2]) {
		if w.doc.toks[f[2]].kind != jsonNumber {
			w.wrong(f[2], &p, "a number")
		} else {
			o.UseLedgerAfterSlot = json.Number(w.doc.raw(f[2]))
		}
	}
}

func (w *walker) oldGroup(tok int, p *path) OldGroup {
	var g OldGroup
	if !w.isObject(tok, p) {
		return g
	}
	var f [2]int
	w.fields(tok, p, oldGroupFields, f[:])
	g.AccessPoints, g.Advertise = w.oldRoots(tok, f[0], p, "localRoots")
	g.Valency = w.needInteger(tok, f[1], p, "valency")
	return g
}

// oldRoots reads {"accessPoints": […], "advertise": …} or, in the first draft, {"addrs": […], …}.
func (w *walker) oldRoots(parent, tok int, p *path, key string) (points []OldAccessPoint, advertise bool) {
	points = []OldAccessPoint{}
	q := p.key1(key)
	if tok == 0 {
		w.refuse(parent, &q, "the field is required")
		return
	}
	if !w.isObject(tok, &q) {
		return
	}
	var f [3]int
	w.fields(tok, &q, oldRootsFields, f[:])
	list, name := f[0], "accessPoints"
	if list == 0 && f[1] != 0 {
		list, name = f[1], "addrs"
	}
	l := q.key1(name)
	if list == 0 {
		w.refuse(tok, &l, "the field is required")
	} else if w.isArray(list, &l) {
		w.doc.elements(list, func(i, v int) {
			r := l.at(i)
			if !w.isObject(v, &r) {
				return
			}
			var f [3]int
			w.fields(v, &r, oldPointFields, f[:])
			address, name := f[0], "address"
			if address == 0 && f[1] != 0 {
				address, name = f[1], "addr"
			}
			points = append(points, OldAccessPoint{w.needString(v, address, &r, name), w.needPort(v, f[2], &r)})
		})
	}
	return points, w.boolean(f[2], &q, "advertise")
}

func (w *walker) needString(parent, tok int, p *path, key string) string {
	q := p.key1(key)
	switch {
	case tok == 0:
		w.refuse(parent, &q, "the field is required")
	case w.doc.toks[tok].kind != jsonString:
		w.wrong(tok, &q, "a string")
	default:
		return w.doc.text(tok)
	}
	return ""
}

func (w *walker) needInteger(parent, tok int, p *path, key string) int64 {
	q := p.key1(key)
	if tok == 0 {
		w.refuse(parent, &q, "the field is required")
		return 0
	}
	n, ok := w.integer(tok)
	if !ok {
		w.refuse(tok, &q, "an integer of at most 64 bits is expected")
	}
	return n
}

func (w *walker) needPort(parent, tok int, p *path) int64 {
	n := w.needInteger(parent, tok, p, "port")
	if tok != 0 && (n < 1 || n > math.MaxUint16) {
		if _, ok := w.integer(tok); ok {
			q := p.key1("port")
			w.refuse(tok, &q, "the port %d is not between 1 and 65535", n)
		}
	}
	return n
}

// convert turns a retired format into the present one and warns of what gets lost. Each legacy producer becomes a group of its
// own, because its valency concerns that name only.
func (w *walker) convert(o *Old) *Topology {
	var toks []int // of the producers
	if o.Format == FormatLegacy {
		list, _ := w.doc.lookup(0, "Producers")
		w.doc.elements(list, func(_, v int) { toks = append(toks, v) })
	}
	root := &path{}
	p := root.key1("Producers")
	return o.convert(func(i int) {
		q := p.at(i)
		w.warn(toks[i], &q, "an IP address with valency 0 is dropped")
	})
}

// Convert returns the content in the present format (governor §8.2): each legacy producer is a group of its own with hot and
// warm valency max(1, valency), an IP address with valency 0 is dropped; the drafts' groups are taken one to one.
func (o *Old) Convert() *Topology { return o.convert(func(int) {}) }

func (o *Old) convert(dropped func(producer int)) *Topology {
	t := &Topology{LocalRoots: []Group{}, PublicRoots: []PublicRoot{}}
	for i, p := range o.Producers {
		a := newAccessPoint(p.Address, p.Port, true)
		if a.Kind == IP && p.Valency == 0 {
			dropped(i)
			continue
		}
		v := max(1, p.Valency)
		t.LocalRoots = append(t.LocalRoots, Group{AccessPoints: []AccessPoint{a}, HotValency: v, WarmValency: v})
	}
	for _, g := range o.LocalRoots {
		t.LocalRoots = append(t.LocalRoots, Group{
			AccessPoints: convertPoints(g.AccessPoints),
			HotValency:   g.Valency, WarmValency: g.Valency,
			Advertise: g.Advertise,
		})
	}
	for _, r := range o.PublicRoots {
		t.PublicRoots = append(t.PublicRoots, PublicRoot{convertPoints(r.AccessPoints), r.Advertise})
	}
	if o.UseLedgerAfterSlot != "" {
		switch d := parseDecimal([]byte(o.UseLedgerAfterSlot)); d.sign() {
		case 0:
			t.UseLedger.Mode = LedgerAlways
		case 1:
			t.UseLedger.Mode = LedgerAfter
			t.UseLedger.Slot, _ = d.floor()
		}
	}
	return t
}

func convertPoints(list []OldAccessPoint) []AccessPoint {
	out := make([]AccessPoint, 0, len(list))
	for _, a := range list {
		out = append(out, newAccessPoint(a.Address, a.Port, true))
	}
	return out
}
