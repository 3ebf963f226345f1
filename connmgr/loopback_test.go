package connmgr

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/protocols"
)

// soak tells whether the long versions are wanted.
func soak() bool { return os.Getenv("HEARTH_SOAK") != "" }

// tcpNode is a manager on loopback TCP. Its listener's port is the system's choice.
func tcpNode(t testing.TB, ip string, change func(*Config)) (*Manager, netip.AddrPort) {
	t.Helper()
	ln, err := ListenTCP(bg, netip.AddrPortFrom(netip.MustParseAddr(ip), 0))
	require.NoError(t, err)
	at := ln.Addr().(*net.TCPAddr).AddrPort()
	cfg := Config{Network: 42, Local: []netip.AddrPort{at}}
	if change != nil {
		change(&cfg)
	}
	m, err := NewManager(cfg)
	require.NoError(t, err)
	require.NoError(t, m.Serve(ln))
	return m, at
}

// connectRetrying is what a governor does: it comes back when it is told to.
func connectRetrying(m *Manager, to netip.AddrPort) error {
	for range 200 {
		_, err := m.Connect(bg, to, ConnectOptions{})
		if err == nil {
			return nil
		}
		after := retryAfter(err)
		if after == 0 && Classify(err).Fault != FaultBenign && Classify(err).Fault != FaultNetwork {
			return err
		}
		wait := time.NewTimer(max(after, time.Millisecond))
		<-wait.C
	}
	return errors.New("never connected")
}

// Two nodes that dial each other in the same millisecond end with exactly one connection, duplex, in use.
func TestLoopbackSimultaneousDials(t *testing.T) {
	rounds := 1000
	if raceEnabled {
		rounds = 100
	}
	outright, begin := 0, time.Now()
	for round := range rounds {
		seen := [2]*echoes{{}, {}}
		var m [2]*Manager
		var at [2]netip.AddrPort
		for i := range m {
			m[i], at[i] = tcpNode(t, "127.0.0.1", func(c *Config) {
				c.Timeouts = Timeouts{RemoteIdle: 50 * time.Millisecond, OutboundIdle: 50 * time.Millisecond, TimeWait: -1}
				c.Seed = uint64(round)
				c.Protocols = []*protocols.MiniProtocol{echo(102, protocols.Hot, time.Millisecond, seen[i])}
			})
		}
		var calls sync.WaitGroup
		var first atomic.Int32
		for i := range m {
			calls.Go(func() {
				if _, err := m[i].Connect(bg, at[1-i], ConnectOptions{}); err == nil {
					first.Add(1)
				} else if err := connectRetrying(m[i], at[1-i]); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
				if err := m[i].Activate(bg, at[1-i]); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		calls.Wait()
		if first.Load() == 2 {
			outright++
		}
		for i := range m {
			id := ConnID{at[i], at[1-i]}
			require.Eventually(t, func() bool {
				info, ok := m[i].Explain(id)
				return ok && info.State == StateDuplex && info.Remote == RemoteHot
			}, 10*time.Second, time.Millisecond, "round %d: %v", round, m[i].Connections())
			require.Len(t, m[i].Connections(), 1)
			require.Eventually(t, func() bool { return seen[i].count()[protocols.Hot] > 0 }, 10*time.Second, time.Millisecond)
		}
		require.NoError(t, m[0].Close())
		require.NoError(t, m[1].Close())
	}
	t.Logf("%d rounds in %v, %d without a retry", rounds, time.Since(begin).Round(time.Millisecond), outright)
}

// dialAs dials a manager from an address of our choice and negotiates.
func dialAs(ctx context.Context, from string, to netip.AddrPort) (*Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	bearer, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	return Attach(ctx, bearer, 42, false, WithKeepAlive(-1))
}

// 2,000 inbound connections against the limits.
func TestLoopbackInboundLimits(t *testing.T) {
	before := settledMemory()
	const delay = 20 * time.Millisecond
	attempts := 2000
	if raceEnabled {
		attempts = 800
	}
	root := netip.MustParseAddr("127.0.0.77")
	m, at := tcpNode(t, "127.0.0.1", func(c *Config) {
		c.Limits = Limits{Hard: 512, Soft: 384, Delay: delay}
		c.Timeouts.RemoteIdle = -1
		c.Protected = func(a netip.Addr) bool { return a == root }
	})
	var above atomic.Int32
	m.mu.Lock()
	m.check = func(c *core) {
		if c.counters.Inbound > 512 {
			above.Add(1)
		}
	}
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(bg, 100*time.Second)
	defer cancel()
	var mu sync.Mutex
	var open []*Conn
	refused := 0
	var calls sync.WaitGroup
	slots := make(chan struct{}, 32)
	for range attempts {
		slots <- struct{}{}
		calls.Go(func() {
			defer func() { <-slots }()
			c, err := dialAs(ctx, "127.0.0.1", at)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				refused++
				return
			}
			open = append(open, c)
		})
	}
	calls.Wait()
	c := m.Counters()
	require.Equal(t, 496, len(open), "hard limit less the reserve")
	require.Equal(t, attempts-496, refused)
	require.Equal(t, 496, c.Inbound)
	require.Positive(t, c.Accept.Delayed)
	require.Equal(t, defaultLimits().softDelay(495)*delay/defaultLimits().Delay, m.limiter.cfg.softDelay(495))
	require.LessOrEqual(t, c.Accept.LastDelay, m.limiter.cfg.softDelay(495))
	for range 16 { // the reserve, without delay
		c, err := dialAs(ctx, root.String(), at)
		require.NoError(t, err)
		open = append(open, c)
	}
	_, err := dialAs(ctx, root.String(), at)
	require.Error(t, err, "hard is hard")
	require.Equal(t, 512, m.Counters().Inbound)
	require.Zero(t, above.Load())
	for _, c := range open {
		c.Abort(nil)
	}
	for _, c := range open {
		c.Close()
	}
	require.Eventually(t, func() bool { return m.Counters().Counters == Counters{} }, 10*time.Second, time.Millisecond)
	require.NoError(t, m.Close())
	open = nil
	after := settledMemory()
	t.Logf("%d refused, %d delayed; memory %d KiB before, %d KiB after", refused, c.Accept.Delayed, before>>10, after>>10)
	require.Less(t, after, before+4<<20, "memory is back")
}

func settledMemory() int {
	var s runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&s)
	return int(s.HeapAlloc + s.StackInuse)
}

// Silent sockets do not keep an honest peer from connecting within a second.
func TestLoopbackSilentSockets(t *testing.T) {
	silent := 5000
	if raceEnabled {
		silent = 1000
	}
	m, at := tcpNode(t, "127.0.0.1", nil)
	var files []net.Conn
	worst := time.Duration(0)
	for i := range silent {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, byte(1+i%50), byte(i%7), 1)}}
		c, err := d.DialContext(bg, "tcp", at.String())
		require.NoError(t, err)
		files = append(files, c)
		if i%200 == 199 {
			ctx, cancel := context.WithTimeout(bg, 10*time.Second)
			begin := time.Now()
			honest, err := dialAs(ctx, "127.0.0.1", at)
			cancel()
			require.NoError(t, err)
			worst = max(worst, time.Since(begin))
			honest.Close()
		}
	}
	require.Less(t, worst, time.Second)
	c := m.Counters()
	require.LessOrEqual(t, c.Accept.Unnegotiated, 256)
	require.GreaterOrEqual(t, c.Accept.Evicted, silent-256-50)
	t.Logf("%d silent sockets, %d evicted, honest peer in at most %v", silent, c.Accept.Evicted, worst)
	for _, f := range files {
		f.Close()
	}
	require.NoError(t, m.Close())
}

