package artifact

import (
	"fmt"
	"io"
	"slices"
)

// Op is what a Change does (artifact §6.6).
type Op uint8

// Change kinds, and the verdict each gives to the offers of the id that are held.
const (
	AddToValidated        Op = iota // Value with Class, own product: have; published
	MoveToValidated                 // ID: delivered; published by relay policy
	RemoveFromValidated             // ID: settled already; aborted
	RemoveFromUnvalidated           // ID: unwanted
	PurgeBelow                      // whatever Purge names: unwanted, for all unvalidated and queued; validated ones aborted
	HandleInvalid                   // ID: invalid, eternally bad, suppliers blamed
	Defer                           // ID: later; judged again when one of DependsOn is validated, or at Refresh
)

// Change is one entry of the list a Client returns.
type Change[T any] struct {
	Op        Op
	ID        ID
	Value     T
	Class     Class
	File      io.ReaderAt // AddToValidated: the body, when it stays where it is; Value then only stands for it
	Size      int64       // of File
	Purge     func(id ID, attr []byte) bool
	Reason    error
	DependsOn []ID // at most 16
}

// Entry is one artifact of a pool.
type Entry[T any] struct {
	ID    ID
	Attr  []byte // derived from the body
	Value T
	Class Class
	Size  int64
}

// Reader is the read side of a pool.
type Reader[T any] interface {
	// Get returns a validated artifact.
	Get(id ID) (Entry[T], bool)
	// Pending returns an unvalidated one.
	Pending(id ID) (Entry[T], bool)
	// Snapshot lists the validated section, oldest first.
	Snapshot() []Entry[T]
	// Unvalidated lists the other one, likewise.
	Unvalidated() []Entry[T]
}

// section is a map that remembers the order of insertion.
type section[T any] struct {
	byID map[ID]*listNode[Entry[T]]
	list list[Entry[T]]
}

func (s *section[T]) put(e Entry[T]) {
	if n := s.byID[e.ID]; n != nil {
		n.v = e
		return
	}
	n := &listNode[Entry[T]]{}
	s.byID[e.ID] = n
	s.list.pushBack(n, e)
}

func (s *section[T]) remove(id ID) (e Entry[T], ok bool) {
	n := s.byID[id]
	if n == nil {
		return e, false
	}
	delete(s.byID, id)
	n.remove()
	return n.v, true
}

func (s *section[T]) all() []Entry[T] {
	out := make([]Entry[T], 0, s.list.n)
	for n := s.list.front(); n != nil; n = s.list.after(n) {
		out = append(out, n.v)
	}
	return out
}

// Pool holds the artifacts of one kind as values: an unvalidated section with what peers gave us and a validated one with what
// we have checked or made. Only Apply changes sections on a client's behalf. It is pure and has one owner. The bytes of the
// unvalidated section are bounded by the quotas; the validated one is the client's to purge.
type Pool[T any] struct {
	kind        *Kind[T]
	unvalidated section[T]
	validated   section[T]
	deps        map[ID][]ID // dependency → deferred ids
	deferred    map[ID]int
}

// NewPool makes an empty pool.
func NewPool[T any](k *Kind[T]) *Pool[T] {
	p := &Pool[T]{kind: k, deps: map[ID][]ID{}, deferred: map[ID]int{}}
	p.unvalidated.byID, p.validated.byID = map[ID]*listNode[Entry[T]]{}, map[ID]*listNode[Entry[T]]{}
	return p
}

// Get, Pending, Snapshot and Unvalidated make a Pool a Reader.
func (p *Pool[T]) Get(id ID) (e Entry[T], ok bool) {
	if n := p.validated.byID[id]; n != nil {
		return n.v, true
	}
	return e, false
}

// Pending returns an unvalidated artifact.
func (p *Pool[T]) Pending(id ID) (e Entry[T], ok bool) {
	if n := p.unvalidated.byID[id]; n != nil {
		return n.v, true
	}
	return e, false
}

// Snapshot lists the validated section, oldest first.
func (p *Pool[T]) Snapshot() []Entry[T] { return p.validated.all() }

// Unvalidated lists the unvalidated section, oldest first.
func (p *Pool[T]) Unvalidated() []Entry[T] { return p.unvalidated.all() }

// Insert puts an artifact into the unvalidated section.
func (p *Pool[T]) Insert(e Entry[T]) { p.unvalidated.put(e) }

// Remove takes one out of the unvalidated section, without a verdict.
func (p *Pool[T]) Remove(id ID) {
	p.unvalidated.remove(id)
	delete(p.deferred, id)
}

// Transmit is what follows from a change for the network, in order.
type Transmit struct {
	Op       Op        // MoveToValidated stands for a verdict, AddToValidated for Artifact
	Artifact *Artifact // AddToValidated
	ID       ID
	Attr     []byte // MoveToValidated
	Requeue  []ID   // deferred ones that waited for this
}

