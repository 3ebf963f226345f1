package figures

import (
	"os"
	"sync"
	"testing"
	"time"
)

// BenchmarkSideBySide prints, row after row, Hearth's figures beside the others', and reports the ratios to each row's first subject.
// The iterations that the testing package asks for are rounds.
func BenchmarkSideBySide(b *testing.B) {
	for _, r := range Rows() {
		b.Run(r.Name, func(b *testing.B) {
			lines, err := Measure(r, max(b.N, 3), 200*time.Millisecond)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(0, "ns/op")
			for _, l := range lines[1:] {
				b.ReportMetric(l.Ratio, metric(l.Subject))
			}
			if err := Print(os.Stdout, r, lines); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// thousandIdle is measured once, however often the testing package asks.
var thousandIdle = sync.OnceValues(func() ([]IdleCost, error) {
	costs, err := Idle(1000)
	if err == nil {
		err = PrintIdle(os.Stdout, costs)
	}
	return costs, err
})

// BenchmarkIdle prints what a thousand idle connections cost.
func BenchmarkIdle(b *testing.B) {
	costs, err := thousandIdle()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(0, "ns/op")
	for _, c := range costs {
		b.ReportMetric(c.Bytes/kib, "KiB:"+metric(c.Subject))
		b.ReportMetric(c.Goroutines, "goroutines:"+metric(c.Subject))
	}
}

// metric makes a unit of a name, which must not have spaces.
func metric(name string) string {
	out := []byte(name)
	for i, c := range out {
		if c == ' ' {
			out[i] = '-'
		}
	}
	return string(out)
}
