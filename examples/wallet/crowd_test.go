package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/governor"
)

// topologyOf is a file whose local roots are some servers, two of which are to be hot.
func topologyOf(t *testing.T, addrs ...string) string {
	t.Helper()
	var points []string
	for _, a := range addrs {
		at := netip.MustParseAddrPort(a)
		points = append(points, fmt.Sprintf(`{"address": %q, "port": %d}`, at.Addr(), at.Port()))
	}
	file := filepath.Join(t.TempDir(), "topology.json")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `{"localRoots": [{"accessPoints": [%s], "advertise": false, "trustable": true,
		"hotValency": %d, "warmValency": %d}], "publicRoots": [], "useLedgerAfterSlot": -1}`, strings.Join(points, ","), min(2, len(addrs)), len(addrs)), 0o600))
	return file
}

// follow runs a wallet in a crowd, with a governor that is ten times as quick.
func follow(t *testing.T, file string, look time.Duration, blocks bool) <-chan change {
	t.Helper()
	printed := make(chan change, 1000)
	w := &wallet{start: chain.Origin, blocks: blocks, out: io.Discard, printer: func(c change) error { printed <- c; return nil }}
	c, err := newCrowd(w, file, connmgr.Preview)
	require.NoError(t, err)
	c.look = look
	c.tweak = func(cfg *governor.Config) { cfg.Timing = governor.DefaultTiming().Scaled(0.1) }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
		c.close()
	})
	return printed
}

func next(t *testing.T, printed <-chan change) change {
	t.Helper()
	select {
	case c := <-printed:
		return c
	case <-time.After(30 * time.Second):
		t.Fatal("nothing is printed")
		return change{}
	}
}

// One peer after the other goes, and comes back elsewhere in time; nothing is missed or told twice.
func TestCrowdFailsOver(t *testing.T) {
	for _, blocks := range []bool{false, true} {
		t.Run(fmt.Sprint("blocks ", blocks), func(t *testing.T) {
			c, g := grown(t, 30)
			var addrs []string
			var stops []func()
			for range 3 {
				addr, stop := serve(t, c, "tcp", "127.0.0.1:0")
				addrs, stops = append(addrs, addr), append(stops, stop)
			}
			printed := follow(t, topologyOf(t, addrs...), time.Hour, blocks)
			n := 0
			grow := func() {
				t.Helper()
				for v := c.View(); n < v.Len(); n++ {
					require.Equal(t, v.At(n).Point, next(t, printed).point)
				}
			}
			grow()
			for i := range stops {
				stops[i]()
				extend(t, c, g, 5)
				grow()
				_, stops[i] = serve(t, c, "tcp", addrs[i])
			}
			require.Empty(t, printed)
		})
	}
}

// A peer that stays behind while others go on is given up for one of them.
func TestCrowdLeavesWhoFallsBehind(t *testing.T) {
	short, _ := grown(t, 20)
	slow, _ := serve(t, short, "tcp", "127.0.0.1:0")
	// Only the slow one is there at first; the address of the other is one that was free a moment ago.
	later, stop := serve(t, short, "tcp", "127.0.0.1:0")
	stop()
	printed := follow(t, topologyOf(t, slow, later), 50*time.Millisecond, false)
	v := short.View()
	for i := range 20 {
		require.Equal(t, v.At(i).Point, next(t, printed).point)
	}
	long := chain.NewMemory()
	t.Cleanup(func() { require.NoError(t, long.Close()) })
	same := chain.NewGenerator(7)
	extend(t, long, same, 20)
	extend(t, long, same, 10)
	serve(t, long, "tcp", later)
	v = long.View()
	for i := 20; i < 30; i++ {
		require.Equal(t, v.At(i).Point, next(t, printed).point)
	}
}

// A transaction is given to one of the peers.
func TestCrowdDials(t *testing.T) {
	c, _ := grown(t, 1)
	addr, stop := serve(t, c, "tcp", "127.0.0.1:0")
	cr, err := newCrowd(&wallet{}, topologyOf(t, addr), connmgr.Preview)
	require.NoError(t, err)
	defer cr.close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := cr.dial(ctx)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	stop()
	_, err = cr.dial(ctx)
	require.ErrorContains(t, err, addr)
}
