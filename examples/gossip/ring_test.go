package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// process is one gossip process of a test.
type process struct {
	t         *testing.T
	bin, dir  string
	addr      string
	peers     []string
	cmd       *exec.Cmd
	listening chan string
	read      sync.WaitGroup

	mu     sync.Mutex
	events []event
	stderr strings.Builder
}

func build(t *testing.T) string {
	bin := filepath.Join(t.TempDir(), "gossip")
	out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return bin
}

// start runs it, on the address it had before if there was one, and waits until it listens.
func (p *process) start(args ...string) {
	addr := p.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	args = append([]string{"-listen", addr, "-dir", p.dir, "-urgent", "urgent-*", "-json"}, args...)
	for _, peer := range p.peers {
		args = append(args, "-peer", peer)
	}
	p.cmd = exec.Command(p.bin, args...)
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	require.NoError(p.t, err)
	p.listening = make(chan string, 1)
	require.NoError(p.t, p.cmd.Start())
	p.read.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var e event
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				e = event{Event: "no JSON", Error: lines.Text()}
			}
			if e.Event == "listening" {
				p.listening <- e.Addr
			}
			p.mu.Lock()
			p.events = append(p.events, e)
			p.mu.Unlock()
		}
	})
	select {
	case p.addr = <-p.listening:
	case <-time.After(30 * time.Second):
		p.t.Fatalf("%s does not listen: %s", p.dir, p.stderr.String())
	}
}

// end sends a signal and waits for the end.
func (p *process) end(s os.Signal) error {
	_ = p.cmd.Process.Signal(s)
	p.read.Wait()
	return p.cmd.Wait()
}

func (p *process) saw(f func(e event) bool) (out []event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if f(e) {
			out = append(out, e)
		}
	}
	return out
}

// sizes lists a directory.
func sizes(dir string) map[string]int64 {
	out := map[string]int64{}
	list, _ := os.ReadDir(dir)
	for _, e := range list {
		if fi, err := e.Info(); err == nil {
			out[e.Name()] = fi.Size()
		}
	}
	return out
}

