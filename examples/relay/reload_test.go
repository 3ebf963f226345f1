package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/examples/internal/node"
	"github.com/hearthnet/hearth/governor"
	"github.com/hearthnet/hearth/topology"
)

// neighbour is a node for relays to be connected to. It connects to nobody.
func neighbour(t *testing.T) (*node.Node, netip.AddrPort) {
	t.Helper()
	ln, err := connmgr.ListenTCP(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
	require.NoError(t, err)
	n, err := node.Start(node.Config{Network: testMagic, Listeners: []net.Listener{ln}, Governor: governor.PrivateNetwork(),
		Topology: &topology.Topology{}, Chain: chain.Config{}, Mempool: node.MempoolConfig{}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n, n.Addrs()[0]
}

// localRoots writes a topology of groups of local roots, in one go as an editor does.
func localRoots(t *testing.T, file string, groups ...string) {
	t.Helper()
	text := `{"localRoots": [` + strings.Join(groups, ",\n") + `], "publicRoots": [], "useLedgerAfterSlot": -1}`
	require.NoError(t, os.WriteFile(file+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(file+".new", file))
}

func group(hot int, trustable bool, members ...netip.AddrPort) string {
	var points []string
	for _, m := range members {
		points = append(points, fmt.Sprintf(`{"address": %q, "port": %d}`, m.Addr(), m.Port()))
	}
	return fmt.Sprintf(`{"accessPoints": [%s], "advertise": false, "trustable": %v, "hotValency": %d}`, strings.Join(points, ", "), trustable, hot)
}

// output is what a relay prints, line by line.
type output struct {
	mu    sync.Mutex
	lines [][]byte
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines = append(o.lines, bytes.Clone(p))
	return len(p), nil
}

// events returns the events of one kind.
func (o *output) events(t *testing.T, kind string) (all []event) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range o.lines {
		var e event
		require.NoError(t, json.Unmarshal(l, &e), "%s", l)
		if e.Event == kind {
			all = append(all, e)
		}
	}
	return all
}

// descriptors counts this process's open files.
func descriptors(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(files)
}

// socket identifies one connection of a relay: it is the same only if nothing was closed and opened again.
type socket struct {
	record connmgr.RecordID
	id     connmgr.ConnID
}

func socketsOf(h *host, peers ...netip.AddrPort) map[netip.AddrPort]socket {
	all := map[netip.AddrPort]socket{}
	for _, c := range h.Connections() {
		if slices.Contains(peers, c.Conn.Remote) {
			all[c.Conn.Remote] = socket{c.Record, c.Conn}
		}
	}
	return all
}

// TestReloadUnderLoad: while blocks and transactions flow, twenty topologies come by SIGHUP, and some files that are none.
// Connections that a change does not concern stay the same sockets; a bad file is refused with line and column and changes nothing;
// nothing piles up; and nothing of the load is lost.
func TestReloadUnderLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "topology.json")
	var neighbours []*node.Node
	var at []netip.AddrPort
	for range 5 {
		n, a := neighbour(t)
		neighbours, at = append(neighbours, n), append(at, a)
	}
	first, kept, changing := at[0], at[1], at[2:]
	always := []string{group(1, true, first), group(1, false, kept)}
	localRoots(t, file, always...)
	var out output
	h, err := newHost(t.Context(), nodeOptions{listen: "127.0.0.1:0", magic: testMagic, preset: "private", topology: file, mempool: filepath.Join(dir, "m"),
		mempoolBytes: 16 << 20,
		timeouts:     connmgr.Timeouts{RemoteIdle: 100 * time.Millisecond, OutboundIdle: 100 * time.Millisecond, TimeWait: -1}}, slog.New(slog.DiscardHandler), &out, io.Discard)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.run(ctx) }()
	defer func() {
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, h.close())
	}()
	hot := func(peers ...netip.AddrPort) func() bool {
		return func() bool {
			return !slices.ContainsFunc(peers, func(p netip.AddrPort) bool { return h.Governor().Explain(p).Temperature != governor.Hot })
		}
	}
	require.Eventually(t, hot(first, kept), 10*time.Second, 5*time.Millisecond)

	// The load: a block every 20 ms, which all neighbours have, and transactions in the folder.
	var load sync.WaitGroup
	loading, stopLoad := context.WithCancel(ctx)
	defer load.Wait()
	defer stopLoad()
	blocks, txs := 0, 0
	load.Go(func() {
		next := chain.NewGenerator(1).Next
		for tick := time.NewTicker(15 * time.Millisecond); loading.Err() == nil; <-tick.C {
			block := next(nil)
			for _, n := range neighbours {
				if _, err := n.Chain().Append(block); err != nil {
					t.Error(err)
					return
				}
			}
			blocks++
		}
	})
	load.Go(func() {
		for tick := time.NewTicker(20 * time.Millisecond); loading.Err() == nil; <-tick.C {
			put(t, h.o.mempool, txs, 500)
			txs++
		}
	})

	before := socketsOf(h, first, kept)
	require.Len(t, before, 2)
	reload := func(i int, write func()) event {
		write()
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
		var all []event
		require.Eventually(t, func() bool { all = out.events(t, "topology"); return len(all) > i }, 5*time.Second, time.Millisecond)
		return all[i]
	}
	told := 0
	var goroutines, files []int
	for i := range 20 {
		in, gone := changing[i%3], changing[(i+2)%3] // each stays for two topologies
		e := reload(told, func() {
			groups := append(slices.Clone(always), group(1, i%2 == 0, in), group(1, true, changing[(i+1)%3]))
			if i%4 == 3 { // the groups that stay are settled anew
				groups[0], groups[1] = group(1, i%8 == 3, first, changing[(i+1)%3]), group(1, true, kept)
				groups = groups[:3]
			}
			localRoots(t, file, groups...)
		})
		told++
		require.Empty(t, e.Error)
		require.Contains(t, e.Changes, "keep local root "+first.String())
		require.Contains(t, e.Changes, "keep local root "+kept.String())
		if i > 0 && i%4 != 3 && (i-1)%4 != 3 {
			require.Contains(t, e.Changes, "drop local root "+gone.String(), i)
		}
		if i%5 == 2 {
			e := reload(told, func() {
				require.NoError(t, os.WriteFile(file, []byte("{\"localRoots\": [],\n \"publicRoots\": 1}"), 0o600))
			})
			told++
			require.Contains(t, e.Error, file+":2:17: error: /publicRoots")
			require.Empty(t, e.Changes)
		}
		require.Eventually(t, hot(first, kept, in), 20*time.Second, 2*time.Millisecond, "topology %d", i)
		settled := h.Chain().Tip().Block
		require.Eventually(t, func() bool { return h.Chain().Tip().Block >= settled+10 }, 10*time.Second, 2*time.Millisecond)
		require.Equal(t, before, socketsOf(h, first, kept), "topology %d: the same sockets", i)
		if i%4 == 1 {
			require.Eventually(t, func() bool { return h.Governor().Explain(gone).Temperature == governor.Cold }, 30*time.Second, 2*time.Millisecond)
			goroutines, files = append(goroutines, runtime.NumGoroutine()), append(files, descriptors(t))
		}
	}
	stopLoad()
	load.Wait()
	t.Logf("goroutines %v, descriptors %v, %d blocks, %d transactions", goroutines, files, blocks, txs)
	require.InDelta(t, slices.Min(goroutines[:2]), goroutines[4], 8)
	require.InDelta(t, slices.Min(files[:2]), files[4], 4)
	require.Eventually(t, func() bool {
		n, _ := neighbours[1].Mempool().Len()
		v := h.Chain().View()
		return v.Len() == blocks && n == txs
	}, 10*time.Second, 10*time.Millisecond)
	require.Len(t, out.events(t, "block"), blocks)
}
