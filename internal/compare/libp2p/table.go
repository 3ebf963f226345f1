package libp2p

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// Row is one load that all implementations bear in turns.
type Row struct {
	Name string
	run  func(im implementation, about time.Duration) (sample, error)
	mib  float64 // of one delivery, where rates are told in MiB
	kind rowKind
}

type rowKind int

const (
	full    rowKind = iota // the window is full: how much, at what price
	paceRow                // how soon
	besideBulk
)

// Rows is the whole comparison.
func Rows() (rows []Row) {
	for _, size := range []int{256, 1 << 10, 16 << 10, 1 << 20} {
		r := Row{Name: fmt.Sprintf("%d B, window full", size), run: func(im implementation, about time.Duration) (sample, error) {
			return throughput(im, size, about)
		}}
		if size >= 1<<10 {
			r.Name = fmt.Sprintf("%d KiB, window full", size>>10)
		}
		if size >= 16<<10 {
			r.mib = float64(size) / (1 << 20)
		}
		rows = append(rows, r)
	}
	return append(rows,
		Row{Name: "1 KiB at 50 a second", run: latency, kind: paceRow},
		Row{Name: "64 B urgent beside 1 MiB, window full", run: urgent, kind: besideBulk, mib: 1})
}

// Line is what came out for one implementation: medians over the rounds, quantiles over all deliveries.
type Line struct {
	Subject     string
	Rate, Ratio float64       // deliveries a second; to the first implementation's in the same round
	CPU         time.Duration // of a delivery
	CPURatio    float64
	Copies      float64 // bodies received ÷ bodies needed
	Bytes       float64 // bytes received ÷ payload delivered
	P50, P99    time.Duration
	AtSpeed     time.Duration // 99th percentile while the machine was not slow
	Slow        float64       // share of the time when it was, median
	Call        time.Duration // publish, median
	Alone       float64       // rate of bulk ÷ its rate alone
}

// Measure runs the row's load on every implementation in turns.
func Measure(r Row, rounds int, about time.Duration) ([]Line, error) {
	type column struct {
		rates, ratios, cpu, copies, bytes, alone []float64
		slow                                     []float64
		took, atSpeed, calls                     []time.Duration
	}
	cols := make([]column, len(implementations))
	for range rounds {
		var first float64
		for i, im := range implementations {
			s, err := r.run(im, about)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", r.Name, im.name, err)
			}
			if i == 0 {
				first = s.rate
			}
			c := &cols[i]
			c.rates, c.ratios, c.cpu = append(c.rates, s.rate), append(c.ratios, s.rate/first), append(c.cpu, float64(s.cpu))
			c.copies, c.bytes, c.alone = append(c.copies, s.copies), append(c.bytes, s.overhead), append(c.alone, s.rate/max(s.alone, 1e-9))
			c.took, c.calls = append(c.took, s.took...), append(c.calls, s.calls...)
			c.atSpeed, c.slow = append(c.atSpeed, s.atSpeed...), append(c.slow, s.slow)
		}
	}
	lines := make([]Line, len(cols))
	for i, c := range cols {
		lines[i] = Line{
			Subject: implementations[i].name, Rate: median(c.rates), Ratio: median(c.ratios), CPU: time.Duration(median(c.cpu)),
			Copies: median(c.copies), Bytes: median(c.bytes), P50: quantile(c.took, 0.5), P99: quantile(c.took, 0.99),
			AtSpeed: quantile(c.atSpeed, 0.99), Slow: median(c.slow), Call: quantile(c.calls, 0.5), Alone: median(c.alone),
		}
		lines[i].CPURatio = float64(lines[i].CPU) / float64(max(lines[0].CPU, 1))
	}
	return lines, nil
}

// Print writes the lines of one row as a table.
func Print(w io.Writer, r Row, lines []Line) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	unit, scale := "deliveries/s", 1.0
	if r.mib > 0 {
		unit, scale = "MiB/s", r.mib
	}
	us := func(d time.Duration) time.Duration { return d.Round(time.Microsecond) }
	switch r.kind {
	case full:
		fmt.Fprintf(t, "%s\t%s\tratio\tCPU each\tCPU ratio\tcopies\tbytes ÷ payload\t\n", r.Name, unit)
	case paceRow:
		fmt.Fprintf(t, "%s\tp50\tp99\tp99 at speed\tmachine slow\tpublish\tCPU each\tcopies\tbytes ÷ payload\t\n", r.Name)
	case besideBulk:
		fmt.Fprintf(t, "%s\tp50\tp99\tbulk %s\tbulk ÷ alone\t\n", r.Name, unit)
	}
	for _, l := range lines {
		switch r.kind {
		case full:
			fmt.Fprintf(t, "%s\t%.4g\t%.2f\t%v\t%.2f\t%.3f\t%.3f\t\n", l.Subject, l.Rate*scale, l.Ratio, us(l.CPU), l.CPURatio, l.Copies, l.Bytes)
		case paceRow:
			fmt.Fprintf(t, "%s\t%v\t%v\t%v\t%.1f %%\t%v\t%v\t%.3f\t%.3f\t\n", l.Subject, us(l.P50), us(l.P99), us(l.AtSpeed), 100*l.Slow, us(l.Call), us(l.CPU), l.Copies, l.Bytes)
		case besideBulk:
			fmt.Fprintf(t, "%s\t%v\t%v\t%.4g\t%.2f\t\n", l.Subject, us(l.P50), us(l.P99), l.Rate*scale, l.Alone)
		}
	}
	return t.Flush()
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
