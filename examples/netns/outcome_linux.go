package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hearthnet/hearth/examples/internal/cli"
)

// verify compares what is at every relay with what was put in, byte by byte; chains by the hashes of blocks, whose bodies were
// checked as they came.
func (s *simulation) verify() error {
	var errs []error
	for _, at := range s.plan.relays {
		for dir, want := range map[string]map[string][]byte{"mempool": s.load.txs, "artifacts": s.load.artifacts} {
			if err := sameFiles(filepath.Join(s.at(at), dir), want); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", at.name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// sameFiles says in what a folder differs from what should be in it.
func sameFiles(dir string, want map[string][]byte) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(list) != len(want) {
		return fmt.Errorf("%d files in %s, want %d", len(list), dir, len(want))
	}
	for file, b := range want {
		got, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return err
		}
		if string(got) != string(b) {
			return fmt.Errorf("%s in %s is not what was put in", file, dir)
		}
	}
	return nil
}

// report makes the report of what has happened, also when it has failed.
func (s *simulation) report(failed error, stdout io.Writer) error {
	if s.track == nil || s.phases.whole.IsZero() {
		return nil // there is nothing to tell
	}
	all, strange := s.track.deliveries()
	var errs []error
	if len(strange) > 0 && failed == nil {
		errs = append(errs, fmt.Errorf("nobody put in %v", strange))
	}
	for i, got := range s.chains {
		if failed == nil && !slices.Equal(got, s.blocks) {
			errs = append(errs, fmt.Errorf("%s has %d blocks, of which not all are those that were made, or not in their order", s.plan.relays[i].name, len(got)))
		}
	}
	born, lacks := s.track.state()
	sum := summary{Event: "summary", Links: "tun", Control: s.world.control, Seconds: time.Since(s.began).Round(time.Second).Seconds(),
		Relays: len(s.plan.relays), Blocks: born[block], Transactions: born[transaction], Artifacts: born[artifact], Cables: s.world.cableRows()}
	if s.world.netem {
		sum.Links = "netem"
	}
	for _, n := range lacks {
		if n == 0 {
			sum.Complete++
		}
	}
	if s.phases.mended.IsZero() { // cut short
		s.phases.cut = time.Time{}
	} else {
		sum.CutSeconds = s.o.cut.Seconds()
	}
	v, err := judge(s.plan, all, s.phases, len(regionNames)-1)
	sum.Diffusion, sum.Paths, sum.Healed = v.diffusion, v.paths, v.healed
	errs = append(errs, err)
	if err := errors.Join(append(errs, failed)...); err != nil {
		sum.Error = err.Error()
	}
	sum.OK = sum.Error == ""
	if s.o.out != "" {
		errs = append(errs, sum.save(s.o.out))
	}
	if s.o.dir != "" {
		errs = append(errs, s.saveDeliveries(all))
	}
	if s.o.json {
		errs = append(errs, s.lines.Write(sum))
	} else {
		errs = append(errs, sum.write(stdout))
	}
	return errors.Join(errs...)
}

// saveDeliveries writes every delivery to a file, one JSON object a line, the earliest birth first.
func (s *simulation) saveDeliveries(all []delivery) error {
	slices.SortFunc(all, func(a, b delivery) int { return cmp.Or(a.born.Compare(b.born), a.seen.Compare(b.seen)) })
	f, err := os.Create(filepath.Join(s.dir, "deliveries.json"))
	if err != nil {
		return err
	}
	where := func(i int) string {
		if i == producerSite {
			return s.plan.producer.name
		}
		return s.plan.relays[i].name
	}
	lines := cli.NewLines(f)
	for _, d := range all {
		err = lines.Write(struct {
			Kind string  `json:"kind"`
			ID   string  `json:"id"`
			From string  `json:"from"`
			To   string  `json:"to"`
			Born float64 `json:"born_s"` // since the start
			Took float64 `json:"took_ms"`
		}{d.kind.String(), d.id, where(d.from), where(d.to), ms(d.born.Sub(s.began)) / 1000, ms(d.seen.Sub(d.born))})
	}
	return errors.Join(err, f.Close())
}
