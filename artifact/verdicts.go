package artifact

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Publish makes an artifact of our own, from NewArtifact, validated and puts it into the table; it never blocks. Offers of it
// that are held are told "have". The error is a *TableFullError when there is no register; nothing has changed then.
func (c *Core) Publish(now time.Duration, a *Artifact) error {
	c.now = now
	ki, ok := c.kinds.index[a.Kind]
	if !ok {
		return &UnknownKindError{a.Kind}
	}
	if c.store[a.ID] != nil {
		return nil
	}
	whole := c.holders(a.ID)
	d := c.con.downs[a.ID]
	if d != nil && d.art != nil { // cut-through has put it into the table
		own := a
		a, d.art = d.art, nil
		a.Size, a.Attr, a.Manifest, a.Bytes, a.At, a.Relayed = own.Size, own.Attr, own.Manifest, own.Bytes, own.At, false
		c.table.completed(a)
	} else {
		a.kind, a.slot, a.Relayed = ki, -1, false
		displaced, err := c.table.Publish(now, a)
		if err != nil {
			return err
		}
		c.displace(displaced)
	}
	c.store[a.ID] = a
	if d != nil {
		c.con.settle(d, Have)
	}
	c.con.checks.forget(a.ID)
	c.knownTo(a, whole)
	c.showAll()
	c.settle()
	return nil
}

// UnknownKindError is an artifact of a kind that is not configured.
type UnknownKindError struct{ Kind uint32 }

// Error says that the kind is not configured; which one is in Kind.
func (e *UnknownKindError) Error() string {
	return fmt.Sprintf("artifact: kind %d is not configured", e.Kind)
}

// holders are the peers known to hold an artifact under way whole.
func (c *Core) holders(id ID) (out []*peer) {
	d := c.con.downs[id]
	if d == nil {
		return nil
	}
	out = c.holding[:0]
	defer func() { c.holding = out[:0] }()
	for _, o := range d.offers {
		if !o.partial() && !slices.Contains(out, o.p) {
			out = append(out, o.p)
		}
	}
	for _, r := range d.parkRefs {
		if x, ok := c.con.stillParked(r); ok && x.hint&partialHint == 0 && !slices.Contains(out, r.p) {
			out = append(out, r.p)
		}
	}
	return out
}

// knownTo tells the views of those who offered an artifact to us that it is known, so that it is not offered back.
func (c *Core) knownTo(a *Artifact, whole []*peer) {
	if a.slot < 0 {
		return
	}
	for _, p := range whole {
		if v := p.prov.view; v != nil && !p.gone {
			v.known(c.now, a.slot)
			c.tailDue(p)
		}
	}
}

// Validate is the verdict "valid" for an artifact that Take handed out, or that was deferred: it moves to the validated
// section, its offers are told "delivered", and it is published by the relay policy of its kind. attr is re-derived from the
// body: whoever claimed another is blamed. at is where the body of a Disk kind is. False: it is not under way (any more).
func (c *Core) Validate(now time.Duration, id ID, attr []byte, at Body) bool {
	c.now = now
	d := c.con.downs[id]
	if d == nil || d.state != downJudge && d.state != downParked {
		return false
	}
	c.checkAttr(d, attr)
	a := d.art
	if a == nil {
		a = &Artifact{ID: id, Kind: c.kinds.cfg[d.kind].ID, kind: d.kind, Class: d.class, slot: -1}
	}
	a.Size, a.Attr, a.Manifest, a.Bytes, a.Relayed = d.size, bytes.Clone(attr), d.man, d.buf, true
	if at != nil {
		a.At = at
	}
	if d.charge != nil {
		a.from = d.charge.id
	}
	c.store[id] = a
	c.stat.Delivered[d.class]++
	c.stat.DeliveryTime[d.class] += now - d.since
	whole := c.holders(id)
	c.table.completed(a)
	d.art = nil
	c.con.settle(d, Delivered)
	if relay := c.kinds.cfg[d.kind].Relay; a.slot < 0 && a.readable() && (relay == AfterValidation || relay == AfterHeader) {
		c.relay(a)
	}
	c.knownTo(a, whole)
	c.showAll()
	c.settle()
	return true
}

