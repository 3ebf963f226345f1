package main

import (
	"context"
	"encoding/hex"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/internal/cli"
	"github.com/hearthnet/hearth/examples/internal/node"
	"github.com/hearthnet/hearth/examples/internal/page"
)

// Bounds: events that the page can show, and that wait to be written. What comes while so many wait is counted and lost.
const (
	maxShown   = 2000
	maxWaiting = 8192
)

// event is a line of -json. Which fields there are depends on what it tells.
type event struct {
	Event    string    `json:"event"` // listening, decision, connection, refused, block, topology, lost
	At       time.Time `json:"at"`
	Name     string    `json:"name,omitempty"`     // of a decision; connected, accepted or disconnected
	Decision string    `json:"decision,omitempty"` // the rule
	Peers    []string  `json:"peers,omitempty"`
	Addr     string    `json:"addr,omitempty"` // ours, or the peer's
	Duplex   bool      `json:"duplex,omitempty"`
	Slot     uint64    `json:"slot,omitempty"`
	Hash     string    `json:"hash,omitempty"`
	Block    uint64    `json:"block,omitempty"`
	Bytes    int       `json:"bytes,omitempty"`
	Changes  []string  `json:"changes,omitempty"` // of the topology
	Detail   string    `json:"detail,omitempty"`
	Error    string    `json:"error,omitempty"`
	Lost     int       `json:"lost,omitempty"` // events that could not be written in time
}

// events is what has happened: the latest for the page, and all on their way to stdout.
type events struct {
	lines   *cli.Lines
	waiting chan event // nil: nobody wants them

	mu    sync.Mutex
	lost  int
	shown []page.Event // a ring
	count uint64       // of all that were ever shown
}

// newEvents returns events that are written to out; with a nil out they are only shown.
func newEvents(out io.Writer) *events {
	e := &events{lines: cli.NewLines(out)}
	if out != nil {
		e.waiting = make(chan event, maxWaiting)
	}
	return e
}

// flush writes what waits.
func (e *events) flush() error {
	for len(e.waiting) > 0 {
		if err := e.lines.Write(<-e.waiting); err != nil {
			return err
		}
	}
	return nil
}

// write writes events until ctx ends. It fails when stdout does.
func (e *events) write(ctx context.Context) error {
	for {
		var next event
		select {
		case next = <-e.waiting:
		case <-ctx.Done():
			return nil
		}
		if err := e.lines.Write(next); err != nil {
			return err
		}
		e.mu.Lock()
		lost := e.lost
		e.lost = 0
		e.mu.Unlock()
		if lost > 0 {
			if err := e.lines.Write(event{Event: "lost", At: time.Now(), Lost: lost}); err != nil {
				return err
			}
		}
	}
}

// add takes an event. It never waits.
func (e *events) add(v event) {
	if v.At.IsZero() {
		v.At = time.Now()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if v.Event != "block" && v.Event != "refused" { // they could soon be all that there is
		e.show(v)
	}
	if e.waiting == nil {
		return
	}
	select {
	case e.waiting <- v:
	default:
		e.lost++
	}
}

func (e *events) show(v event) {
	e.count++
	p := page.Event{Number: e.count, At: v.At, Name: v.Name, Decision: v.Decision}
	if p.Name == "" {
		p.Name = v.Event
	}
	said := append(append([]string{v.Addr}, v.Peers[:min(len(v.Peers), 20)]...), v.Detail, strings.Join(v.Changes, "; "), v.Error)
	p.Detail = strings.Join(nonEmpty(said), " ")
	if len(e.shown) < maxShown {
		e.shown = append(e.shown, p)
		return
	}
	e.shown[(e.count-1)%maxShown] = p
}

func nonEmpty(all []string) []string {
	kept := all[:0]
	for _, s := range all {
		if s != "" {
			kept = append(kept, s)
		}
	}
	return kept
}

// after returns the events after a number, as far as they are kept, at most the latest limit.
func (e *events) after(number uint64, limit int) []page.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	first := max(number, e.count-uint64(len(e.shown)), e.count-min(e.count, uint64(limit)))
	out := make([]page.Event, 0, e.count-min(e.count, first))
	for i := first; i < e.count; i++ {
		out = append(out, e.shown[i%maxShown])
	}
	return out
}

func (e *events) decided(d node.Event) {
	v := event{Event: "decision", At: d.At, Name: d.Name, Decision: d.Decision, Detail: d.Detail}
	for _, p := range d.Peers {
		v.Peers = append(v.Peers, p.String())
	}
	e.add(v)
}

func (e *events) refused(r *connmgr.Refusal) {
	e.add(event{Event: "refused", Addr: r.Remote.String(), Error: r.Error()})
}

func (e *events) adopted(b node.Block) {
	e.add(event{Event: "block", Addr: b.From, Slot: b.Point.Slot, Hash: hex.EncodeToString(b.Point.Hash[:]), Block: b.Number, Bytes: b.Bytes})
}
