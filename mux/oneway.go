package mux

import (
	"sync"
	"time"
)

// OneWay estimates the one-way delay of what arrives, from the sender's timestamps (wire §2.10). Give its Observe to
// [Config.Arrived]. The zero value is ready; all methods may be called from any goroutine. It is informational: a peer can send
// any timestamps it likes, and nothing else depends on it.
//
// Clocks of two hosts share no epoch, so delays are relative: the first SDU of each window of 10 s has delay 0 by definition.
// It holds at most 256 different sizes a window, about 16 KiB; SDUs of further sizes are ignored until the next one.
type OneWay struct {
	mu      sync.Mutex
	began   bool
	start   time.Duration // local time of the window's first SDU
	remote  uint32        // and its timestamp
	sizes   []delays      // in order of first arrival
	index   map[int]int   // size to its place there
	ignored int
	last    OneWayEstimate
	ready   bool
}

// delays are the sums over all SDUs of one size.
type delays struct {
	size                int
	count               int
	least, sum, squares float64 // seconds, and seconds squared
}

const (
	oneWayWindow = 10 * time.Second
	oneWaySizes  = 256
)

// OneWayEstimate is what one window told. Delay is modelled as G + S × size + V: a geographic part that is the same for all, a
// part that grows with the size, and a variable part.
type OneWayEstimate struct {
	Start   time.Duration // local time of the window's first SDU
	G       float64       // seconds, relative to the window's first SDU, so it may be negative
	S       float64       // seconds per byte of payload; 0 when all SDUs had one size
	VMean   float64       // mean of V, seconds
	VVar    float64       // variance of V, seconds squared
	SDUs    int           // SDUs counted
	Sizes   int           // different sizes among them
	Ignored int           // SDUs not counted since there were too many sizes
}

// Observe takes in one SDU: the timestamp it carries, the local monotonic time at which it was whole, and its payload's size in
// bytes. An SDU that arrives 10 s or more after the window's first one ends that window and begins the next.
func (o *OneWay) Observe(remote uint32, local time.Duration, size int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.began && local-o.start >= oneWayWindow {
		o.last, o.ready = o.estimate(), true
		o.began = false
	}
	if !o.began {
		o.began, o.start, o.remote = true, local, remote
		o.sizes, o.ignored = o.sizes[:0], 0
		if o.index == nil {
			o.index = make(map[int]int)
		}
		clear(o.index)
	}
	// The difference of two 32-bit clocks is right across their wrap, every 71.6 minutes, as long as it is short.
	sent := time.Duration(int32(remote-o.remote)) * time.Microsecond
	transit := (local - o.start - sent).Seconds()
	i, known := o.index[size]
	if !known {
		if len(o.sizes) == oneWaySizes {
			o.ignored++
			return
		}
		i = len(o.sizes)
		o.index[size] = i
		o.sizes = append(o.sizes, delays{size: size, least: transit})
	}
	d := &o.sizes[i]
	d.count++
	d.least = min(d.least, transit)
	d.sum += transit
	d.squares += transit * transit
}

// Estimate returns what the last whole window told; false before the first one has ended.
func (o *OneWay) Estimate() (OneWayEstimate, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last, o.ready
}

// estimate fits a line through the least delay of each size; what SDUs took beyond that line is V.
func (o *OneWay) estimate() OneWayEstimate {
	e := OneWayEstimate{Start: o.start, Sizes: len(o.sizes), Ignored: o.ignored}
	n := float64(len(o.sizes))
	var meanSize, meanLeast float64
	for _, d := range o.sizes {
		meanSize += float64(d.size) / n
		meanLeast += d.least / n
	}
	var cov, varSize float64
	for _, d := range o.sizes {
		dx := float64(d.size) - meanSize
		cov += dx * (d.least - meanLeast)
		varSize += dx * dx
	}
	if varSize > 0 {
		e.S = cov / varSize
	}
	e.G = meanLeast - e.S*meanSize
	var sum, sq float64
	for _, d := range o.sizes {
		c, line := float64(d.count), e.G+e.S*float64(d.size)
		sum += d.sum - c*line
		sq += d.squares - 2*line*d.sum + c*line*line
		e.SDUs += d.count
	}
	e.VMean = sum / float64(e.SDUs)
	e.VVar = max(sq/float64(e.SDUs)-e.VMean*e.VMean, 0)
	return e
}
