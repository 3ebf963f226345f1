package chainsync_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testChain is a chain that grows and switches forks. Blocks have numbers from 1 and growing slots.
type testChain struct {
	mu      sync.Mutex
	rnd     *rand.Rand
	points  []chainsync.Point
	changed chan struct{}
	broken  error // what Next answers at the tip, if set
	opaque  bool  // headers that hide their block's number
	closed  int   // cursors closed
}

func newChain(seed uint64, n int) *testChain {
	c := &testChain{rnd: rand.New(rand.NewPCG(seed, 7))}
	c.change(0, n)
	return c
}

// change drops back blocks and adds forward others.
func (c *testChain) change(back, forward int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.points = slices.Clone(c.points[:max(len(c.points)-back, 0)])
	for range forward {
		p := chainsync.Point{Slot: 1}
		if n := len(c.points); n > 0 {
			p.Slot = c.points[n-1].Slot + 1 + c.rnd.Uint64N(40)
		}
		for i := range p.Hash {
			p.Hash[i] = byte(c.rnd.Uint32())
		}
		c.points = append(c.points, p)
	}
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

func (c *testChain) snapshot() []chainsync.Point {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.points
}

func (c *testChain) tip() chainsync.Tip {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tipLocked()
}

func (c *testChain) tipLocked() chainsync.Tip {
	if len(c.points) == 0 {
		return chainsync.Tip{}
	}
	return chainsync.Tip{Point: c.points[len(c.points)-1], Block: uint64(len(c.points))}
}

func (c *testChain) Cursor(form chainsync.Form) chainsync.Cursor {
	return &testCursor{c: c, form: form, back: true}
}

// testCursor remembers what its client has.
type testCursor struct {
	c    *testChain
	form chainsync.Form
	path []chainsync.Point
	back bool
}

func (u *testCursor) Close() error {
	u.c.mu.Lock()
	defer u.c.mu.Unlock()
	u.c.closed++
	return nil
}

func (u *testCursor) Intersect(points []chainsync.Point) (chainsync.Point, chainsync.Tip, bool) {
	u.c.mu.Lock()
	defer u.c.mu.Unlock()
	for _, p := range points {
		if i := slices.Index(u.c.points, p); i >= 0 || p.IsOrigin() {
			u.path, u.back = slices.Clone(u.c.points[:i+1]), true
			return p, u.c.tipLocked(), true
		}
	}
	return chainsync.Point{}, u.c.tipLocked(), false
}

func (u *testCursor) Next() (chainsync.Update, error) {
	u.c.mu.Lock()
	defer u.c.mu.Unlock()
	up := chainsync.Update{Tip: u.c.tipLocked()}
	n := 0
	for n < min(len(u.path), len(u.c.points)) && u.path[n] == u.c.points[n] {
		n++
	}
	switch {
	case n < len(u.path) || u.back:
		u.path, u.back = u.path[:n], false
		up.Kind = chainsync.Backward
		if n > 0 {
			up.Point = u.path[n-1]
		}
	case n < len(u.c.points):
		up.Kind, up.Payload = chainsync.Forward, u.payload(uint64(n+1), u.c.points[n])
		u.path = append(u.path, u.c.points[n])
	case u.c.broken != nil:
		return up, u.c.broken
	default:
		if u.c.changed == nil {
			u.c.changed = make(chan struct{}) // in the bubble of the server
		}
		up.Changed = u.c.changed
	}
	return up, nil
}

// payload is a header [[number, slot, hash], ""], or a block around it, in its envelope.
func (u *testCursor) payload(number uint64, p chainsync.Point) []byte {
	h := cbor.AppendUint(cbor.AppendUint(cbor.AppendArray(cbor.AppendArray(nil, 2), 3), number), p.Slot)
	h = cbor.AppendBytes(cbor.AppendBytes(h, p.Hash[:]), nil)
	if u.form == chainsync.Blocks {
		b := cbor.AppendUint(cbor.AppendArray(nil, 2), 7)
		b = append(cbor.AppendArray(b, 2), h...)
		return chainsync.AppendBlock(nil, append(b, 0x80))
	}
	if u.c.opaque {
		h = append([]byte{0x81}, h...)
	}
	return chainsync.AppendHeader(nil, chainsync.Header{Era: 6, Bytes: h})
}

// pointOf reads the point back out of a payload.
func pointOf(payload []byte, form chainsync.Form) (p chainsync.Point, number uint64, err error) {
	var b []byte
	if form == chainsync.Blocks {
		if b, err = chainsync.ParseBlock(payload); err == nil {
			b = b[3:]
		}
	} else {
		var h chainsync.Header
		h, err = chainsync.ParseHeader(payload)
		if b = h.Bytes; len(b) > 0 && b[0] == 0x81 {
			b = b[1:]
		}
	}
	if err != nil {
		return p, 0, err
	}
	r := cbor.NewReader(b)
	r.DefArray(2)
	r.DefArray(3)
	number, p.Slot = r.Uint(), r.Uint()
	copy(p.Hash[:], r.BytesLen(32))
	return p, number, r.Err()
}

// follower builds a chain of what a client reports.
type follower struct {
	points    []chainsync.Point
	rollbacks int
}

func (f *follower) take(t testing.TB, ev chainsync.Event, form chainsync.Form) {
	t.Helper()
	if ev.Kind == chainsync.Backward {
		f.rollbacks++
		i := slices.Index(f.points, ev.Point)
		if i < 0 && !ev.Point.IsOrigin() && len(f.points) > 0 {
			t.Fatalf("rolled back to %v, which we never had", ev.Point)
		}
		f.points = f.points[:i+1]
		return
	}
	p, _, err := pointOf(ev.Payload, form)
	if err != nil {
		t.Fatal(err)
	}
	f.points = append(f.points, p)
}