// logUniform draws n sizes between 1 and most whose logarithms are uniform, no more than total in all: what would go beyond is drawn
// anew. The first is the largest possible.
func logUniform(rnd *rand.Rand, n int, most, total int64) (out []int64) {
	out = append(out, most)
	total -= most
	for len(out) < n {
		s := int64(math.Exp(rnd.Float64() * math.Log(float64(most))))
		if s <= total-int64(n-len(out)) {
			out = append(out, s)
			total -= s
		}
	}
	rnd.Shuffle(n, func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// TestRingOfProcesses: five gossip processes in a ring, with files of log-uniform size. Two are killed with -9 on the way and start again,
// one is limited to 100 kB/s until the last minute, and a neighbour of one that owns no file serves it spoilt chunks. All
// directories are the same in the end. Files marked urgent that are put in meanwhile overtake the rest. With HEARTH_SOAK=1 it is 2,000
// files of up to 64 MiB, 1 GiB in all.
func TestRingOfProcesses(t *testing.T) {
	files, most, total, urgentLimit, lastMinute := 60, int64(4<<20), int64(20<<20), 20*time.Second, 2*time.Minute
	if os.Getenv("HEARTH_SOAK") == "1" {
		files, most, total, urgentLimit = 2000, 64<<20, 1<<30, time.Second
	}
	began := time.Now()
	note := func(format string, args ...any) {
		t.Logf("%6.1f s  "+format, append([]any{time.Since(began).Seconds()}, args...)...)
	}
	const slow = 4
	root, bin := t.TempDir(), build(t)
	var ps [5]*process
	for i := range ps {
		ps[i] = &process{t: t, bin: bin, dir: filepath.Join(root, fmt.Sprint("d", i))}
		require.NoError(t, os.MkdirAll(ps[i].dir, 0o755))
	}
	rnd := rand.New(rand.NewPCG(3, 3))
	var theirs []string // files of the nodes without a limit
	for i, size := range logUniform(rnd, files, most, total) {
		name := fmt.Sprintf("f%04d", i)
		require.NoError(t, os.WriteFile(filepath.Join(ps[i%5].dir, name), noise(uint64(i), int(size)), 0o644))
		if i%5 != slow {
			theirs = append(theirs, name)
		}
	}
	t.Cleanup(func() {
		for i, p := range ps {
			if p.cmd != nil && p.cmd.ProcessState == nil {
				_ = p.end(syscall.SIGKILL)
			}
			if t.Failed() {
				t.Logf("node %d: %d files; %s", i, count(p.dir), p.stderr.String())
				for _, e := range p.saw(func(e event) bool { return e.Error != "" }) {
					t.Logf("  %+v", e)
				}
			}
		}
	})
	// Node i dials the one before it, and node 4 also node 0: 0 – 1 – 2 – 3 – 4 – 0. Beside the ring node 1 has a neighbour without a file of
	// its own, behind the proxy that spoils.
	hollow, ln := newReplicaTest(t, root, 9)
	proxy := newSpoiler(t, hollow.addr)
	for i, p := range ps {
		if i > 0 {
			p.peers = append(p.peers, ps[i-1].addr)
		}
		switch i {
		case 1:
			p.peers = append(p.peers, proxy.ln.Addr().String())
		case slow:
			p.peers = append(p.peers, ps[0].addr)
			p.start("-rate", "100000")
			continue
		}
		p.start()
		if i == 0 {
			hollow.o.peers = []string{p.addr}
			hollow.start(ln)
			// It has something to serve when node 1 begins, which will ask both.
			eventually(t, time.Minute, func() bool { return count(hollow.o.dir) >= files/10 })
		}
	}
	started := time.Now()
	fast := ps[:slow]
	all := func(of []*process, n int) func() bool {
		return func() bool {
			for _, p := range of {
				if count(p.dir) < n {
					return false
				}
			}
			return true
		}
	}
	some := func(share float64) func() bool { return all(fast, int(share*float64(len(theirs)))) }
	exchanged := func() bool {
		for _, p := range fast {
			have := sizes(p.dir)
			for _, name := range theirs {
				if _, ok := have[name]; !ok {
					return false
				}
			}
		}
		return true
	}
	await := func(limit time.Duration, f func() bool, what string) {
		t.Helper()
		for deadline := time.Now().Add(limit); !f(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: not within %v; files: %d %d %d %d %d", what, limit, count(ps[0].dir), count(ps[1].dir), count(ps[2].dir), count(ps[3].dir), count(ps[4].dir))
			}
		}
	}
	// putIn puts one more file in.
	putIn := func(at *process, name string, size int) {
		files++
		tmp := filepath.Join(root, name)
		require.NoError(t, os.WriteFile(tmp, noise(uint64(10000+files), size), 0o644))
		require.NoError(t, os.Rename(tmp, filepath.Join(at.dir, name)))
	}
	urgent := 0
	put := func(at *process) {
		urgent++
		name := fmt.Sprintf("urgent-%d", urgent)
		putIn(at, name, 16<<10)
		was := time.Now()
		for _, p := range fast {
			await(time.Minute, func() bool { _, err := os.Stat(filepath.Join(p.dir, name)); return err == nil }, name)
		}
		took := time.Since(was).Round(time.Millisecond)
		note("%s was everywhere but on the slow node after %v, with %d of %d files on node 2", name, took, count(ps[2].dir), files)
		if took > urgentLimit {
			t.Errorf("%s took %v, more than %v", name, took, urgentLimit)
		}
	}
	limit := 20 * time.Minute
	await(limit, some(0.3), "the first third")
	put(ps[0])
	put(ps[2])
	await(limit, some(0.5), "half")
	for _, i := range []int{2, 0} {
		require.Error(t, ps[i].end(syscall.SIGKILL))
	}
	note("nodes 2 and 0 are killed, with %d and %d files", count(ps[2].dir), count(ps[0].dir))
	time.Sleep(500 * time.Millisecond)
	for _, i := range []int{0, 2} {
		ps[i].start()
	}
	await(limit, some(0.7), "the rest")
	put(ps[3])
	await(limit, exchanged, "everything of the others on all but the slow node")
	note("the others have each other's; the slow node has %d of %d files", count(ps[slow].dir), files)
	for more := 0; proxy.spoilt() == 0; { // node 1 has had everything from the other side so far
		require.Less(t, more, 40, "nothing is asked of the proxy")
		require.NoError(t, ps[1].end(syscall.SIGTERM))
		for range 8 { // more than it may ask one neighbour for at a time
			putIn(ps[0], fmt.Sprint("more-", more), 1<<20)
			more++
		}
		await(time.Minute, func() bool { return count(hollow.o.dir) >= count(ps[0].dir) }, "the hollow node, while node 1 is down")
		ps[1].start()
		await(time.Minute, all(fast, count(ps[0].dir)), "what was put in while node 1 was down")
	}
	require.NoError(t, ps[slow].end(syscall.SIGTERM))
	ps[slow].start()
	again := time.Now()
	await(lastMinute, all(ps[:], files), "the slow node, without its limit")
	note("complete %v after its start without a limit, %v after the first start", time.Since(again).Round(time.Millisecond), time.Since(started).Round(time.Millisecond))

	want := sizes(ps[0].dir)
	for _, p := range ps[1:] {
		require.True(t, maps.Equal(want, sizes(p.dir)), p.dir)
	}
	sums := hashes(t, ps[0].dir)
	for _, p := range ps[1:] {
		require.True(t, maps.Equal(sums, hashes(t, p.dir)), p.dir)
	}
	note("%d files, %d bytes, are the same in five directories", len(sums), sum(want))
	for i, p := range ps {
		require.NoError(t, p.end(syscall.SIGTERM), "node %d: %s", i, p.stderr.String())
		require.Empty(t, p.saw(func(e event) bool { return e.Event == "no JSON" }))
		for _, e := range p.saw(func(e event) bool { return e.Event == "misbehaviour" && strings.Contains(e.Error, "banned") }) {
			require.Equal(t, hollowID(t, hollow), e.ID, "node %d banned an honest one: %+v", i, e)
		}
	}
	hollow.stop()
	require.Positive(t, proxy.close(), "chunks were spoilt")
	require.NotEmpty(t, ps[1].saw(func(e event) bool { return e.Event == "misbehaviour" && e.ID == hollowID(t, hollow) }))
}

func sum(m map[string]int64) (n int64) {
	for _, v := range m {
		n += v
	}
	return n
}

func hollowID(t *testing.T, r *replicaTest) string {
	b, err := os.ReadFile(filepath.Join(r.o.state, "id"))
	require.NoError(t, err)
	id, err := hex.DecodeString(strings.TrimSpace(string(b)))
	require.NoError(t, err)
	return hex.EncodeToString(id)
}