// Body is where the bytes of a Disk artifact are.
type Body interface {
	// ReadAt is that of [io.ReaderAt].
	ReadAt(p []byte, off int64) (n int, err error)
}

// relay puts a relayed artifact into the table, or in line for a register.
func (c *Core) relay(a *Artifact) {
	displaced, err := c.table.Publish(c.now, a)
	if err != nil {
		c.unslotted.pushBack(&a.wait, a)
		return
	}
	c.displace(displaced)
}

// displace keeps an artifact that lost its register: it stays validated, and whoever has not been shown it will be.
func (c *Core) displace(a *Artifact) {
	if a != nil && c.store[a.ID] == a {
		c.displaced.pushBack(&a.wait, a)
	}
}

// fillSlots publishes what waits for a register as registers come free.
func (c *Core) fillSlots() {
	shown := false
	for n := c.unslotted.front(); n != nil && c.table.Free(n.v.Class); n = c.unslotted.front() {
		a := n.v
		a.wait.remove()
		c.relay(a)
		shown = true
	}
	for n := c.displaced.front(); n != nil && n.v.gen < c.table.gen && c.table.Free(n.v.Class); n = c.displaced.front() {
		a := n.v
		a.wait.remove()
		c.relay(a)
		shown = true
	}
	if shown {
		c.showAll()
	}
}

// checkAttr blames whoever sent an attr that the body does not have.
func (c *Core) checkAttr(d *download, attr []byte) {
	for _, o := range slices.Clone(d.offers) {
		if !bytes.Equal(o.attr, attr) {
			c.con.verdict(o, Invalid)
			c.blame(o.p, AttrForged, errForgedAttr)
		}
	}
}

// Reject is the verdict "unwanted" (bad here and now: nobody is blamed) or, with forever, "invalid": eternally bad, and its
// suppliers are blamed. It applies to an artifact under way in any state.
func (c *Core) Reject(now time.Duration, id ID, forever bool) bool {
	c.now = now
	d := c.con.downs[id]
	if d == nil {
		return false
	}
	v := Unwanted
	if forever {
		v = Invalid
		c.con.checks.put(d.charge, id, Invalid, now)
	}
	art, suppliers, kind := d.art, d.suppliers, d.kind
	d.art = nil
	c.con.settle(d, v)
	if c.kinds.cfg[kind].Disk && d.sink != sinkNone {
		c.fx = append(c.fx, Effect{What: EffectDrop, Kind: c.kinds.cfg[kind].ID, ID: id})
	}
	if art != nil {
		c.table.Abort(now, id)
		c.showAll()
	}
	if forever && c.kinds.cfg[kind].Relay != AfterHeader {
		for _, s := range suppliers {
			c.blameID(s, InvalidForever, errInvalid)
		}
	}
	c.settle()
	return true
}

// Reattr is a body that is judged again under the attr derived from it: whoever claimed another is blamed, the others wait.
func (c *Core) Reattr(now time.Duration, id ID, attr []byte) {
	c.now = now
	if d := c.con.downs[id]; d != nil {
		c.checkAttr(d, attr)
		d.attr = bytes.Clone(attr)
		c.settle()
	}
}

// Defer is "cannot be judged yet": the offers are told "later" at once, the body is kept, charged.
func (c *Core) Defer(now time.Duration, id ID) bool {
	c.now = now
	d := c.con.downs[id]
	if d == nil || d.state != downJudge {
		return false
	}
	c.con.park(d)
	c.settle()
	return true
}

// Requeue puts a deferred artifact in front of the validator again.
func (c *Core) Requeue(now time.Duration, id ID) {
	c.now = now
	if d := c.con.downs[id]; d != nil && d.state == downParked {
		c.con.unpark(d)
	}
}

// Remove takes an artifact out of the validated section: what was not yet sent never is, and consumers are told.
func (c *Core) Remove(now time.Duration, id ID) bool {
	c.now = now
	a := c.store[id]
	if a == nil {
		return false
	}
	delete(c.store, id)
	a.wait.remove()
	c.con.checks.put(c.con.accts[a.from], id, Delivered, now)
	if c.table.empty(now, a) {
		c.showAll()
	}
	c.settle()
	return true
}

