package keepalive

import (
	"sync"
	"time"
)

// The model's constants (wire §10.3).
const (
	initialG   = 500 * time.Millisecond
	perByte    = 2 * time.Microsecond
	timeScale  = 1000 * time.Second
	tieWithin  = 0.05
	activeGain = 0.8
)

// GSV is the model of the way to a peer: G is the time that distance costs, S the time that a byte costs, V what varies. Only G is
// ever measured (wire §10.3).
type GSV struct {
	Out, In OneWay
}

// OneWay is one direction of a [GSV].
type OneWay struct {
	G time.Duration
	S time.Duration // per byte
	V time.Duration
}

// DefaultGSV is what is assumed of a peer that was never measured.
func DefaultGSV() GSV {
	w := OneWay{G: initialG, S: perByte}
	return GSV{w, w}
}

// Expected returns how long a request of req bytes and its response of resp bytes take together.
func (g GSV) Expected(req, resp int) time.Duration {
	return g.Out.G + time.Duration(req)*g.Out.S + g.Out.V + g.In.G + time.Duration(resp)*g.In.S + g.In.V
}

// Distance returns G of both ways, by which peers are ranked.
func (g GSV) Distance() time.Duration { return g.Out.G + g.In.G }

// Less ranks two peers for fetching: nearer first. Distances within 5 % of one another are a tie, which salted hashes of the
// peers decide; a peer that is active already counts as a fifth nearer (wire §10.3).
func Less(a, b GSV, aActive, bActive bool, aHash, bHash uint64) bool {
	weigh := func(g GSV, active bool) float64 {
		d := float64(g.Distance())
		if active {
			d *= activeGain
		}
		return d
	}
	x, y := weigh(a, aActive), weigh(b, bActive)
	if diff := x - y; max(diff, -diff) <= tieWithin*max(x, y) {
		return aHash < bHash
	}
	return x < y
}

// Sample returns the model after a round trip of rtt, measured after since the one before; first says that there was none.
func (g GSV) Sample(rtt, since time.Duration, first bool) GSV {
	if first {
		g.Out.G, g.In.G = rtt/2, rtt/2
		return g
	}
	alpha := min(1, since.Seconds()/timeScale.Seconds())
	move := func(old time.Duration) time.Duration {
		return old + time.Duration(alpha*float64(rtt/2-old))
	}
	g.Out.G, g.In.G = move(g.Out.G), move(g.In.G)
	return g
}

// Latency is what keep-alive knows of one peer. The zero value is ready; it is safe for concurrent use.
type Latency struct {
	// Sampled, if set before use, is told of every round trip. It must not block.
	Sampled func(rtt time.Duration)

	mu  sync.Mutex
	gsv GSV
	rtt time.Duration
	at  time.Time // when the request of the last sample was sent
}

// Read returns the model and the last round trip; ok is false before the first one, when the model is [DefaultGSV].
func (l *Latency) Read() (gsv GSV, rtt time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at.IsZero() {
		return DefaultGSV(), 0, false
	}
	return l.gsv, l.rtt, true
}

// Add takes the round trip of a request that was sent at.
func (l *Latency) Add(rtt time.Duration, at time.Time) {
	if l.Sampled != nil {
		l.Sampled(rtt)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at.IsZero() {
		l.gsv = DefaultGSV().Sample(rtt, 0, true)
	} else {
		l.gsv = l.gsv.Sample(rtt, at.Sub(l.at), false)
	}
	l.rtt, l.at = rtt, at
}
