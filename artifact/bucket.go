package artifact

import "time"

// bucket is a token bucket that holds at most 100 ms of its rate and may go below zero by one piece; rate 0 is unlimited.
type bucket struct {
	rate   float64 // bytes/s
	tokens float64
	at     time.Duration
}

func (b *bucket) fill(now time.Duration) {
	b.tokens = min(b.tokens+b.rate*(now-b.at).Seconds(), b.rate/10)
	b.at = now
}

// ok reports whether something may be sent now.
func (b *bucket) ok(now time.Duration) bool {
	if b.rate == 0 {
		return true
	}
	b.fill(now)
	return b.tokens >= 0
}

// borrow is ok for urgent things, which may take up to 100 ms of the rate in advance.
func (b *bucket) borrow(now time.Duration) bool {
	if b.rate == 0 {
		return true
	}
	b.fill(now)
	return b.tokens >= -b.rate/10
}

func (b *bucket) spend(now time.Duration, n int64) {
	if b.rate > 0 {
		b.fill(now)
		b.tokens -= float64(n)
	}
}

// ready is when ok will be true.
func (b *bucket) ready(now time.Duration) time.Duration {
	if b.ok(now) {
		return now
	}
	return now + time.Duration(-b.tokens/b.rate*float64(time.Second)) + time.Microsecond
}
