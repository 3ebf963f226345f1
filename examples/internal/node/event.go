package node

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"
)

// Event is one thing that the governor decided or saw.
type Event struct {
	At       time.Time
	Name     string // of what happened, "PromoteColdDone"
	Decision string // the rule
	Peers    []netip.AddrPort
	Detail   string // what else it says
	Level    slog.Level
}

// recorder is a log that goes to report and to log. Without a log, errors that are no decisions go to the program's.
type recorder struct {
	report func(Event)  // may be nil
	log    *slog.Logger // may be nil
}

// Enabled implements [slog.Handler].
func (r *recorder) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelError || r.report != nil && level >= slog.LevelInfo || r.log != nil && r.log.Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (r *recorder) Handle(ctx context.Context, rec slog.Record) error {
	e := Event{At: rec.Time, Name: rec.Message, Level: rec.Level}
	rec.Attrs(func(a slog.Attr) bool {
		switch v := a.Value.Any().(type) {
		case []netip.AddrPort:
			e.Peers = v
		default:
			if a.Key == "decision" {
				e.Decision = a.Value.String()
				break
			}
			if e.Detail != "" {
				e.Detail += " "
			}
			e.Detail += fmt.Sprintf("%s=%v", a.Key, v)
		}
		return true
	})
	if r.report != nil {
		r.report(e)
	}
	switch {
	case r.log != nil && r.log.Enabled(ctx, rec.Level):
		return r.log.Handler().Handle(ctx, rec)
	case r.log == nil && e.Decision == "" && rec.Level >= slog.LevelError:
		return slog.Default().Handler().Handle(ctx, rec)
	}
	return nil
}

// WithAttrs and WithGroup implement [slog.Handler]; the governor uses neither.
func (r *recorder) WithAttrs([]slog.Attr) slog.Handler { return r }

// WithGroup implements [slog.Handler].
func (r *recorder) WithGroup(string) slog.Handler { return r }