// TestMain runs the helpers below in processes of their own.
func helperProcess() bool {
	switch os.Getenv("HEARTH_CONNMGR_HELPER") {
	case "peer":
		helperPeer()
	case "descriptors":
		helperDescriptors()
	default:
		return false
	}
	return true
}

// helper starts this test binary as another process and returns the lines it prints.
func helper(t *testing.T, kind string) (*exec.Cmd, io.WriteCloser, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "HEARTH_CONNMGR_HELPER="+kind)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return cmd, in, bufio.NewScanner(out)
}

func line(t *testing.T, s *bufio.Scanner) string {
	t.Helper()
	require.True(t, s.Scan(), "the helper has ended: %v", s.Err())
	return s.Text()
}

func helperManager(protocols ...*protocols.MiniProtocol) *Manager {
	ln, err := ListenTCP(bg, netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		panic(err)
	}
	at := ln.Addr().(*net.TCPAddr).AddrPort()
	m, err := NewManager(Config{Network: 42, Local: []netip.AddrPort{at}, Protocols: protocols, Timeouts: Timeouts{TimeWait: -1}})
	if err != nil {
		panic(err)
	}
	if err := m.Serve(ln); err != nil {
		panic(err)
	}
	fmt.Println(at)
	return m
}

func helperPeer() {
	helperManager(echo(102, protocols.Hot, time.Millisecond, &echoes{}))
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent goes, or kills us
}

// A peer that is killed is cold at once, and its address can be dialled again.
func TestLoopbackKilledPeer(t *testing.T) {
	cmd, _, out := helper(t, "peer")
	peer := netip.MustParseAddrPort(line(t, out))
	seen := &echoes{}
	m, _ := tcpNode(t, "127.0.0.1", func(c *Config) {
		c.Protocols = []*protocols.MiniProtocol{echo(102, protocols.Hot, time.Millisecond, seen)}
	})
	cold := make(chan error, 10)
	m.Watch(func(p netip.AddrPort, temperature int, after time.Duration, cause error) {
		if temperature == int(StatusCold) {
			cold <- cause
		}
	})
	_, err := m.Connect(bg, peer, ConnectOptions{})
	require.NoError(t, err)
	require.NoError(t, m.Activate(bg, peer))
	require.Eventually(t, func() bool { return seen.count()[protocols.Hot] > 3 }, 10*time.Second, time.Millisecond)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait() // says that it was killed
	select {
	case cause := <-cold:
		require.Error(t, cause)
		require.Contains(t, []string{FaultNetwork, FaultBenign}, Classify(cause).Fault, "a reset or an end of file")
	case <-time.After(10 * time.Second):
		t.Fatal("not noticed")
	}
	require.Empty(t, m.Connections())
	_, err = m.Connect(bg, peer, ConnectOptions{})
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.NoError(t, m.Close())
}

