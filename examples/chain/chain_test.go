package chain

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/protocols/chainsync"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small returns a generator of blocks without transactions behind the tip.
func small(seed uint64, tip Tip) *Generator {
	g := NewGenerator(seed)
	g.Size = func(uint64) int { return 0 }
	g.After(tip)
	return g
}

// grow appends n blocks of the seed to the chain.
func grow(t testing.TB, c *Chain, seed uint64, n int) {
	t.Helper()
	g := small(seed, c.Tip())
	for range n {
		_, err := c.Append(g.Next(nil))
		require.NoError(t, err)
	}
}

func openChain(t testing.TB, c Config) *Chain {
	t.Helper()
	ch, err := New(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ch.Close()) })
	return ch
}

// client is the far end of a cursor: it has what it was told.
type client struct {
	cursor chainsync.Cursor
	points []Point
	told   bool // had its first answer
}

// step takes one event, checks it against what the client has, and returns it.
func (c *client) step(t require.TestingT) Event {
	ev, err := c.cursor.Next()
	require.NoError(t, err)
	if !c.told {
		require.Equal(t, Backward, ev.Kind, "the first answer is a roll back")
		c.told = true
	}
	switch ev.Kind {
	case Forward:
		var h Header
		if c.cursor.(*Cursor).kind == Headers {
			h, err = ParseHeaderPayload(ev.Payload)
		} else {
			var blk Block
			blk, err = ParseBlockPayload(ev.Payload)
			h = blk.Header
		}
		require.NoError(t, err)
		require.Equal(t, ev.Point, h.Point())
		if len(c.points) > 0 {
			require.Equal(t, c.points[len(c.points)-1].Hash, h.Prev, "forward extends what the client has")
		}
		c.points = append(c.points, ev.Point)
	case Backward:
		if ev.Point.IsOrigin() {
			c.points = c.points[:0]
			break
		}
		for i := len(c.points) - 1; ; i-- {
			require.GreaterOrEqual(t, i, 0, "roll back to a block the client does not have")
			if c.points[i] == ev.Point {
				c.points = c.points[:i+1]
				break
			}
		}
	case AtTip:
		require.Equal(t, ev.Tip.Point, ev.Point)
	}
	return ev
}

