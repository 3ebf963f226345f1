package artifact

import (
	"errors"
	"fmt"
	"time"
)

// ErrTableFull is a table that has no register for an artifact of our own. The caller may abort something and publish again.
var ErrTableFull = errors.New("artifact: table full")

// TableFullError says which limit a publish met; it wraps ErrTableFull.
type TableFullError struct {
	Kind  uint32
	Class Class
	Slots int // registers of the table
	Used  int
}

// Error names the kind, the class, and how many slots there are and are in use.
func (e *TableFullError) Error() string {
	return fmt.Sprintf("artifact: table full: kind %d, class %v, %d of %d slots used", e.Kind, e.Class, e.Used, e.Slots)
}

// Unwrap returns ErrTableFull.
func (e *TableFullError) Unwrap() error { return ErrTableFull }

// Table is the provider of artifact §6.4: a bounded table of last-writer-wins registers and a view of it per consumer. It is
// pure: no clock, no I/O. Memory: C registers, and per view the row of artifact §6.8.
type Table struct {
	kinds  kindTable
	regs   []register
	free   []uint32 // stack
	byID   map[ID]*Artifact
	commit uint64
	epoch  [8]byte
	views  []*View
	gen    uint64   // +1 whenever somebody may have to be shown what has left the table
	reuse  []uint32 // FIFO of relayed slots that were settled everywhere, checked again when used
}

type register struct {
	commit  uint64
	art     *Artifact // nil: empty
	waiting int32     // views that do not lag and have not settled this content
	queued  bool      // in reuse
}

func newTable(cfg *Config, kinds kindTable, epoch [8]byte) *Table {
	t := &Table{kinds: kinds, regs: make([]register, cfg.Slots), byID: map[ID]*Artifact{}, epoch: epoch}
	for i := cfg.Slots - 1; i >= 0; i-- {
		t.free = append(t.free, uint32(i))
	}
	return t
}

// Len is the number of registers with content.
func (t *Table) Len() int { return len(t.regs) - len(t.free) }

// Holds reports whether id is in a register.
func (t *Table) Holds(id ID) bool { _, ok := t.byID[id]; return ok }

// Publish puts a into a register and makes it pending in every view. Publishing what is there already is a no-op. Without a
// register the error is a *TableFullError; what a displaced artifact needs is the caller's, who gets it back.
func (t *Table) Publish(now time.Duration, a *Artifact) (displaced *Artifact, err error) {
	if t.Holds(a.ID) {
		return nil, nil
	}
	slot, displaced, ok := t.take(now, a)
	if !ok {
		return nil, &TableFullError{Kind: a.Kind, Class: a.Class, Slots: len(t.regs), Used: t.Len()}
	}
	t.commit++
	r := &t.regs[slot]
	r.art, r.commit, r.waiting = a, t.commit, 0
	a.slot = int(slot)
	t.byID[a.ID] = a
	for _, v := range t.views {
		v.filled(now, int(slot))
	}
	t.settledCheck(slot)
	return displaced, nil
}

// take finds a register: a free one (the last eighth only for urgent content), else the oldest relayed one that every view
// that is not lagging has settled, else the oldest relayed one of the lowest class of an Ephemeral kind.
func (t *Table) take(now time.Duration, a *Artifact) (slot uint32, displaced *Artifact, ok bool) {
	reserve := len(t.regs) / 8
	if a.Class == Urgent {
		reserve = 0
	}
	if len(t.free) > reserve {
		slot = t.free[len(t.free)-1]
		t.free = t.free[:len(t.free)-1]
		return slot, nil, true
	}
	for len(t.reuse) > 0 {
		slot = t.reuse[0]
		t.reuse = t.reuse[1:]
		r := &t.regs[slot]
		r.queued = false
		if r.art != nil && r.art.Relayed && r.art.partial == nil && r.waiting == 0 {
			return slot, t.vacate(now, slot), true
		}
	}
	best := -1
	for i := range t.regs {
		x := t.regs[i].art
		if x == nil || !x.Relayed || x.partial != nil || !t.kinds.cfg[x.kind].Ephemeral {
			continue
		}
		if best < 0 || x.Class > t.regs[best].art.Class || x.Class == t.regs[best].art.Class && t.regs[i].commit < t.regs[best].commit {
			best = i
		}
	}
	if best < 0 {
		return 0, nil, false
	}
	return uint32(best), t.vacate(now, uint32(best)), true
}

// vacate empties a register for reuse at once; views see a clear.
func (t *Table) vacate(now time.Duration, slot uint32) *Artifact {
	r := &t.regs[slot]
	a := r.art
	for _, v := range t.views {
		v.cleared(now, int(slot))
	}
	delete(t.byID, a.ID)
	a.slot, a.gen = -1, t.gen
	t.commit++
	r.art, r.commit, r.waiting = nil, t.commit, 0
	return a
}

// Abort empties the register of id: what was not yet sent never is, what may be held is withdrawn. It reports whether there
// was one.
func (t *Table) Abort(now time.Duration, id ID) bool { return t.empty(now, t.byID[id]) }

// empty is Abort of what is found already.
func (t *Table) empty(now time.Duration, a *Artifact) bool {
	if a == nil || a.slot < 0 {
		return false
	}
	slot := uint32(a.slot)
	t.vacate(now, slot)
	t.free = append(t.free, slot)
	return true
}

// Free reports whether an artifact of that class would get a register without displacing one of an Ephemeral kind.
func (t *Table) Free(c Class) bool {
	reserve := len(t.regs) / 8
	if c == Urgent {
		reserve = 0
	}
	if len(t.free) > reserve {
		return true
	}
	for len(t.reuse) > 0 {
		r := &t.regs[t.reuse[0]]
		if r.art != nil && r.art.Relayed && r.art.partial == nil && r.waiting == 0 {
			return true
		}
		r.queued = false
		t.reuse = t.reuse[1:]
	}
	return false
}

func (t *Table) settledCheck(slot uint32) {
	r := &t.regs[slot]
	if r.art != nil && r.waiting == 0 && r.art.Relayed && !r.queued {
		r.queued = true
		t.reuse = append(t.reuse, slot)
	}
}

// Tick finds out which views lag: one that has had something outstanding for 10 s, or something pending and no requestNext for
// as long, does not keep slots from being reused, so a consumer that never disposes, or never asks, cannot freeze the table.
func (t *Table) Tick(now time.Duration) {
	for _, v := range t.views {
		lag := v.dry != 0 && now-v.dry >= lagAfter && v.anyPending()
		for _, o := range v.out {
			lag = lag || now-o.at >= lagAfter
		}
		if lag == v.lagging {
			continue
		}
		v.lagging = lag
		if !lag {
			t.gen++
		}
		for i := range t.regs {
			if t.regs[i].art == nil || !v.waits(i) {
				continue
			}
			if lag {
				t.regs[i].waiting--
				t.settledCheck(uint32(i))
			} else {
				t.regs[i].waiting++
			}
		}
	}
}

// completed tells the views that a cut-through artifact has arrived whole, or became one of our own; nothing is re-sent.
func (t *Table) completed(a *Artifact) {
	a.partial = nil
	if a.slot >= 0 {
		t.settledCheck(uint32(a.slot))
	}
}

// digestValue is what slot i counts in a digest for v: content of a kind the consumer did not ask for counts as empty, for it
// is never offered.
func (t *Table) digestValue(v *View, i int) uint64 {
	if r := &t.regs[i]; r.art != nil && v.kinds[r.art.kind] {
		return r.commit
	}
	return 0
}
