package governor

import (
	"errors"
	"fmt"
	"time"
)

// Timing holds every delay of the governor, in virtual time. Zero fields take the defaults of [DefaultTiming], which are the
// reference's.
type Timing struct {
	Backoff          time.Duration    // cold to warm: Backoff · 2^min(failures−1, 5) ± BackoffFuzz (5 s; governor §3.5)
	BackoffFuzz      time.Duration    // ± 2 s, also around ErrorDelay after a failed activation
	ErrorDelay       time.Duration    // before an activation that failed is followed by a new connection (10 s)
	ActivationPause  time.Duration    // a failed activation is acted on after this, against busy loops (1 s)
	TrueCold         time.Duration    // how long a failed demotion waits for the connection to be really gone (600 s)
	FailClear        time.Duration    // a peer hot for this long has its failures forgiven (120 s)
	ReconnectFuzz    [2]time.Duration // added to the repromote delay after an asynchronous demotion to cold (0.1–4 s)
	ReactivateFuzz   [2]time.Duration // the same to warm (0.1–10 s)
	ShareRetry       time.Duration    // between two requests to one peer (900 s; governor §3.7)
	ShareActivation  time.Duration    // before the first request to a new connection (300 s)
	ShareBatch       time.Duration    // what arrived by then is used (3 s)
	ShareOverall     time.Duration    // the rest is cancelled then (10 s)
	InboundRetry     time.Duration    // between two looks at inbound peers (60 s)
	SaltLife         time.Duration    // how long the same peers are shared (823 s)
	RootRetry        time.Duration    // unit of 2^n between root requests, n ≤ 8 (1 s; governor §3.8)
	BootstrapTimeout time.Duration    // to reach a state with trusted peers only (900 s; governor §7)
	ChurnHeadStart   time.Duration    // local roots first (3 s; governor §4.2)
	ChurnDeactivate  time.Duration    // time-outs of the steps: 300 s, 121 s, 60 s, 80 s (governor §4.3)
	ChurnClose       time.Duration
	ChurnShort       time.Duration
	ChurnKnown       time.Duration
	ChurnLong        [2]time.Duration // interval and fuzz when caught up (3,300 s, 600 s; governor §4.4)
	ChurnFast        [2]time.Duration // in bulk sync (900 s, 60 s)
	BanFirst         time.Duration    // a ban, doubled with each repetition (10 min; governor §11)
	BanMost          time.Duration    // up to this; an expired entry keeps its level for as long (2 h)
	OutageRetry      time.Duration    // between attempts to reach a peer while the node itself is cut off (10 s)
	SilentLife       time.Duration    // a connection this old must be alive: keep-alive ends a dead one within 97 s (120 s)
	OutageMost       time.Duration    // an outage that lasts longer is taken for dead peers after all (1 h)
}

// DefaultTiming are the reference's constants.
func DefaultTiming() Timing {
	const s = time.Second
	return Timing{
		Backoff: 5 * s, BackoffFuzz: 2 * s, ErrorDelay: 10 * s, ActivationPause: s, TrueCold: 600 * s, FailClear: 120 * s,
		ReconnectFuzz: [2]time.Duration{100 * time.Millisecond, 4 * s}, ReactivateFuzz: [2]time.Duration{100 * time.Millisecond, 10 * s},
		ShareRetry: 900 * s, ShareActivation: 300 * s, ShareBatch: 3 * s, ShareOverall: 10 * s, InboundRetry: 60 * s,
		SaltLife: 823 * s, RootRetry: s, BootstrapTimeout: 900 * s,
		ChurnHeadStart: 3 * s, ChurnDeactivate: 300 * s, ChurnClose: 121 * s, ChurnShort: 60 * s, ChurnKnown: 80 * s,
		ChurnLong: [2]time.Duration{3300 * s, 600 * s}, ChurnFast: [2]time.Duration{900 * s, 60 * s},
		BanFirst: 10 * time.Minute, BanMost: 2 * time.Hour, OutageRetry: 10 * s, SilentLife: 120 * s, OutageMost: time.Hour,
	}
}

// Scaled returns the timing with every delay multiplied by f: a test network at a tenth of the time uses 0.1.
func (t Timing) Scaled(f float64) Timing {
	t = t.filled()
	for _, d := range t.all() {
		*d = time.Duration(float64(*d) * f)
	}
	return t
}

// longest is the longest delay anybody may ask for: sums and multiples of it stay far from overflowing.
const longest = 365 * 24 * time.Hour

// TimingError is a delay that is too long.
type TimingError struct {
	Delay time.Duration
}

// Error names the delay and the longest one that is allowed.
func (e *TimingError) Error() string {
	return fmt.Sprintf("governor: a delay of %v in Timing is longer than %v", e.Delay, longest)
}

// Fault implements the convention for errors that cross a seam: delays are the host's own.
func (e *TimingError) Fault() string { return "internal" }

// Validate reports delays of more than a year, as *TimingError values joined.
func (t Timing) Validate() error {
	var errs []error
	for _, d := range t.all() {
		if *d > longest {
			errs = append(errs, &TimingError{*d})
		}
	}
	return errors.Join(errs...)
}

func (t Timing) filled() Timing {
	d := DefaultTiming()
	have, def := t.all(), d.all()
	for i := range have {
		if *have[i] <= 0 {
			*have[i] = *def[i]
		}
	}
	return t
}

func (t *Timing) all() []*time.Duration {
	return []*time.Duration{
		&t.Backoff, &t.BackoffFuzz, &t.ErrorDelay, &t.ActivationPause, &t.TrueCold, &t.FailClear,
		&t.ReconnectFuzz[0], &t.ReconnectFuzz[1], &t.ReactivateFuzz[0], &t.ReactivateFuzz[1],
		&t.ShareRetry, &t.ShareActivation, &t.ShareBatch, &t.ShareOverall, &t.InboundRetry, &t.SaltLife, &t.RootRetry,
		&t.BootstrapTimeout, &t.ChurnHeadStart, &t.ChurnDeactivate, &t.ChurnClose, &t.ChurnShort, &t.ChurnKnown,
		&t.ChurnLong[0], &t.ChurnLong[1], &t.ChurnFast[0], &t.ChurnFast[1], &t.BanFirst, &t.BanMost, &t.OutageRetry, &t.SilentLife, &t.OutageMost,
	}
}