// Get returns a validated artifact, nil if there is none.
func (c *Core) Get(id ID) *Artifact { return c.store[id] }

// TakeBack is a terminal verdict that was taken back: an artifact was lost, or unwanted turned wanted. Its settled records are
// zeroed, and comparison brings it back within minutes.
func (c *Core) TakeBack(now time.Duration) {
	c.now = now
	c.con.takeBack()
}

// SinkOpened answers EffectSink: present are the chunks that were there already and have been verified against Manifest.
func (c *Core) SinkOpened(now time.Duration, id ID, present []int, err error) {
	c.now = now
	d := c.con.downs[id]
	if d == nil || d.sink != sinkAsked {
		return
	}
	if err != nil {
		c.con.abandon(d)
		c.settle()
		return
	}
	d.sink = sinkOpen
	for _, i := range present {
		if !d.done.get(i) {
			d.done.set(i)
			d.asked.set(i)
			d.ndone++
		}
	}
	if d.complete() && d.state == downWant {
		c.con.assembled(d)
	} else {
		c.sched.again(d)
	}
	c.settle()
}

// Written answers EffectWrite of one chunk.
func (c *Core) Written(now time.Duration, id ID, chunk int, err error) {
	c.now = now
	d := c.con.downs[id]
	if d == nil || d.state != downWant && d.state != downGrace {
		return
	}
	if err != nil {
		c.con.abandon(d)
	} else {
		d.ndone++
		c.con.pieceDone(d, chunk)
	}
	c.settle()
}

// Manifest returns the complete manifest of a download, nil if it is not known.
func (c *Core) Manifest(id ID) *Manifest {
	if d := c.con.downs[id]; d != nil {
		return d.man
	}
	return nil
}

// Header answers EffectHeader: an accepted one is offered to others while the rest is still arriving.
func (c *Core) Header(now time.Duration, id ID, ok bool) {
	c.now = now
	d := c.con.downs[id]
	if d == nil || d.header != headerAsked {
		return
	}
	d.header = headerNo
	if !ok {
		return
	}
	d.header = headerYes
	if d.state != downWant || d.man == nil || d.buf == nil {
		return
	}
	a := &Artifact{ID: id, Kind: c.kinds.cfg[d.kind].ID, kind: d.kind, Class: d.class, Size: d.size, Attr: bytes.Clone(d.attr),
		Manifest: d.man, Relayed: true, slot: -1, partial: d}
	displaced, err := c.table.Publish(now, a)
	if err != nil {
		return // it will be relayed once it is validated
	}
	c.displace(displaced)
	d.art = a
	c.knownTo(a, c.holders(id))
	c.showAll()
	c.settle()
}

// Progress is how far an artifact under way has come.
type Progress struct {
	ID     ID
	Kind   uint32
	Class  Class
	Size   int64 // bytes; a claim until Chunks is not 0
	Done   int   // chunks verified
	Chunks int   // 0 while the manifest is not known
	From   int   // advertisers
	Wait   bool  // whole, waits for its verdict
}

// Progress lists what is under way of a kind, oldest first.
func (c *Core) Progress(kind uint32) (out []Progress) {
	ki, ok := c.kinds.index[kind]
	if !ok {
		return nil
	}
	var ds []*download
	for _, d := range c.con.downs {
		if d.kind == ki {
			ds = append(ds, d)
		}
	}
	slices.SortFunc(ds, func(a, b *download) int { return cmp.Compare(a.seq, b.seq) })
	for _, d := range ds {
		p := Progress{ID: d.id, Kind: kind, Class: d.class, Size: d.size, Done: d.ndone, From: len(d.offers), Wait: d.state == downJudge || d.state == downParked}
		if d.man != nil {
			p.Chunks = d.man.chunks
		} else if d.known {
			p.Chunks = 1
		}
		out = append(out, p)
	}
	return out
}
