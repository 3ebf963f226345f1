package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/blake2b"

	"github.com/hearthnet/hearth/internal/cbor"
)

// process is a relay in a process of its own.
type process struct {
	testing.TB
	dir, addr string
	cmd       *exec.Cmd
	logged    chan struct{} // stderr has ended
}

var listening = regexp.MustCompile(`msg=listening addr=(\S+)`)

// startRelay runs a relay on addr with a mempool folder, until it is stopped or the test ends.
func startRelay(t testing.TB, dir, addr string, args ...string) *process {
	t.Helper()
	p := &process{TB: t, dir: dir, logged: make(chan struct{})}
	p.cmd = exec.Command(os.Args[0], append([]string{"-listen", addr, "-mempool", dir, "-magic", "42"}, args...)...)
	p.cmd.Env = append(os.Environ(), asRelay+"=1")
	stderr, err := p.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	at := make(chan string, 1)
	go func() {
		defer close(p.logged)
		for lines := bufio.NewReader(stderr); ; {
			l, err := lines.ReadString('\n')
			if m := listening.FindStringSubmatch(l); m != nil {
				at <- m[1]
			}
			if err != nil {
				return
			}
		}
	}()
	select {
	case p.addr = <-at:
	case <-p.logged:
		t.Fatal("the relay did not start")
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			<-p.logged
			_ = p.cmd.Wait()
		}
	})
	return p
}

// stop sends SIGTERM and returns when the relay has ended in good order.
func (p *process) stop() {
	p.Helper()
	began := time.Now()
	require.NoError(p, p.cmd.Process.Signal(syscall.SIGTERM))
	<-p.logged
	require.NoError(p, p.cmd.Wait(), "exit status 0")
	require.Less(p, time.Since(began), 5*time.Second)
}

// peak returns the most memory that the relay has had resident, bytes.
func (p *process) peak() int {
	p.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(p, err)
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(b)
	require.NotNil(p, m)
	n, err := strconv.Atoi(string(m[1]))
	require.NoError(p, err)
	return n << 10
}

// rawTx returns a transaction of size bytes and a few more as files hold it, and the name that others give it.
func rawTx(i, size int) (name string, raw []byte) {
	body := cbor.AppendUint(cbor.AppendMap(nil, 2), 0)
	body = cbor.AppendUint(cbor.AppendUint(body, uint64(i)), 1)
	body = cbor.AppendBytes(body, bytes.Repeat([]byte{byte(i)}, size))
	raw = append(cbor.AppendArray(nil, 4), body...)
	raw = append(cbor.AppendBool(cbor.AppendMap(raw, 0), true), 0xf6)
	id := blake2b.Sum256(body)
	return hex.EncodeToString(id[:]) + ".tx", raw
}

// put puts a transaction into a folder as a user does, and returns the name under which it will come out elsewhere.
func put(t testing.TB, dir string, i, size int) (name string, raw []byte) {
	t.Helper()
	name, raw = rawTx(i, size)
	require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("tx-%05d", i)), raw, 0o644))
	return name, raw
}

// await waits for a file with exactly this content.
func await(t testing.TB, file string, want []byte, within time.Duration) {
	t.Helper()
	require.Eventually(t, func() bool {
		got, err := os.ReadFile(file)
		return err == nil && bytes.Equal(got, want)
	}, within, 5*time.Millisecond, "%s", file)
}

// TestThreeRelaysInALine: a transaction goes from the first to the last within two seconds; of thousands none is lost while the one
// in the middle restarts; memory stays within what was granted.
func TestThreeRelaysInALine(t *testing.T) {
	n := 2000
	if os.Getenv("HEARTH_SOAK") != "" {
		n = 10_000
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	const mempoolBytes = 128 << 20
	granted := fmt.Sprint("-mempool-bytes=", mempoolBytes)
	middle := startRelay(t, at("middle"), "127.0.0.1:0", granted)
	first := startRelay(t, at("first"), "127.0.0.1:0", "-peer", middle.addr, granted)
	last := startRelay(t, at("last"), "127.0.0.1:0", "-peer", middle.addr, granted)

	for i := range 3 {
		name, raw := put(t, first.dir, i, 300+i*5000)
		began := time.Now()
		await(t, filepath.Join(last.dir, name), raw, 10*time.Second)
		took := time.Since(began)
		t.Logf("%d bytes in %v", len(raw), took)
		if i > 0 { // the first one may meet processes that are still starting
			require.Less(t, took, 2*time.Second)
		}
	}

	rnd := rand.New(rand.NewPCG(1, 2))
	want := make(map[string][]byte, n)
	for i := 3; i < n; i++ {
		name, raw := put(t, first.dir, i, 300+rnd.IntN(16<<10-320))
		want[name] = raw
	}
	began := time.Now()
	require.Eventually(t, func() bool { return count(t, last.dir) > n/4 }, time.Minute, 5*time.Millisecond)
	require.Less(t, count(t, last.dir), n, "restarts in the middle of it")
	peaks := []int{middle.peak()}
	middle.stop()
	middle = startRelay(t, middle.dir, middle.addr, granted)
	require.Eventually(t, func() bool { return count(t, last.dir) == n }, 2*time.Minute, 50*time.Millisecond, "%d of %d", count(t, last.dir), n)
	t.Logf("%d transactions in %v", n, time.Since(began))
	for name, raw := range want {
		got, err := os.ReadFile(filepath.Join(last.dir, name))
		require.NoError(t, err)
		require.Equal(t, raw, got)
	}
	peaks = append(peaks, first.peak(), middle.peak(), last.peak())
	t.Logf("peak resident memory: %d bytes", peaks)
	if !raced {
		for _, p := range peaks {
			require.LessOrEqual(t, p, 64<<20+mempoolBytes)
		}
	}
	for _, p := range []*process{first, middle, last} {
		p.stop()
	}
}

// count returns how many transactions a folder holds.
func count(t testing.TB, dir string) (n int) {
	t.Helper()
	f, err := os.Open(dir)
	require.NoError(t, err)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != io.EOF {
		require.NoError(t, err)
	}
	for _, name := range names {
		if filepath.Ext(name) == ".tx" {
			n++
		}
	}
	return n
}

// TestFullMempoolDropsNothing: a relay whose mempool is full asks for no more; restarted with more room it gets the rest.
func TestFullMempoolDropsNothing(t *testing.T) {
	dir := t.TempDir()
	first := startRelay(t, filepath.Join(dir, "first"), "127.0.0.1:0")
	names := map[string][]byte{}
	for i := range 60 {
		name, raw := put(t, first.dir, i, 5000)
		names[name] = raw
	}
	second := startRelay(t, filepath.Join(dir, "second"), "127.0.0.1:0", "-peer", first.addr, "-mempool-bytes=100000")
	require.Eventually(t, func() bool { return count(t, second.dir) == 19 }, 30*time.Second, 20*time.Millisecond)
	name, raw := put(t, first.dir, 60, 5000)
	names[name] = raw
	require.Never(t, func() bool { return count(t, second.dir) != 19 }, 2*rescanEvery, 20*time.Millisecond, "19 are 95 % of 100,000 bytes")
	second.stop()
	second = startRelay(t, second.dir, "127.0.0.1:0", "-peer", first.addr)
	for name, raw := range names {
		await(t, filepath.Join(second.dir, name), raw, 30*time.Second)
	}
	second.stop()
	first.stop()
}
