package artifact

import (
	"context"
	"crypto/sha256"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Handle is the layer above's grip on one kind of a Node. All methods may be called from any goroutine.
type Handle[T any] struct {
	kind   Kind[T]
	client Client[T]
	node   *Node
	c      *client[T]
	fn     atomic.Pointer[func(ID, []byte) Interest]
	poke   chan struct{}

	mu      sync.Mutex
	inbox   []func() // run by the kind's goroutine, in order, before the next step
	sinks   map[ID]io.WriterAt
	refresh bool
	filter  []byte
	onError func(error)
}

// Register binds a Kind to its Client, for NewNode. The Handle works once the Node is made.
func Register[T any](k Kind[T], c Client[T]) *Handle[T] {
	return &Handle[T]{kind: k, client: c, poke: make(chan struct{}, 1), sinks: map[ID]io.WriterAt{}}
}

func (h *Handle[T]) runner() runner { return handleRunner[T]{h} }

// OnError is told what a Client's changes could not do: a value that cannot be encoded, a full table. Set it before NewNode.
func (h *Handle[T]) OnError(f func(error)) { h.onError = f }

// Publish adds an artifact of our own, without going through OnChange; it does not block. The error may be a *TableFullError.
func (h *Handle[T]) Publish(v T, class Class) (ID, error) {
	body, err := h.kind.Encode(v)
	if err != nil {
		return ID{}, err
	}
	a, err := NewArtifact(h.kind.config(), body, h.kind.attrOf(v), class)
	if err != nil {
		return ID{}, err
	}
	return a.ID, h.add(a, v)
}

// PublishFile is Publish for a body that stays where it is; v stands for it.
func (h *Handle[T]) PublishFile(v T, body io.ReaderAt, size int64, class Class) (ID, error) {
	a, err := NewFileArtifact(h.kind.config(), body, size, h.kind.attrOf(v), class)
	if err != nil {
		return ID{}, err
	}
	return a.ID, h.add(a, v)
}

func (h *Handle[T]) add(a *Artifact, v T) (err error) {
	h.node.doSoon(func(c *Core, now time.Duration) { err = c.Publish(now, a) })
	if err == nil {
		h.post(func() {
			h.c.pool.Remove(a.ID)
			h.c.pool.validated.put(Entry[T]{ID: a.ID, Attr: a.Attr, Value: v, Class: a.Class, Size: a.Size})
		})
	}
	return err
}

// Abort takes an artifact out of the validated section; it is withdrawn from all peers.
func (h *Handle[T]) Abort(id ID) {
	h.node.do(func(c *Core, now time.Duration) { c.Remove(now, id) })
	h.post(func() { h.c.pool.validated.remove(id) })
}

// Refresh asks the bouncer anew about everything that is held and puts deferred artifacts in front of the Client again: call it
// when the window of what is wanted has moved. filter, which may be nil, is matched at providers that must offer anew.
func (h *Handle[T]) Refresh(filter []byte) {
	h.mu.Lock()
	h.refresh, h.filter = true, filter
	h.mu.Unlock()
	h.wake()
}

// Poke makes the Client's OnChange run soon.
func (h *Handle[T]) Poke() { h.wake() }

// Progress lists what is under way, oldest first.
func (h *Handle[T]) Progress() (out []Progress) {
	h.node.do(func(c *Core, _ time.Duration) { out = c.Progress(h.kind.ID) })
	return out
}

// Read runs f on the kind's goroutine with the pool, and waits for it. Not to be called from the Client's own methods.
func (h *Handle[T]) Read(ctx context.Context, f func(Reader[T])) error {
	done := make(chan struct{})
	h.post(func() { f(h.c.pool); close(done) })
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-h.node.ctx.Done():
		return ErrClosed
	}
}

func (h *Handle[T]) post(f func()) {
	h.mu.Lock()
	h.inbox = append(h.inbox, f)
	h.mu.Unlock()
	h.wake()
}

func (h *Handle[T]) wake() {
	select {
	case h.poke <- struct{}{}:
	default:
	}
}

// handleRunner keeps the shell's calls off the Handle's own method set.
type handleRunner[T any] struct{ h *Handle[T] }

func (r handleRunner[T]) config() KindConfig { return r.h.kind.config() }
func (r handleRunner[T]) wake()              { r.h.wake() }