// Apply carries out a list of changes in order and returns what the network must know, in order. An id that is added and
// removed in the same list produces nothing. Changes that name what is not there are ignored; the error is that of the first
// value that could not be encoded, whose change is left out.
func (p *Pool[T]) Apply(changes []Change[T]) (out []Transmit, err error) {
	t := transmits{out: make([]Transmit, 0, len(changes))}
	for i := range changes {
		ch := &changes[i]
		switch ch.Op {
		case AddToValidated:
			a, e := p.add(ch)
			if e != nil {
				if err == nil {
					err = e
				}
				continue
			}
			if a == nil {
				continue
			}
			t.out = append(t.out, Transmit{Op: AddToValidated, Artifact: a, ID: a.ID, Requeue: p.awaited(a.ID)})
		case MoveToValidated:
			e, ok := p.unvalidated.remove(ch.ID)
			if !ok {
				continue
			}
			delete(p.deferred, ch.ID)
			p.validated.put(e)
			t.out = append(t.out, Transmit{Op: MoveToValidated, ID: e.ID, Attr: e.Attr, Requeue: p.awaited(e.ID)})
		case RemoveFromValidated:
			if _, ok := p.validated.remove(ch.ID); ok {
				t.abort(ch.ID)
			}
		case RemoveFromUnvalidated, HandleInvalid:
			if _, ok := p.unvalidated.remove(ch.ID); ok {
				delete(p.deferred, ch.ID)
				t.out = append(t.out, Transmit{Op: ch.Op, ID: ch.ID})
			}
		case PurgeBelow:
			for _, e := range p.unvalidated.all() {
				if ch.Purge(e.ID, e.Attr) {
					p.Remove(e.ID)
					t.out = append(t.out, Transmit{Op: RemoveFromUnvalidated, ID: e.ID})
				}
			}
			for _, e := range p.validated.all() {
				if ch.Purge(e.ID, e.Attr) {
					p.validated.remove(e.ID)
					t.abort(e.ID)
				}
			}
		case Defer:
			if p.unvalidated.byID[ch.ID] == nil {
				continue
			}
			for _, d := range ch.DependsOn[:min(len(ch.DependsOn), 16)] {
				if p.validated.byID[d] == nil && !slices.Contains(p.deps[d], ch.ID) {
					p.deps[d] = append(p.deps[d], ch.ID)
				}
			}
			p.deferred[ch.ID]++
			t.out = append(t.out, Transmit{Op: Defer, ID: ch.ID})
		}
	}
	return t.all(), err
}

// add encodes a product of our own; nil when it is there already.
func (p *Pool[T]) add(ch *Change[T]) (*Artifact, error) {
	cfg := p.kind.config()
	attr := p.kind.attrOf(ch.Value)
	var a *Artifact
	var err error
	if ch.File != nil {
		a, err = NewFileArtifact(cfg, ch.File, ch.Size, attr, ch.Class)
	} else {
		var body []byte
		if body, err = p.kind.Encode(ch.Value); err == nil {
			a, err = NewArtifact(cfg, body, attr, ch.Class)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("artifact: kind %d: %w", cfg.ID, err)
	}
	p.Remove(a.ID)
	if p.validated.byID[a.ID] != nil {
		return nil, nil
	}
	p.validated.put(Entry[T]{ID: a.ID, Attr: attr, Value: ch.Value, Class: ch.Class, Size: a.Size})
	return a, nil
}

// transmits are what a list of changes makes the network know.
type transmits struct {
	out   []Transmit
	fresh map[ID]int // what this list has published: where in out, up to known
	known int
	taken bool // some have been taken back
}

// takenBack marks what is left out.
const takenBack Op = 0xff

// abort adds an abort, or takes back the publication of the same list.
func (t *transmits) abort(id ID) {
	for ; t.known < len(t.out); t.known++ {
		if x := &t.out[t.known]; x.Op == AddToValidated || x.Op == MoveToValidated {
			if t.fresh == nil {
				t.fresh = map[ID]int{}
			}
			t.fresh[x.ID] = t.known
		}
	}
	i, ok := t.fresh[id]
	switch {
	case !ok:
		t.out = append(t.out, Transmit{Op: RemoveFromValidated, ID: id})
		return
	case t.out[i].Op == MoveToValidated:
		t.out[i].Op = RemoveFromUnvalidated
	default:
		t.out[i].Op, t.taken = takenBack, true
	}
	delete(t.fresh, id)
}

func (t *transmits) all() []Transmit {
	if t.taken {
		return slices.DeleteFunc(t.out, func(x Transmit) bool { return x.Op == takenBack })
	}
	return t.out
}

// awaited returns the deferred artifacts that named id.
func (p *Pool[T]) awaited(id ID) (out []ID) {
	for _, w := range p.deps[id] {
		if p.deferred[w] > 0 && p.unvalidated.byID[w] != nil {
			out = append(out, w)
		}
	}
	delete(p.deps, id)
	return out
}

// sweep forgets dependencies whose waiters are gone, so that ids that never come leave nothing behind.
func (p *Pool[T]) sweep() {
	for d, ws := range p.deps {
		keep := ws[:0]
		for _, w := range ws {
			if p.deferred[w] > 0 {
				keep = append(keep, w)
			}
		}
		if len(keep) == 0 {
			delete(p.deps, d)
		} else {
			p.deps[d] = keep
		}
	}
}
