package figures

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Rows is the whole comparison, but for [Idle].
func Rows() []Row {
	rows := []Row{}
	for _, streams := range []int{1, 32} {
		for _, size := range []int{1 * kib, 16 * kib, 64 * kib} {
			rows = append(rows, Throughput(size, streams))
		}
	}
	return append(rows, Urgent(), ChainSync(), BlockFetch(), Reassembly(200_000))
}

// Print writes the lines of one row as a table.
func Print(w io.Writer, r Row, lines []Line) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	latencies := lines[0].P99 > 0
	fmt.Fprintf(t, "%s\t%s\tratio\t", r.Name, r.Unit)
	if latencies {
		fmt.Fprint(t, "p50\tp99\tp99 ratio\t")
	} else {
		fmt.Fprint(t, "CPU each\tCPU ratio\tallocs each\t")
	}
	fmt.Fprintln(t)
	for _, l := range lines {
		fmt.Fprintf(t, "%s\t%.4g\t%.3g\t", l.Subject, l.Rate, l.Ratio)
		if latencies {
			fmt.Fprintf(t, "%v\t%v\t%.2f\t", l.P50.Round(time.Microsecond), l.P99.Round(time.Microsecond), l.P99Ratio)
		} else {
			fmt.Fprintf(t, "%v\t%.3g\t%.2f\t", l.CPU.Round(10*time.Nanosecond), l.CPURatio, l.Allocs)
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

// PrintIdle writes what idle connections cost as a table.
func PrintIdle(w io.Writer, costs []IdleCost) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "idle duplex connection, both ends\tKiB\tgoroutines\t")
	for _, c := range costs {
		fmt.Fprintf(t, "%s\t%.1f\t%.2f\t\n", c.Subject, c.Bytes/kib, c.Goroutines)
	}
	return t.Flush()
}
