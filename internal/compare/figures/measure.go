package figures

import (
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// Meter takes the figures of one run between Start and Stop.
type Meter struct {
	took, cpu time.Duration
	allocs    uint64
	latencies []time.Duration
	rate      float64 // instead of units over took, if set

	began    time.Time
	cpu0     time.Duration
	mallocs0 uint64
}

// Start begins the measurement; what has been set up before does not count.
func (m *Meter) Start() {
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	m.mallocs0, m.cpu0, m.began = s.Mallocs, processorTime(), time.Now()
}

// Stop ends it.
func (m *Meter) Stop() {
	m.took = time.Since(m.began)
	m.cpu = processorTime() - m.cpu0
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	m.allocs = s.Mallocs - m.mallocs0
}

// processorTime is what the process has used so far, kernel included.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Subject is one implementation under one load.
type Subject struct {
	Name string
	// Run does n units of the load, with m started and stopped around the part that counts.
	Run func(m *Meter, n int) error
}

// Row is one load and those that bear it. The first subject is what the others are compared with.
type Row struct {
	Name     string
	Unit     string  // of the rate, such as "MiB/s"
	Scale    float64 // units of the rate in one unit of the load
	Least    int     // units of the load to begin with, and to test with
	Most     int     // units of the load at most; 0: as many as fill the time; 1: one unit, measured once
	Subjects []Subject
}

// Line is what came out for one subject: medians over the rounds.
type Line struct {
	Subject  string
	Rate     float64       // in the row's unit, per second
	Ratio    float64       // to the first subject in the same round
	CPU      time.Duration // processor time for each unit of the load
	CPURatio float64       // to the first subject; steadier than Ratio on a machine that others use
	Allocs   float64       // allocations for each unit of the load
	P50, P99 time.Duration // of latencies, if the load has any, over all rounds
	P99Ratio float64       // to the first subject
}

// Measure runs every subject of the row in turns.
func Measure(r Row, rounds int, about time.Duration) ([]Line, error) {
	if r.Most == 1 {
		rounds = 1
	}
	work := make([]int, len(r.Subjects))
	for i, s := range r.Subjects {
		n, err := r.calibrate(s, about)
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", r.Name, s.Name, err)
		}
		work[i] = n
	}
	type column struct {
		rates, ratios, cpu, allocs []float64
		latencies                  []time.Duration
	}
	columns := make([]column, len(r.Subjects))
	for range rounds {
		var first float64
		for i, s := range r.Subjects {
			runtime.GC() // nobody pays for another's garbage
			var m Meter
			if err := s.Run(&m, work[i]); err != nil {
				return nil, fmt.Errorf("%s, %s: %w", r.Name, s.Name, err)
			}
			n := float64(work[i])
			rate := n * r.Scale / m.took.Seconds()
			if m.rate > 0 {
				rate = m.rate
			}
			if i == 0 {
				first = rate
			}
			c := &columns[i]
			c.rates = append(c.rates, rate)
			c.ratios = append(c.ratios, rate/first)
			c.cpu = append(c.cpu, float64(m.cpu)/n)
			c.allocs = append(c.allocs, float64(m.allocs)/n)
			c.latencies = append(c.latencies, m.latencies...)
		}
	}
	lines := make([]Line, len(r.Subjects))
	for i, c := range columns {
		lines[i] = Line{
			Subject: r.Subjects[i].Name, Rate: median(c.rates), Ratio: median(c.ratios),
			CPU: time.Duration(median(c.cpu)), Allocs: median(c.allocs),
			P50: quantile(c.latencies, 0.50), P99: quantile(c.latencies, 0.99),
		}
		lines[i].CPURatio = float64(lines[i].CPU) / float64(lines[0].CPU)
		if lines[0].P99 > 0 {
			lines[i].P99Ratio = float64(lines[i].P99) / float64(lines[0].P99)
		}
	}
	return lines, nil
}

// calibrate finds how many units take about as long as wanted.
func (r Row) calibrate(s Subject, about time.Duration) (int, error) {
	for n := r.Least; ; {
		if n == r.Most {
			return n, nil
		}
		var m Meter
		if err := s.Run(&m, n); err != nil {
			return 0, err
		}
		factor := min(float64(about)/float64(max(m.took, time.Microsecond)), 20)
		if factor < 1.2 {
			return n, nil
		}
		if n = int(float64(n) * factor); r.Most > 0 {
			n = min(n, r.Most)
		}
		if m.took > about/4 {
			return n, nil
		}
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func quantile(v []time.Duration, q float64) time.Duration {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return v[min(int(q*float64(len(v))), len(v)-1)]
}
