package artifact

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// takeMax is how many artifacts are given to a validator at a time: what is urgent and comes while it works waits for it.
const takeMax = 64

// client runs one kind: it moves assembled artifacts into the pool, asks the Client what should change, applies that, and tells
// the core the verdicts. The shell runs it on one goroutine; the simulator calls it directly.
type client[T any] struct {
	kind    Kind[T]
	cfg     KindConfig
	pool    *Pool[T]
	host    Client[T]
	bouncer func(id ID, attr []byte) Interest
	sinks   func(id ID) Body
	// do runs f on the core, exclusively, and carries out the effects afterwards.
	do func(f func(c *Core, now time.Duration))
}

func newClient[T any](k Kind[T], host Client[T], do func(func(*Core, time.Duration))) *client[T] {
	c := &client[T]{kind: k, cfg: k.config(), host: host, do: do}
	c.pool = NewPool(&c.kind)
	c.bounce()
	return c
}

func (c *client[T]) bounce() {
	c.bouncer = c.host.Bouncer(c.pool)
	if c.bouncer == nil {
		c.bouncer = func(ID, []byte) Interest { return Wants(Normal) }
	}
}

// step takes what is assembled and runs the Client once. more: call again at once.
func (c *client[T]) step() (more bool, err error) {
	var us []Unjudged
	c.do(func(core *Core, now time.Duration) {
		core.now = now
		us, more = core.con.Take(c.cfg.ID, takeMax)
	})
	for i := range us {
		c.insert(&us[i])
	}
	err = c.change(c.host.OnChange(c.pool))
	c.pool.sweep()
	return more, err
}

// insert decodes one artifact and puts it into the unvalidated section. What cannot be decoded is invalid for ever; an attr
// that is not the body's own is replaced, and those who sent it are blamed.
func (c *client[T]) insert(u *Unjudged) {
	var v T
	var err error
	switch {
	case u.Body != nil:
		v, err = c.kind.Decode(u.Body)
	case c.kind.DecodeFile != nil:
		v, err = c.kind.DecodeFile(u.ID, u.Size, u.Attr)
	}
	if err != nil {
		c.do(func(core *Core, now time.Duration) { core.Reject(now, u.ID, true) })
		return
	}
	attr := c.kind.attrOf(v)
	if !bytes.Equal(attr, u.Attr) {
		c.do(func(core *Core, now time.Duration) { core.Reattr(now, u.ID, attr) })
		switch in := c.bouncer(u.ID, attr); {
		case in == NotWanted:
			c.do(func(core *Core, now time.Duration) { core.Reject(now, u.ID, false) })
			return
		case in >= MaybeLater:
			c.do(func(core *Core, now time.Duration) { core.Defer(now, u.ID) })
		}
	}
	c.pool.Insert(Entry[T]{ID: u.ID, Attr: attr, Value: v, Class: u.Class, Size: u.Size})
}

// change applies a list of changes and carries out what follows in one step of the core.
func (c *client[T]) change(changes []Change[T]) error {
	if len(changes) == 0 {
		return nil
	}
	out, err := c.pool.Apply(changes)
	c.bounce()
	var full error
	var lost []ID
	tell := func(core *Core, now time.Duration, t *Transmit) {
		switch t.Op {
		case AddToValidated:
			if e := core.Publish(now, t.Artifact); e != nil {
				full = e
				lost = append(lost, t.ID)
			}
		case MoveToValidated:
			var at Body
			if c.sinks != nil {
				at = c.sinks(t.ID)
			}
			core.Validate(now, t.ID, t.Attr, at)
		case RemoveFromValidated:
			core.Remove(now, t.ID)
		case RemoveFromUnvalidated:
			core.Reject(now, t.ID, false)
		case HandleInvalid:
			core.Reject(now, t.ID, true)
		case Defer:
			core.Defer(now, t.ID)
		}
		for _, id := range t.Requeue {
			core.Requeue(now, id)
		}
	}
	c.do(func(core *Core, now time.Duration) {
		core.together(func() {
			for i := range out {
				tell(core, now, &out[i])
			}
		})
	})
	for _, id := range lost {
		c.pool.validated.remove(id)
	}
	for i := range changes {
		if changes[i].Op == PurgeBelow {
			c.refresh(nil, changes[i].Purge)
		}
	}
	return errors.Join(err, full)
}

// refresh asks the bouncer anew about everything that is held. What purge names is not wanted.
func (c *client[T]) refresh(filter []byte, purge func(ID, []byte) bool) {
	c.bounce()
	var held []HeldOffer
	c.do(func(core *Core, now time.Duration) { held = core.Held(c.cfg.ID) })
	ins := make([]Interest, len(held))
	for i, h := range held {
		if purge != nil && purge(h.ID, h.Attr) {
			ins[i] = NotWanted
		} else {
			ins[i] = c.bouncer(h.ID, h.Attr)
		}
	}
	c.do(func(core *Core, now time.Duration) { core.Refresh(now, c.cfg.ID, held, ins, filter) })
}

// dropped is an artifact that the core gave up: it leaves the unvalidated section.
func (c *client[T]) dropped(id ID) { c.pool.Remove(id) }

// matched filters parked offers for a peer's reoffer.
func (c *client[T]) matched(filter []byte, ps []parkedSlot) (out []parkedSlot) {
	if c.kind.Match == nil {
		return ps
	}
	for _, p := range ps {
		if c.kind.Match(filter, p.attr) {
			out = append(out, p)
		}
	}
	return out
}

// check finds what a Kind lacks.
func (c *client[T]) check() error {
	if c.kind.Encode == nil || c.kind.Decode == nil {
		return fmt.Errorf("artifact: kind %d has no codec", c.cfg.ID)
	}
	if c.kind.Relay == AfterHeader && c.kind.Header == nil {
		return fmt.Errorf("artifact: kind %d relays after the header but has no Header", c.cfg.ID)
	}
	return nil
}
