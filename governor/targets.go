package governor

import (
	"errors"
	"fmt"
)

// Targets are the seven numbers the governor works towards (governor §1.3). Known, Established and Active include local roots and
// exclude big ledger peers, which have a triple of their own. Roots is one-sided: below it more roots are asked for, above it
// nothing happens; big ledger peers count as roots.
type Targets struct {
	Roots, Known, Established, Active                     int
	KnownBigLedger, EstablishedBigLedger, ActiveBigLedger int
}

// Limits bound the targets and the work of one step. Zero fields take the defaults of [DefaultLimits].
type Limits struct {
	Active, Established, Known int // ceilings of both triples of Targets: 100, 1,000, 10,000 (governor §1.3)
	Candidates                 int // candidates shown to a policy which is no Sampler, plus 4 for each peer to pick: 512
	Answer                     int // peers taken from one answer of a root source: 10,000
	Decisions                  int // decisions of one step before it is cut off and continued at once: 100,000
}

// DefaultLimits are the reference's ceilings (governor §1.3).
func DefaultLimits() Limits {
	return Limits{Active: 100, Established: 1000, Known: 10_000, Candidates: 512, Answer: 10_000, Decisions: 100_000}
}

func (l Limits) filled() Limits {
	d := DefaultLimits()
	for _, f := range []struct{ have, def *int }{
		{&l.Active, &d.Active}, {&l.Established, &d.Established}, {&l.Known, &d.Known},
		{&l.Candidates, &d.Candidates}, {&l.Answer, &d.Answer}, {&l.Decisions, &d.Decisions},
	} {
		if *f.have <= 0 {
			*f.have = *f.def
		}
	}
	return l
}

// TargetError is one reason why targets are refused.
type TargetError struct {
	Field string // the field of Targets
	Value int    // what was asked for
	Bound int    // what it may be at most, or at least when Least
	Of    string // where the bound comes from
	Least bool
}

// Error names the target, its value, and the bound with where it comes from.
func (e *TargetError) Error() string {
	than := "above"
	if e.Least {
		than = "below"
	}
	return fmt.Sprintf("governor: target %s = %d is %s %s = %d", e.Field, e.Value, than, e.Of, e.Bound)
}

// Fault implements the convention for errors that cross a seam: targets are the host's own.
func (e *TargetError) Fault() string { return "internal" }

// Validate reports every field that breaks 0 ≤ active ≤ established ≤ known, 0 ≤ roots ≤ known, or a limit, as *TargetError values
// joined (governor §1.3).
func (t Targets) Validate(l Limits) error {
	l = l.filled()
	var errs []error
	check := func(field string, v int, of string, bound int) {
		if v < 0 {
			errs = append(errs, &TargetError{Field: field, Value: v, Of: "zero", Least: true})
		}
		if v > bound {
			errs = append(errs, &TargetError{Field: field, Value: v, Of: of, Bound: bound})
		}
	}
	check("Active", t.Active, "Established", t.Established)
	check("Established", t.Established, "Known", t.Known)
	check("Roots", t.Roots, "Known", t.Known)
	check("ActiveBigLedger", t.ActiveBigLedger, "EstablishedBigLedger", t.EstablishedBigLedger)
	check("EstablishedBigLedger", t.EstablishedBigLedger, "KnownBigLedger", t.KnownBigLedger)
	check("Active", t.Active, "Limits.Active", l.Active)
	check("ActiveBigLedger", t.ActiveBigLedger, "Limits.Active", l.Active)
	check("Established", t.Established, "Limits.Established", l.Established)
	check("EstablishedBigLedger", t.EstablishedBigLedger, "Limits.Established", l.Established)
	check("Known", t.Known, "Limits.Known", l.Known)
	check("KnownBigLedger", t.KnownBigLedger, "Limits.Known", l.Known)
	return errors.Join(errs...)
}

// sane is the order alone: the core accepts any ordered triple.
func (t Targets) sane() bool {
	return 0 <= t.Active && t.Active <= t.Established && t.Established <= t.Known && 0 <= t.Roots && t.Roots <= t.Known &&
		0 <= t.ActiveBigLedger && t.ActiveBigLedger <= t.EstablishedBigLedger && t.EstablishedBigLedger <= t.KnownBigLedger
}

// String is one line, the big ledger targets as known/established/active: "roots=60 known=85 established=40 active=15 big=15/10/5".
func (t Targets) String() string {
	return fmt.Sprintf("roots=%d known=%d established=%d active=%d big=%d/%d/%d", t.Roots, t.Known, t.Established, t.Active,
		t.KnownBigLedger, t.EstablishedBigLedger, t.ActiveBigLedger)
}
