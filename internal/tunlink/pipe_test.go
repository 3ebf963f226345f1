package tunlink

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newPipe(t require.TestingT, p Params, seed uint64) *Pipe {
	pipe, err := NewPipe(p, seed)
	require.NoError(t, err)
	return pipe
}

// TestPacketComesOutAfterItsTime: length ÷ rate to go in, then the delay, one behind the other.
func TestPacketComesOutAfterItsTime(t *testing.T) {
	p := newPipe(t, Params{Delay: 100 * time.Millisecond, Rate: 1000}, 1)
	require.Equal(t, Carried, p.Send(0, make([]byte, 50)))
	require.Equal(t, Carried, p.Send(10*time.Millisecond, make([]byte, 100)))
	require.Equal(t, Carried, p.Send(time.Second, make([]byte, 1)))
	for _, want := range []time.Duration{150 * time.Millisecond, 250 * time.Millisecond, 1101 * time.Millisecond} {
		due, ok := p.Next()
		require.True(t, ok)
		require.Equal(t, want, due)
		_, ok = p.Receive(due-1, nil)
		require.False(t, ok)
		_, ok = p.Receive(due, nil)
		require.True(t, ok)
	}
	_, ok := p.Next()
	require.False(t, ok)
	require.Zero(t, p.Held())
}

// TestFullQueueDrops: what finds more bytes waiting than the queue holds is dropped, and goes in again when they have left.
func TestFullQueueDrops(t *testing.T) {
	p := newPipe(t, Params{Rate: 1000, Queue: 500}, 1)
	for range 6 {
		require.Equal(t, Carried, p.Send(0, make([]byte, 100)), "the last one finds 500 bytes")
	}
	require.Equal(t, Dropped, p.Send(0, make([]byte, 100)))
	require.Equal(t, Dropped, p.Send(99*time.Millisecond, make([]byte, 100)))
	require.Equal(t, Carried, p.Send(100*time.Millisecond, make([]byte, 100)))
	require.Equal(t, Dropped, p.Send(time.Minute, make([]byte, MaxPacket+1)))
	require.Equal(t, Counters{In: 10, Dropped: 3, BytesIn: 900 + MaxPacket + 1}, p.Counters())
}

// TestLossAndJitter: the share of the lost is what was asked for within five standard deviations, delays are spread over the jitter.
func TestLossAndJitter(t *testing.T) {
	const n, loss = 20_000, 0.02
	p := newPipe(t, Params{Delay: 10 * time.Millisecond, Jitter: 4 * time.Millisecond, Loss: loss, Rate: 1 << 33}, 7)
	var sum time.Duration
	carried := 0
	for i := range n {
		now := time.Duration(i) * time.Second
		if p.Send(now, []byte{1}) == Lost {
			continue
		}
		carried++
		due, _ := p.Next()
		require.GreaterOrEqual(t, due-now, 10*time.Millisecond)
		require.LessOrEqual(t, due-now, 14*time.Millisecond+time.Microsecond)
		sum += due - now
		_, ok := p.Receive(due, nil)
		require.True(t, ok)
	}
	require.InDelta(t, n*loss, n-carried, 5*math.Sqrt(n*loss*(1-loss)))
	require.InDelta(t, 12, (sum/time.Duration(carried)).Seconds()*1000, 0.1)
	c := p.Counters()
	require.EqualValues(t, n-carried, c.Lost)
	require.EqualValues(t, carried, c.Out)
}

// TestCutLosesWhatIsOnItsWay: a cut cable carries nothing, a mended one what comes from then on.
func TestCutLosesWhatIsOnItsWay(t *testing.T) {
	p := newPipe(t, Params{Delay: time.Second, Rate: 1000}, 1)
	p.Send(0, []byte("before"))
	p.SetCut(true)
	_, ok := p.Next()
	require.False(t, ok)
	require.Zero(t, p.Held())
	require.Equal(t, Cut, p.Send(0, []byte("during")))
	p.SetCut(false)
	require.Equal(t, Carried, p.Send(time.Second, []byte("after")))
	b, ok := p.Receive(time.Minute, []byte("x "))
	require.True(t, ok)
	require.Equal(t, "x after", string(b))
	require.Equal(t, Counters{In: 3, Out: 1, Cut: 2, BytesIn: 17, BytesOut: 5}, p.Counters())
}

// TestPipeProperties: whatever is sent and received whenever, packets come out whole, in order, no earlier than delay and rate
// allow, none twice and none out of nothing; what is held stays within the bound; the same seed gives the same run.
func TestPipeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		params := Params{
			Delay:  time.Duration(rapid.IntRange(0, 1000).Draw(t, "delay")) * time.Millisecond,
			Jitter: time.Duration(rapid.IntRange(0, 100).Draw(t, "jitter")) * time.Millisecond,
			Loss:   rapid.Float64Range(0, 1).Draw(t, "loss"),
			Rate:   rapid.Int64Range(1, 1_000_000).Draw(t, "rate"),
			Queue:  rapid.IntRange(0, 20_000).Draw(t, "queue"),
		}
		p, twin := newPipe(t, params, 3), newPipe(t, params, 3)
		sent := map[uint32]time.Duration{}
		var now, last time.Duration
		var out uint32
		came := uint32(0) // number of the last one that came out, from 1 on
		for n := uint32(1); n < 200; n++ {
			now += time.Duration(rapid.IntRange(0, 50).Draw(t, "pause")) * time.Millisecond
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				cut := rapid.Bool().Draw(t, "cut")
				p.SetCut(cut)
				twin.SetCut(cut)
			case 1, 2, 3, 4, 5, 6:
				b := binary.BigEndian.AppendUint32(nil, n)
				b = append(b, make([]byte, rapid.IntRange(0, 2000).Draw(t, "size"))...)
				fate := p.Send(now, b)
				require.Equal(t, fate, twin.Send(now, b))
				if fate == Carried {
					sent[n] = now + time.Duration(float64(len(b))/float64(params.Rate)*float64(time.Second))
				}
				clear(b) // it has a copy
			default:
				b, ok := p.Receive(now, nil)
				same, _ := twin.Receive(now, nil)
				require.Equal(t, same, b)
				if !ok {
					break
				}
				number := binary.BigEndian.Uint32(b)
				require.Greater(t, number, came, "in order")
				require.GreaterOrEqual(t, now, sent[number]+params.Delay)
				require.GreaterOrEqual(t, now, last)
				last, came = now, number
				out++
			}
			require.LessOrEqual(t, p.Held(), params.Bound())
			c := p.Counters()
			held := uint64(len(p.queue) - p.first)
			require.Equal(t, c.In, c.Out+c.Lost+c.Dropped+c.Cut+held)
			require.EqualValues(t, out, c.Out)
		}
	})
}

func TestBadParams(t *testing.T) {
	_, err := NewPipe(Params{Delay: -1, Loss: math.NaN(), Queue: -1}, 1)
	for _, what := range []string{"delay", "loss", "rate", "queue"} {
		require.ErrorContains(t, err, what)
	}
}

// TestPipeAllocatesNothing once it has as many buffers as it needs at once.
func TestPipeAllocatesNothing(t *testing.T) {
	p := newPipe(t, Params{Delay: time.Millisecond, Rate: 1 << 30}, 1)
	b, dst := make([]byte, 1500), make([]byte, 0, 1500)
	var now time.Duration
	step := func() {
		now += 100 * time.Microsecond
		p.Send(now, b)
		p.Receive(now, dst)
	}
	for range 100 {
		step()
	}
	require.Zero(t, testing.AllocsPerRun(1000, step))
}
