package pulse

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A spell of ten slow beats among a hundred is found, and is as long as it is.
func TestSpells(t *testing.T) {
	began := time.Now()
	p := &Pulse{stop: make(chan struct{})}
	for i := range 100 {
		p.at, p.took = append(p.at, began.Add(time.Duration(i)*Every)), append(p.took, time.Duration(10+i%10))
	}
	for i := 50; i < 60; i++ {
		p.took[i] *= 10
	}
	s := p.End()
	require.InDelta(t, 0.1, s.Share, 0.001)
	after := func(beats float64) time.Time { return began.Add(time.Duration(beats * float64(Every))) }
	require.False(t, s.Slow(after(-5), after(48.9)))
	require.True(t, s.Slow(after(40), after(49.1)))
	require.True(t, s.Slow(after(54), after(54)))
	require.True(t, s.Slow(after(60), after(70)))
	require.False(t, s.Slow(after(60.1), after(200)))
}

// A watch beats every so often until it is ended, and one that has not beaten has found nothing.
func TestWatch(t *testing.T) {
	now := time.Now()
	s := (&Pulse{stop: make(chan struct{})}).End()
	require.Zero(t, s.Share)
	require.False(t, s.Slow(now, now))
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		p := Feel()
		time.Sleep(10*Every + Every/2)
		p.End()
		require.Len(t, p.took, 10)
		for i, at := range p.at {
			require.Equal(t, time.Duration(i+1)*Every, at.Sub(began))
		}
	})
}

// The work is done, and takes time.
func TestBeat(t *testing.T) {
	p := &Pulse{}
	require.Positive(t, p.beat())
	require.NotZero(t, p.sum)
}
