package mux

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestOneWay feeds a synthetic path whose G, S and V are known, with clocks that share no epoch; the sender's wraps inside the
// first window, in the middle of a later one, and never.
func TestOneWay(t *testing.T) {
	for _, remote := range []uint32{1 << 20, 0xffff_ffff, 0xffff_fff0 - 5_000_000, 0xffff_ffff - 25_000_000} {
		rnd := rand.New(rand.NewPCG(1, uint64(remote)))
		const (
			g    = 40 * time.Millisecond // of no consequence: the clocks differ by more
			s    = 80 * time.Nanosecond  // a byte, 100 Mbit/s
			skew = 1234 * time.Hour
		)
		sizes := []int{64, 1000, 4096, 12_288}
		var o OneWay
		_, ok := o.Estimate()
		require.False(t, ok)
		var vs []float64
		var first time.Duration // delay of the window's first SDU, beyond G
		var windows []OneWayEstimate
		base := 0.0
		sent := time.Duration(0)
		for i := 0; len(windows) < 3; i++ {
			v := time.Duration(0)
			if i%8 >= 4 { // half of each size are delayed
				v = time.Duration(rnd.IntN(10_000)) * time.Microsecond
			}
			size := sizes[i%4]
			beyond := time.Duration(size)*s + v
			stamp := remote + uint32(sent/time.Microsecond)
			o.Observe(stamp, skew+sent+g+beyond, size)
			if e, ok := o.Estimate(); ok && (len(windows) == 0 || e.Start != windows[len(windows)-1].Start) {
				windows = append(windows, e)
				base = first.Seconds()
				mean, sq := 0.0, 0.0
				for _, v := range vs {
					mean += v / float64(len(vs))
				}
				for _, v := range vs {
					sq += (v - mean) * (v - mean) / float64(len(vs))
				}
				require.Equal(t, len(vs), e.SDUs)
				require.Equal(t, 4, e.Sizes)
				require.Zero(t, e.Ignored)
				require.InDelta(t, s.Seconds(), e.S, 1e-12)
				require.InDelta(t, -base, e.G, 1e-9, "relative to the first SDU")
				require.InDelta(t, mean, e.VMean, 1e-9)
				require.InDelta(t, sq, e.VVar, 1e-9)
				vs = vs[:0]
			}
			if len(vs) == 0 {
				first = beyond
			}
			vs = append(vs, v.Seconds())
			sent += 10 * time.Millisecond
		}
		require.InDelta(t, 10, (windows[1].Start - windows[0].Start).Seconds(), 0.05)
	}
}

// TestOneWayBounds: one size gives no slope; sizes beyond the bound are counted, not kept.
func TestOneWayBounds(t *testing.T) {
	var o OneWay
	for i := range 11 {
		o.Observe(uint32(i)*1e6, time.Duration(i)*time.Second+time.Duration(i%2)*time.Millisecond, 100)
	}
	e, ok := o.Estimate()
	require.True(t, ok)
	require.Equal(t, OneWayEstimate{SDUs: 10, Sizes: 1, VMean: e.VMean, VVar: e.VVar}, e)
	require.InDelta(t, 0.0005, e.VMean, 1e-9)
	require.InDelta(t, 0.0005*0.0005, e.VVar, 1e-12)

	o = OneWay{}
	for i := range 1000 {
		o.Observe(0, 0, i+1)
	}
	require.Len(t, o.sizes, oneWaySizes)
	require.Len(t, o.index, oneWaySizes)
	o.Observe(0, time.Hour, 1)
	e, _ = o.Estimate()
	require.Equal(t, 1000-oneWaySizes, e.Ignored)
	require.Equal(t, oneWaySizes, e.SDUs)
	require.Len(t, o.sizes, 1)
}

// TestOneWayOverAMux wires it to a multiplexer as a host does.
func TestOneWayOverAMux(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := memPair(1 << 16)
		var o OneWay
		p := muxPair(t, x, y, Config{Arrived: o.Observe}, 1)
		for range 12 {
			require.NoError(t, p.a.Stream(1, Initiator).Send(t.Context(), make([]byte, 100)))
			_, err := readFull(t.Context(), p.b.Stream(1, Responder), 100)
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		e, ok := o.Estimate()
		require.True(t, ok)
		require.Equal(t, 10, e.SDUs)
		require.Zero(t, e.VMean)
		require.Zero(t, e.G)
	})
}