// TestChainAgainstModel: random appends, roll backs, switches, intersections and reopenings, in memory and on disk. After
// every step the chain is what the model says; followers that read in bits and pieces have the chain in the end, and
// are never rolled back further than needed.
func TestChainAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cfg := Config{CheckBodies: true}
		if rapid.Bool().Draw(rt, "on disk") {
			dir, err := os.MkdirTemp("", "chain")
			require.NoError(rt, err)
			defer os.RemoveAll(dir)
			cfg = Config{Dir: dir, SegmentBytes: 5000, OpenFiles: 2}
		}
		c, err := New(cfg)
		require.NoError(rt, err)
		defer func() { c.Close() }()
		var model [][]byte // stored items
		var points []Point
		clients := []*client{}
		follow := func() {
			for _, kind := range []chainsync.Form{Headers, Blocks} {
				clients = append(clients, &client{cursor: c.Cursor(kind)})
			}
		}
		follow()
		tipAt := func(n int) Tip {
			if n == 0 {
				return Tip{}
			}
			blk, err := ParseBlock(model[n-1])
			require.NoError(rt, err)
			return Tip{Point: blk.Point(), Block: blk.Number}
		}
		make1 := func(n, count int) (items [][]byte) {
			g := small(rapid.Uint64().Draw(rt, "seed"), tipAt(n))
			for range count {
				items = append(items, g.Next(nil))
			}
			return items
		}
		set := func(n int, items [][]byte) {
			model = append(model[:n:n], items...)
			points = points[:n:n]
			for i := n; i < len(model); i++ {
				points = append(points, tipAt(i+1).Point)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				for _, item := range make1(len(model), rapid.IntRange(1, 8).Draw(rt, "n")) {
					p, err := c.Append(item)
					require.NoError(rt, err)
					set(len(model), [][]byte{item})
					require.Equal(rt, points[len(points)-1], p)
				}
			},
			"roll back": func(rt *rapid.T) {
				n := rapid.IntRange(0, len(model)).Draw(rt, "to")
				require.NoError(rt, c.RollBack(tipAt(n).Point))
				set(n, nil)
			},
			"switch": func(rt *rapid.T) {
				n := rapid.IntRange(max(0, len(model)-6), len(model)).Draw(rt, "to")
				items := make1(n, rapid.IntRange(0, 8).Draw(rt, "n"))
				require.NoError(rt, c.Switch(tipAt(n).Point, items))
				set(n, items)
			},
			"refuse": func(rt *rapid.T) {
				items := make1(len(model), 2)
				_, err := c.Append(items[1])
				if len(model) > 0 {
					var link *LinkError
					require.ErrorAs(rt, err, &link)
				} else {
					require.NoError(rt, err) // a chain may start anywhere
					require.NoError(rt, c.RollBack(Origin))
				}
				if len(model) > 0 {
					require.Error(rt, c.Switch(tipAt(len(model)-1).Point, [][]byte{model[len(model)-1], items[1]}))
				}
				require.ErrorIs(rt, c.RollBack(Point{Slot: 1}), ErrNotOnChain)
			},
			"read": func(rt *rapid.T) {
				cl := clients[rapid.IntRange(0, len(clients)-1).Draw(rt, "client")]
				for range rapid.IntRange(1, 20).Draw(rt, "events") {
					had := append([]Point(nil), cl.points...)
					told := cl.told
					if cl.step(rt).Kind == Backward && told {
						same := 0
						for same < len(had) && same < len(points) && had[same] == points[same] {
							same++
						}
						require.Len(rt, cl.points, same, "rolled back to the common ancestor")
						require.Less(rt, same, len(had))
					}
				}
			},
			"intersect": func(rt *rapid.T) {
				if len(points) == 0 {
					return
				}
				cl := clients[rapid.IntRange(0, len(clients)-1).Draw(rt, "client")]
				i := rapid.IntRange(0, len(points)-1).Draw(rt, "at")
				p, tip, ok := cl.cursor.Intersect([]Point{{Slot: 7}, points[i], Origin})
				require.True(rt, ok)
				require.Equal(rt, points[i], p)
				require.Equal(rt, c.Tip(), tip)
				cl.points, cl.told = append([]Point(nil), points[:i+1]...), false
				_, _, ok = cl.cursor.Intersect([]Point{{Slot: 7}})
				require.False(rt, ok, "and the cursor stays")
			},
			"reopen": func(rt *rapid.T) {
				if cfg.Dir == "" {
					return
				}
				require.NoError(rt, c.Close())
				_, err := clients[0].cursor.Next()
				require.ErrorIs(rt, err, ErrClosed)
				c, err = New(cfg)
				require.NoError(rt, err)
				require.Zero(rt, c.Recovered())
				clients = nil
				follow()
			},
			"": func(rt *rapid.T) {
				v := c.View()
				require.Equal(rt, len(model), v.Len())
				require.Equal(rt, tipAt(len(model)), c.Tip())
				for i := max(0, len(model)-10); i < len(model); i++ {
					got, err := v.AppendItem(nil, i)
					require.NoError(rt, err)
					require.True(rt, bytes.Equal(model[i], got))
					require.True(rt, c.Contains(points[i]))
				}
			},
		})
		for _, cl := range clients {
			for cl.step(rt).Kind != AtTip {
			}
			require.Equal(rt, len(points), len(cl.points))
			for i := range points {
				require.Equal(rt, points[i], cl.points[i])
			}
		}
	})
}

// TestSnapshotsStay: what was read stays readable and the same, whatever the chain does.
func TestSnapshotsStay(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		c := openChain(t, Config{Dir: dir})
		grow(t, c, 1, 2*pageEntries+10)
		type kept struct {
			View
			items [][]byte
		}
		var all []kept
		keep := func() {
			k := kept{View: c.View()}
			for item := range items(t, &k.View) {
				k.items = append(k.items, bytes.Clone(item))
			}
			all = append(all, k)
		}
		keep()
		for i, n := range []int{pageEntries + 5, pageEntries, pageEntries - 1, 2 * pageEntries, 3, 1} {
			v := c.View()
			require.NoError(t, c.RollBack(v.At(min(n, v.Len())-1).Point))
			keep()
			grow(t, c, uint64(10+i), pageEntries+i)
			keep()
		}
		for _, k := range all {
			require.Equal(t, len(k.items), k.Len())
			i := 0
			for item := range items(t, &k.View) {
				require.True(t, bytes.Equal(k.items[i], item))
				i++
			}
		}
	}
}

// TestFollowersWait: followers that wait for changes see every fork switch of a busy writer and end with its chain.
func TestFollowersWait(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		c := openChain(t, Config{Dir: dir, SegmentBytes: 50_000, OpenFiles: 2})
		const last = 400
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				cl := &client{cursor: c.Cursor(chainsync.Form(i % 2))}
				for {
					ev := cl.step(t)
					if ev.Kind != AtTip {
						continue
					}
					if ev.Tip.Block >= last {
						if len(cl.points) != int(ev.Tip.Block)+1 {
							t.Errorf("follower has %d blocks at block number %d", len(cl.points), ev.Tip.Block)
						}
						return
					}
					<-ev.Changed
				}
			})
		}
		wg.Go(func() {
			for {
				v, changed := c.Watch()
				if v.Tip().Block >= last {
					return
				}
				<-changed
			}
		})
		for n := 0; c.Tip().Block < last || n == 0; n++ {
			tip := c.Tip()
			v := c.View()
			if n%7 == 3 {
				back := v.At(max(0, v.Len()-4))
				g := small(uint64(n), Tip{Point: back.Point, Block: back.Number})
				var fork [][]byte
				for range 5 {
					fork = append(fork, g.Next(nil))
				}
				require.NoError(t, c.Switch(back.Point, fork))
			} else {
				_, err := c.Append(small(1, tip).Next(nil))
				require.NoError(t, err)
			}
		}
		wg.Wait()
	}
}

