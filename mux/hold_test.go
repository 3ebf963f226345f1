package mux

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What is held leaves with Flush, in SDUs that it shares, however much it is; but not beyond the egress limit.
func TestHold(t *testing.T) {
	x, y := tcpPair(t)
	p := muxPair(t, x, y, Config{EgressLimit: 100_000}, 5)
	ctx := background(t)
	a, b := p.a.Stream(5, Initiator), p.b.Stream(5, Responder)
	require.Zero(t, a.Uncut())
	require.NoError(t, a.Hold(ctx, DefaultRank, make([]byte, 14), make([]byte, 20_000)))
	require.NoError(t, a.Hold(ctx, DefaultRank, make([]byte, 5), nil))
	require.Equal(t, 20_019, a.Uncut(), "nothing has been cut")
	require.NoError(t, a.Flush())
	_, err := readFull(ctx, b, 20_019)
	require.NoError(t, err)
	require.EqualValues(t, 2, b.Counters().SDUsIn)
	require.NoError(t, a.WaitCut(ctx))
	require.Zero(t, a.Uncut())

	done := make(chan error, 1)
	go func() { done <- a.Hold(ctx, DefaultRank, nil, make([]byte, 250_000)) }()
	_, err = readFull(ctx, b, 150_000) // never more than the limit is held
	require.NoError(t, err)
	require.NoError(t, <-done)
	require.NoError(t, a.WaitCut(ctx))
	_, err = readFull(ctx, b, 100_000)
	require.NoError(t, err)

	in, _ := p.b.Traffic()
	require.Equal(t, 270_019+HeaderSize*b.Counters().SDUsIn, in)
	require.Eventually(t, func() bool { _, out := p.a.Traffic(); return out == in }, 10*time.Second, time.Millisecond,
		"what was written is counted when the bearer has taken it, which may be after it was read")
}