// helperDescriptors serves with very few descriptors, and reports when asked.
func helperDescriptors() {
	limit := syscall.Rlimit{Cur: 256, Max: 256}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		panic(err)
	}
	m := helperManager()
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if in.Text() == "dial" {
			_, err := m.Connect(bg, netip.MustParseAddrPort("127.0.0.1:9"), ConnectOptions{})
			fmt.Printf("%v %v %v\n", errors.Is(err, syscall.EMFILE), fault(err), retryAfter(err))
			continue
		}
		c := m.Counters()
		fmt.Println(c.Inbound, c.Accept.AcceptErrors)
	}
}

// A full disk of descriptors is survived: accept goes on when there is room, dialling says when to retry.
func TestLoopbackNoDescriptors(t *testing.T) {
	cmd, in, out := helper(t, "descriptors")
	at := netip.MustParseAddrPort(line(t, out))
	ask := func(q string) string {
		_, err := fmt.Fprintln(in, q)
		require.NoError(t, err)
		return line(t, out)
	}
	ctx, cancel := context.WithTimeout(bg, 60*time.Second)
	defer cancel()
	var files []net.Conn
	for range 400 {
		d := net.Dialer{}
		c, err := d.DialContext(ctx, "tcp", at.String())
		require.NoError(t, err)
		files = append(files, c)
	}
	require.Eventually(t, func() bool { return !strings.HasSuffix(ask("report"), " 0") }, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, "true internal 1s", ask("dial"))
	for _, f := range files {
		f.Close()
	}
	require.Eventually(t, func() bool {
		c, err := dialAs(ctx, "127.0.0.1", at)
		if err != nil {
			return false
		}
		c.Close()
		return true
	}, 30*time.Second, 10*time.Millisecond, "it serves again")
	in.Close()
	require.NoError(t, cmd.Wait())
}

// What an idle duplex connection costs under a manager that uses it at both ends: goroutines as a bare one, whose heap and stack
// TestIdleConnection bounds; the books of two managers (records, timers, peers' machines, keep-alive initiators) come on top.
func TestIdleConnectionCost(t *testing.T) {
	if raceEnabled {
		return // the detector's own memory is all one would see
	}
	n := 1000
	if soak() {
		n = 5000 // as many as one process should carry
	}
	ln, err := ListenTCP(bg, netip.MustParseAddrPort("0.0.0.0:0"))
	require.NoError(t, err)
	port := ln.Addr().(*net.TCPAddr).AddrPort().Port()
	cfg := Config{
		Network: 42, PeerSharing: true,
		Protocols: []*protocols.MiniProtocol{
			echo(2, protocols.Hot, time.Hour, &echoes{}), echo(3, protocols.Hot, time.Hour, &echoes{}), echo(4, protocols.Hot, time.Hour, &echoes{}),
			echo(10, protocols.Hot, time.Hour, &echoes{}),
		},
		Timeouts: Timeouts{RemoteIdle: -1, TimeWait: -1},
		Limits:   Limits{Hard: 20_000, Soft: 20_000},
	}
	accepting, err := NewManager(cfg)
	require.NoError(t, err)
	require.NoError(t, accepting.Serve(ln))
	cfg.Dial = func(ctx context.Context, _, remote netip.AddrPort) (net.Conn, error) { // every one from an address of its own
		b := remote.Addr().As4()
		return dialTCP(ctx, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 4, b[2], b[3]}), 0), remote)
	}
	dialling, err := NewManager(cfg)
	require.NoError(t, err)
	baseline, routines := settledMemory(), runtime.NumGoroutine()
	for i := range n {
		_, err = dialling.Connect(bg, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 3, byte(i >> 8), byte(i)}), port), ConnectOptions{})
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return accepting.Counters().Inbound == n }, 10*time.Second, 10*time.Millisecond)
	for _, i := range accepting.Connections() { // keep-alive both ways
		_, err := accepting.Connect(bg, i.Conn.Remote, ConnectOptions{InboundOnly: true})
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return dialling.Counters().FullDuplex == n }, 10*time.Second, 10*time.Millisecond)
	cost := (settledMemory() - baseline) / n
	for range 4 { // what else the process holds for a moment only ever adds
		cost = min(cost, (settledMemory()-baseline)/n)
	}
	each := float64(runtime.NumGoroutine()-routines) / float64(n)
	t.Logf("%d idle duplex connections: %d bytes and %.2f goroutines each, both ends", n, cost, each)
	require.LessOrEqual(t, cost, 24<<10)
	require.LessOrEqual(t, each, 4.1)
	require.NoError(t, dialling.Close())
	require.NoError(t, accepting.Close())
	for range 500 { // the last ones may be on their way out
		if runtime.NumGoroutine() < routines {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Fatalf("%d goroutines after Close, %d before the connections", runtime.NumGoroutine(), routines)
}
