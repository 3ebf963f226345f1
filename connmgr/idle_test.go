package connmgr

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

// idlePairs makes n duplex connections over loopback TCP with every stream of version 15 registered, chain-sync and block-fetch armed
// at both ends, keep-alive running both ways, and returns what all of them cost in bytes of heap and stack and in goroutines.
func idlePairs(t testing.TB, n int) (bytes, goroutines int) {
	t.Helper()
	chain := newFixedChain(5, 100)
	samples := make(chan struct{}, 2*n)
	opts := []Option{
		WithDuplex(), WithPeerSharing(), Serve(chainsync.Responder(chain), blockfetch.Responder(chain)),
		WithRoundTrip(func(time.Duration) { samples <- struct{}{} }),
	}
	ctx, cancel := context.WithCancel(context.Background())
	ln, err := Listen(ctx, "127.0.0.1:0", Preview, opts...)
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- ln.Serve(ctx, nil) }()
	warm, err := Dial(ctx, ln.Addr().String(), Preview, opts...) // pools, code and types
	require.NoError(t, err)
	for range 2 {
		<-samples
	}
	before, beforeG := idleMemory()
	conns := make([]*Conn, n)
	for i := range conns {
		conns[i], err = Dial(ctx, ln.Addr().String(), Preview, opts...)
		require.NoError(t, err)
		require.Equal(t, uint16(15), conns[i].Negotiated().Version)
		require.True(t, conns[i].Negotiated().Duplex() && conns[i].Negotiated().PeerSharing)
	}
	for range 2 * n { // keep-alive has gone round once in both directions on every connection
		<-samples
	}
	after, afterG := idleMemory()
	runtime.KeepAlive(conns)
	for _, c := range append(conns, warm) {
		c.Abort(nil)
	}
	cancel()
	require.NoError(t, <-served)
	require.NoError(t, ln.Close())
	for _, c := range append(conns, warm) {
		require.NoError(t, c.Close())
	}
	return int(after - before), afterG - beforeG
}

// idleMemory is the memory in use after two collections, once goroutines that are just ending have ended.
func idleMemory() (uint64, int) {
	for last := -1; last != runtime.NumGoroutine(); {
		last = runtime.NumGoroutine()
		for range 100 {
			runtime.Gosched()
		}
	}
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse, runtime.NumGoroutine()
}

// An idle duplex connection costs at most two goroutines an end, and 24 KiB of heap and stack for both ends together.
func TestIdleConnection(t *testing.T) {
	const n = 300
	bytes, goroutines := idlePairs(t, n)
	for range 2 { // what else the process holds for a moment only ever adds
		if bytes > n*24<<10 && !raceEnabled {
			bytes, goroutines = idlePairs(t, n)
		}
	}
	require.LessOrEqual(t, goroutines, 4*n)
	if !raceEnabled {
		require.LessOrEqual(t, bytes/n, 24<<10)
	}
	t.Logf("%d bytes and %.2f goroutines a pair", bytes/n, float64(goroutines)/n)
}

// BenchmarkIdleConnection reports the cost of an idle duplex connection over a thousand of them.
func BenchmarkIdleConnection(b *testing.B) {
	const n = 1000
	for b.Loop() {
		bytes, goroutines := idlePairs(b, n)
		b.ReportMetric(float64(bytes)/n, "bytes/pair")
		b.ReportMetric(float64(goroutines)/n, "goroutines/pair")
	}
}
