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

// maxWaiting bounds the events that wait to be written. What comes while so many wait is counted and lost.
const maxWaiting = 8192

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
	shown   page.Log

	mu   sync.Mutex
	lost int
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
	if v.Event != "block" && v.Event != "refused" { // they could soon be all that there is
		e.show(v)
	}
	if e.waiting == nil {
		return
	}
	select {
	case e.waiting <- v:
	default:
		e.mu.Lock()
		e.lost++
		e.mu.Unlock()
	}
}

func (e *events) show(v event) {
	p := page.Event{At: v.At, Name: v.Name, Decision: v.Decision}
	if p.Name == "" {
		p.Name = v.Event
	}
	said := append(append([]string{v.Addr}, v.Peers[:min(len(v.Peers), 20)]...), v.Detail, strings.Join(v.Changes, "; "), v.Error)
	p.Detail = strings.Join(nonEmpty(said), " ")
	e.shown.Add(p)
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
