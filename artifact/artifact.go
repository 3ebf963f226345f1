package artifact

import (
	"bytes"
	"fmt"
	"io"
)

// Artifact is what a table shows and a server serves: a validated artifact, or under cut-through one that is still arriving.
type Artifact struct {
	ID       ID
	Kind     uint32
	Class    Class // our own, only a hint to others
	Size     int64
	Attr     []byte      // at most 256 bytes
	Manifest *Manifest   // nil at and below 64 KiB
	Bytes    []byte      // the body in memory, or nil
	At       io.ReaderAt // the body elsewhere; used when Bytes is nil
	Relayed  bool        // came from a peer

	kind    int       // index of the kind
	slot    int       // in the table, -1: none
	from    PeerID    // charged for it, when relayed
	gen     uint64    // the view generation that had settled it when it left the table
	partial *download // set while it is still arriving
	wait    listNode[*Artifact]
}

// NewArtifact names a body that is in memory. body and attr are kept, not copied.
func NewArtifact(k KindConfig, body, attr []byte, class Class) (*Artifact, error) {
	cs := k.ChunkSize
	if cs == 0 {
		cs = DefaultChunkSize
	}
	a := &Artifact{Kind: k.ID, Class: class, Size: int64(len(body)), Attr: attr, Bytes: body}
	if a.Bytes == nil {
		a.Bytes = []byte{}
	}
	return a, a.name(bytes.NewReader(body), k.MaxSize, cs)
}

// NewFileArtifact names a body that stays where it is; it is read once.
func NewFileArtifact(k KindConfig, body io.ReaderAt, size int64, attr []byte, class Class) (*Artifact, error) {
	cs := k.ChunkSize
	if cs == 0 {
		cs = DefaultChunkSize
	}
	a := &Artifact{Kind: k.ID, Class: class, Size: size, Attr: attr, At: body}
	return a, a.name(io.NewSectionReader(body, 0, size), k.MaxSize, cs)
}

func (a *Artifact) name(r io.Reader, maxSize int64, chunkSize int) error {
	if a.Size > maxSize {
		return fmt.Errorf("artifact: kind %d: %d bytes, more than its maximum of %d", a.Kind, a.Size, maxSize)
	}
	if len(a.Attr) > maxAttr {
		return fmt.Errorf("artifact: kind %d: attr of %d bytes, more than %d", a.Kind, len(a.Attr), maxAttr)
	}
	if a.Class >= classes {
		return fmt.Errorf("artifact: kind %d: class %d", a.Kind, a.Class)
	}
	if a.Size <= maxFlat {
		body := a.Bytes
		if body == nil {
			body = make([]byte, a.Size)
			if _, err := io.ReadFull(r, body); err != nil {
				return fmt.Errorf("artifact: %w", err)
			}
		}
		a.ID = BodyID(a.Kind, body)
		return nil
	}
	m, err := BuildManifest(r, a.Size, chunkSize)
	if err != nil {
		return err
	}
	a.Manifest, a.ID = m, RootID(a.Kind, m.Root)
	return nil
}

func (a *Artifact) hint() uint8 {
	if a.partial != nil {
		return uint8(a.Class) + partialHint
	}
	return uint8(a.Class)
}

// chunkCount is the number of chunks a fetch may name.
func (a *Artifact) chunkCount() uint64 {
	if a.Manifest == nil {
		return 1
	}
	return uint64(a.Manifest.chunks)
}

// span returns offset and length of chunk i.
func (a *Artifact) span(i int) (off int64, n int) {
	if a.Manifest == nil {
		return 0, int(a.Size)
	}
	return int64(i) * int64(a.Manifest.chunkSize), a.Manifest.chunkLen(i)
}

// listNode and list are an intrusive doubly linked list: O(1) removal and no allocation for a member.
type listNode[T any] struct {
	prev, next *listNode[T]
	in         *list[T]
	v          T
}

type list[T any] struct {
	root listNode[T]
	n    int
}

func (l *list[T]) pushBack(n *listNode[T], v T) {
	if n.in != nil {
		return
	}
	if l.root.next == nil {
		l.root.next, l.root.prev = &l.root, &l.root
	}
	n.v, n.in = v, l
	n.prev, n.next = l.root.prev, &l.root
	n.prev.next, n.next.prev = n, n
	l.n++
}

func (n *listNode[T]) remove() {
	if n.in == nil {
		return
	}
	n.prev.next, n.next.prev = n.next, n.prev
	n.in.n--
	n.prev, n.next, n.in = nil, nil, nil
}

func (l *list[T]) front() *listNode[T] {
	if l.n == 0 {
		return nil
	}
	return l.root.next
}

// after returns the member behind n, nil at the end.
func (l *list[T]) after(n *listNode[T]) *listNode[T] {
	if n.next == &l.root {
		return nil
	}
	return n.next
}