// TestCloseWakes: Close ends everybody's wait.
func TestCloseWakes(t *testing.T) {
	c, err := New(Config{Dir: t.TempDir()})
	require.NoError(t, err)
	grow(t, c, 1, 1)
	p := c.Tip().Point
	cur := c.Cursor(Headers)
	for {
		ev, err := cur.Next()
		require.NoError(t, err)
		if ev.Kind == AtTip {
			require.NoError(t, c.Close())
			<-ev.Changed
			break
		}
	}
	_, err = cur.Next()
	require.ErrorIs(t, err, ErrClosed)
	_, err = c.Append(nil)
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, c.RollBack(Origin), ErrClosed)
	_, changed := c.Watch()
	<-changed
	blocks, ok := c.Range(p, p)
	require.True(t, ok)
	for _, err := range blocks {
		require.ErrorIs(t, err, ErrClosed)
	}
	require.NoError(t, c.Close())
	require.NoError(t, c.Sync())
}

func TestAppendRefuses(t *testing.T) {
	c := openChain(t, Config{CheckBodies: true})
	g := NewGenerator(1)
	item := g.Next(nil)
	blk, err := ParseBlock(item)
	require.NoError(t, err)
	_, err = c.Append(blk.Raw)
	require.ErrorContains(t, err, "block without its era")
	_, err = c.Append(item[:len(item)-1])
	require.Error(t, err)
	item[len(item)-1] = 0x81 // the list of invalid transactions now has one
	item = append(item, 0x00)
	_, err = c.Append(item)
	require.ErrorContains(t, err, "its header says")
	require.Zero(t, c.Tip())

	// A block that names the right predecessor but is no later.
	c = NewMemory()
	g = small(1, Tip{})
	first := g.Next(nil)
	p, err := c.Append(first)
	require.NoError(t, err)
	again := small(1, Tip{})
	again.prev, again.number = Point{Hash: p.Hash}, 1
	b, err := ParseBlock(again.Next(nil))
	require.NoError(t, err)
	late := bytes.Clone(b.Raw)
	at := bytes.Index(late, p.Hash[:]) - 3 // `[1, slot, hash`: the slot, in one byte
	require.Less(t, late[at], byte(24))
	late[at] = 0
	_, err = c.Append(AppendItem(nil, Conway, late))
	require.ErrorContains(t, err, "is not later than its predecessor")
}

func TestBase(t *testing.T) {
	base := generated(t, 1, 40)
	a := openArchive(t, base)
	dir := t.TempDir()
	c, err := New(Config{Dir: dir, Base: a})
	require.NoError(t, err)
	v := c.View()
	require.Equal(t, 40, v.Len())
	grow(t, c, 1, 5)
	require.NoError(t, c.RollBack(a.At(29).Point)) // into the base
	grow(t, c, 2, 20)
	v = c.View()
	require.Equal(t, 50, v.Len())
	checkView(t, &v)
	require.Equal(t, 40, a.Len(), "the base stays as it is")
	checkView(t, &a.View)
	want := c.Tip()
	require.NoError(t, c.Close())

	// The base has grown since.
	grown := generated(t, 1, 60)
	ga := openArchive(t, grown)
	c = openChain(t, Config{Dir: dir, Base: ga})
	require.Equal(t, want, c.Tip())
	v = c.View()
	require.Equal(t, 50, v.Len())
	checkView(t, &v)

	// Another base, or none.
	other := openArchive(t, generated(t, 9, 60))
	for _, b := range []*Archive{nil, other} {
		_, err := New(Config{Dir: dir, Base: b})
		require.ErrorContains(t, err, "another base")
	}
	dir = t.TempDir()
	c, err = New(Config{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, c.Close())
	_, err = New(Config{Dir: dir, Base: a})
	require.ErrorContains(t, err, "another base, one that ends at origin")

	// In memory.
	m := openChain(t, Config{Base: a})
	grow(t, m, 1, 3)
	v = m.View()
	require.Equal(t, 43, v.Len())
	checkView(t, &v)
}

func ExampleChain() {
	c := NewMemory()
	defer c.Close()
	for item := range Generate(1, 3) {
		if _, err := c.Append(item); err != nil {
			fmt.Println(err)
		}
	}
	cur := c.Cursor(Headers)
	for {
		ev, err := cur.Next()
		if err != nil || ev.Kind == AtTip {
			break // a server would now wait for ev.Changed
		}
		fmt.Println(ev.Kind, ev.Point.IsOrigin(), len(ev.Payload) > 800)
	}
	// Output:
	// backward true false
	// forward false true
	// forward false true
	// forward false true
}
