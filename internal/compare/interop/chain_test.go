package interop

import (
	"iter"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/internal/testdata"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

// link is one block of a test's chain.
type link struct {
	point  chainsync.Point
	number uint64
	era    chain.Era
	item   []byte // [era, block]
	bare   []byte // the block, part of item
	header []byte // part of item
}

func newLink(t testing.TB, item []byte) link {
	t.Helper()
	b, err := chain.ParseBlock(item)
	require.NoError(t, err)
	return link{
		point:  chainsync.Point{Slot: b.Slot, Hash: b.Hash},
		number: b.Number, era: b.Era, item: item, bare: b.Raw, header: b.Bytes,
	}
}

// realChain returns the 3,024 blocks of the preview network's beginning, each checked: body against header, header against
// predecessor.
var realChain = sync.OnceValues(func() ([][]byte, error) {
	a, err := chain.Open(realDir)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	items := make([][]byte, a.Len())
	for i := range items {
		if items[i], err = a.AppendItem(nil, i); err != nil {
			return nil, err
		}
		if _, err := chain.CheckBody(items[i]); err != nil {
			return nil, err
		}
	}
	return items, nil
})

const realBlocks = 3024

var realDir string

func realLinks(t testing.TB) []link {
	t.Helper()
	realDir = testdata.Path(t, "chain", "preview-immutable")
	items, err := realChain()
	require.NoError(t, err)
	require.Len(t, items, realBlocks)
	links := make([]link, len(items))
	for i, item := range items {
		links[i] = newLink(t, item)
	}
	return links
}

// ledger is a chain that tests change while peers follow it.
type ledger struct {
	mu      sync.Mutex
	links   []link
	changed chan struct{}
}

func newLedger(links []link) *ledger {
	return &ledger{links: slices.Clip(slices.Clone(links)), changed: make(chan struct{})}
}

// set replaces the chain.
func (l *ledger) set(links []link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.links = slices.Clip(slices.Clone(links))
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *ledger) now() ([]link, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.links, l.changed
}

func tipOf(links []link) chainsync.Tip {
	if len(links) == 0 {
		return chainsync.Tip{}
	}
	last := links[len(links)-1]
	return chainsync.Tip{Point: last.point, Block: last.number}
}

// Cursor implements chainsync.Source.
func (l *ledger) Cursor(form chainsync.Form) chainsync.Cursor {
	links, _ := l.now()
	return &cursor{l: l, form: form, seen: links, back: true}
}

// Range implements blockfetch.Source.
func (l *ledger) Range(from, to chainsync.Point) (iter.Seq2[[]byte, error], bool) {
	links, _ := l.now()
	i := slices.IndexFunc(links, func(k link) bool { return k.point == from })
	j := slices.IndexFunc(links, func(k link) bool { return k.point == to })
	if i < 0 || j < i {
		return nil, false
	}
	return func(yield func([]byte, error) bool) {
		for _, k := range links[i : j+1] {
			if !yield(k.item, nil) {
				return
			}
		}
	}, true
}

// cursor is one client's place, for our server and for the other implementation's.
type cursor struct {
	l    *ledger
	form chainsync.Form
	seen []link // the chain that at counts on
	at   int    // blocks the client has
	back bool   // Backward to at is still to be said
	last link   // of the last Forward
	buf  []byte
}

// Intersect implements chainsync.Cursor.
func (c *cursor) Intersect(points []chainsync.Point) (chainsync.Point, chainsync.Tip, bool) {
	links, _ := c.l.now()
	for _, p := range points {
		i := slices.IndexFunc(links, func(k link) bool { return k.point == p })
		if i >= 0 || p.IsOrigin() {
			c.seen, c.at, c.back = links, i+1, true
			return p, tipOf(links), true
		}
	}
	return chainsync.Point{}, tipOf(links), false
}

// Next implements chainsync.Cursor.
func (c *cursor) Next() (chainsync.Update, error) {
	links, changed := c.l.now()
	for c.at > 0 && (c.at > len(links) || links[c.at-1].point != c.seen[c.at-1].point) {
		c.at--
		c.back = true
	}
	c.seen = links
	u := chainsync.Update{Tip: tipOf(links)}
	switch {
	case c.back:
		c.back = false
		u.Kind = chainsync.Backward
		if c.at > 0 {
			u.Point = links[c.at-1].point
		}
	case c.at == len(links):
		u.Kind, u.Changed = chainsync.AtTip, changed
	default:
		c.last = links[c.at]
		c.at++
		u.Kind = chainsync.Forward
		if c.form == chainsync.Blocks {
			c.buf = chainsync.AppendBlock(c.buf[:0], c.last.item)
		} else {
			c.buf = chain.AppendHeaderPayload(c.buf[:0], c.last.era, c.last.header, len(c.last.item))
		}
		u.Payload = c.buf
	}
	return u, nil
}
