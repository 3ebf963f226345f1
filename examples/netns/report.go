package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"text/tabwriter"
	"time"
)

// phases are the moments between which a run is different. A run without a cut has neither Cut nor Mended.
type phases struct {
	whole       time.Time // what was born before was for warming up
	cut, mended time.Time
}

// row is how long one kind of thing took to the relays of one region, in milliseconds, nearest rank.
type row struct {
	From   string  `json:"from,omitempty"` // region where it entered; empty: any
	Region string  `json:"region"`
	Kind   string  `json:"kind"`
	Count  int     `json:"deliveries"`
	Min    float64 `json:"min_ms"`
	P50    float64 `json:"p50_ms"`
	P95    float64 `json:"p95_ms"`
	P99    float64 `json:"p99_ms"`
	Max    float64 `json:"max_ms"`
}

// cableRow is what happened to packets on the way from one region to another.
type cableRow struct {
	From    string  `json:"from"`
	To      string  `json:"to"`
	RTT     float64 `json:"rtt_ms"`
	Loss    float64 `json:"loss"` // as asked for
	Packets uint64  `json:"packets"`
	Bytes   uint64  `json:"bytes"`
	Lost    uint64  `json:"lost"`
	Dropped uint64  `json:"dropped"` // no room in the queue
	Cut     uint64  `json:"cut"`
}

// summary is the report.
type summary struct {
	Event        string     `json:"event"`
	OK           bool       `json:"ok"`
	Error        string     `json:"error,omitempty"`
	Links        string     `json:"links"` // tun or netem
	Control      string     `json:"congestion_control"`
	Seconds      float64    `json:"seconds"`
	Relays       int        `json:"relays"`
	Blocks       int        `json:"blocks"`
	Transactions int        `json:"txs"`
	Artifacts    int        `json:"artifacts"`
	Complete     int        `json:"complete"` // relays that have everything
	Diffusion    []row      `json:"diffusion"`
	Paths        []row      `json:"paths"` // the same by where things entered
	CutSeconds   float64    `json:"cut_s"`
	Healed       []row      `json:"healed"` // what the cut held up: time since it was mended, or since birth if that was later
	Cables       []cableRow `json:"cables"`
}

// verdict is what deliveries amount to.
type verdict struct {
	diffusion, paths []row // in a whole network, by region and by pair of regions
	healed           []row // what the cut held up
}

// judge sorts deliveries into those of a whole network and those that the cut held up, which are all that had to cross it from its
// beginning on until the last thing that it held up had arrived. What is impossible is an error.
func judge(p plan, all []delivery, ph phases, isolated int) (v verdict, err error) {
	region := func(i int) int {
		if i == producerSite {
			return p.producer.region
		}
		return p.relays[i].region
	}
	crosses := func(d delivery) bool { return (region(d.from) == isolated) != (region(d.to) == isolated) }
	var over time.Time // the last arrival of what was born before the cable was mended
	for _, d := range all {
		// An artifact's birth is when its gossip process's word of it has come, which may be late on a busy machine.
		if least := p.oneWay(region(d.from), region(d.to)); d.kind != artifact && d.seen.Sub(d.born) < least {
			return v, fmt.Errorf("a %v took %v to %s, and the cables alone take %v", d.kind, d.seen.Sub(d.born), p.relays[d.to].name, least)
		}
		if ph.cut.IsZero() || !crosses(d) || d.born.After(ph.mended) || d.seen.Before(ph.cut) {
			continue
		}
		// Whatever came just after the cut had left its last router before.
		if d.born.After(ph.cut) && d.seen.Before(ph.mended) {
			return v, fmt.Errorf("a %v crossed the cut to %s", d.kind, p.relays[d.to].name)
		}
		if d.seen.After(over) {
			over = d.seen
		}
	}
	diffusion, paths, healed := sample{}, sample{}, sample{}
	for _, d := range all {
		from, to := regionNames[region(d.from)], regionNames[region(d.to)]
		switch {
		case d.born.Before(ph.whole):
		case !ph.cut.IsZero() && crosses(d) && !d.seen.Before(ph.cut) && d.born.Before(over):
			if d.seen.After(ph.mended) {
				since := ph.mended
				if d.born.After(since) {
					since = d.born
				}
				healed.add("", to, d.kind, d.seen.Sub(since))
			}
		default:
			diffusion.add("", to, d.kind, d.seen.Sub(d.born))
			paths.add(from, to, d.kind, d.seen.Sub(d.born))
		}
	}
	return verdict{diffusion.rows(), paths.rows(), healed.rows()}, nil
}

// sample is times by what a row is of.
type sample map[rowOf][]time.Duration

type rowOf struct {
	from, to string
	kind     kind
}

func (s sample) add(from, to string, k kind, d time.Duration) {
	key := rowOf{from, to, k}
	s[key] = append(s[key], d)
}

// rows are in the order of regions, then of kinds.
func (s sample) rows() (rows []row) {
	keys := slices.SortedFunc(maps.Keys(s), func(a, b rowOf) int {
		return cmp.Or(cmp.Compare(a.to, b.to), cmp.Compare(a.kind, b.kind), cmp.Compare(a.from, b.from))
	})
	for _, k := range keys {
		v := s[k]
		slices.Sort(v)
		at := func(q float64) float64 { return ms(v[max(0, int(math.Ceil(q*float64(len(v))))-1)]) }
		rows = append(rows, row{k.from, k.to, k.kind.String(), len(v), at(0), at(0.5), at(0.95), at(0.99), at(1)})
	}
	return rows
}

func ms(d time.Duration) float64 { return math.Round(d.Seconds()*1e4) / 10 }

// write prints the report for people.
func (s summary) write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	table := func(title string, rows []row) {
		fmt.Fprintf(w, "%s\nregion\tkind\tfrom\tdeliveries\tmin\tp50\tp95\tp99\tmax\t\n", title)
		for _, r := range rows {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t\n", r.Region, r.Kind, cmp.Or(r.From, "any"),
				r.Count, r.Min, r.P50, r.P95, r.P99, r.Max)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%d relays, links by %s, TCP with %s, %.0f s: %d blocks, %d transactions, %d artifacts; %d relays have everything\n\n",
		s.Relays, s.Links, s.Control, s.Seconds, s.Blocks, s.Transactions, s.Artifacts, s.Complete)
	table("Time to the relays of a region while all cables are whole, in ms", s.Diffusion)
	table("The same by the region where it entered", s.Paths)
	if s.CutSeconds > 0 {
		table(fmt.Sprintf("What the cut of %.0f s held up: time since it was mended, in ms", s.CutSeconds), s.Healed)
	}
	if len(s.Cables) > 0 {
		fmt.Fprintf(w, "Packets between regions\nfrom\tto\tRTT ms\tpackets\tMB\tlost\tof\tdropped\tcut\t\n")
		for _, c := range s.Cables {
			share := float64(c.Lost) / max(1, float64(c.Packets-c.Cut-c.Dropped))
			fmt.Fprintf(w, "%s\t%s\t%.0f\t%d\t%.1f\t%.2f %%\t%.2f %%\t%d\t%d\t\n", c.From, c.To, c.RTT, c.Packets, float64(c.Bytes)/1e6, share*100, c.Loss*100, c.Dropped, c.Cut)
		}
	}
	return w.Flush()
}

// save writes the report to a file.
func (s summary) save(file string) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o666)
}