func (r handleRunner[T]) check() error {
	return (&client[T]{kind: r.h.kind, cfg: r.h.kind.config()}).check()
}

func (r handleRunner[T]) attach(n *Node) {
	h := r.h
	h.node = n
	h.c = newClient(h.kind, h.client, n.do)
	h.c.sinks = func(id ID) Body {
		h.mu.Lock()
		defer h.mu.Unlock()
		w := h.sinks[id]
		delete(h.sinks, id)
		b, _ := w.(Body)
		return b
	}
	h.publishBouncer()
}

func (h *Handle[T]) publishBouncer() {
	f := h.c.bouncer
	h.fn.Store(&f)
}

func (r handleRunner[T]) interest(id ID, attr []byte) Interest { return (*r.h.fn.Load())(id, attr) }
func (r handleRunner[T]) quota(peer PeerID) int64              { return r.h.client.Quota(peer) }

// run is the kind's goroutine: the only one that touches the pool and calls the Client.
func (r handleRunner[T]) run(ctx context.Context) {
	h := r.h
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	poll := time.NewTimer(time.Hour)
	defer poll.Stop()
	poll.Stop()
	for {
		periodic := false
		select {
		case <-ctx.Done():
			return
		case <-h.poke:
		case <-poll.C:
		case <-tick.C:
			periodic = true
		}
		h.mu.Lock()
		work, refresh, filter := h.inbox, h.refresh, h.filter
		h.inbox, h.refresh, h.filter = nil, false, nil
		h.mu.Unlock()
		for _, f := range work {
			f()
		}
		if refresh || periodic {
			h.c.refresh(filter, nil)
			h.publishBouncer()
		}
		for more := true; more && ctx.Err() == nil; {
			var err error
			more, err = h.c.step()
			h.publishBouncer()
			if err != nil && h.onError != nil {
				h.onError(err)
			}
		}
		if h.c.pool.unvalidated.list.n > 0 {
			poll.Reset(200 * time.Millisecond)
		}
	}
}

// perform carries out the effects that concern a kind.
func (r handleRunner[T]) perform(e *Effect) {
	h, n := r.h, r.h.node
	switch e.What {
	case EffectDrop:
		h.mu.Lock()
		delete(h.sinks, e.ID)
		h.mu.Unlock()
		h.post(func() { h.c.dropped(e.ID) })
	case EffectMatch:
		ps := h.c.matched(e.Attr, e.parked)
		n.do(func(c *Core, now time.Duration) { c.matched(now, e.p, ps) })
	case EffectHeader:
		ok := h.kind.Header(e.Attr, e.Data)
		n.do(func(c *Core, now time.Duration) { c.Header(now, e.ID, ok) })
	case EffectSink:
		n.mu.Lock()
		if !n.closed {
			id, size := e.ID, e.Size
			n.wg.Go(func() { h.openSink(id, size) })
		}
		n.mu.Unlock()
	case EffectWrite:
		h.mu.Lock()
		w := h.sinks[e.ID]
		h.mu.Unlock()
		err := io.ErrClosedPipe
		if w != nil {
			_, err = w.WriteAt(e.Data, e.Offset)
		}
		n.do(func(c *Core, now time.Duration) { c.Written(now, e.ID, e.Index, err) })
	}
}

// openSink opens a sink; what it holds already is verified chunk by chunk.
func (h *Handle[T]) openSink(id ID, size int64) {
	n := h.node
	w, err := h.kind.Sink(id, size)
	var present []int
	if err == nil {
		var m *Manifest
		n.do(func(c *Core, _ time.Duration) { m = c.Manifest(id) })
		h.mu.Lock()
		h.sinks[id] = w
		h.mu.Unlock()
		if r, ok := w.(io.ReaderAt); ok && m != nil {
			buf := make([]byte, m.ChunkSize())
			for i := 0; i < m.Chunks() && n.ctx.Err() == nil; i++ {
				b := buf[:m.chunkLen(i)]
				if k, _ := r.ReadAt(b, int64(i)*int64(m.ChunkSize())); k == len(b) && sha256.Sum256(b) == m.ChunkSum(i) {
					present = append(present, i)
				}
			}
		}
	}
	n.do(func(c *Core, now time.Duration) { c.SinkOpened(now, id, present, err) })
}
