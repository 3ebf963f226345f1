package diffusion

import (
	"errors"
	"fmt"
)

// The rules that a peer that asks can break (wire §8). They come wrapped in a [*protocols.Error].
var (
	ErrAckedTooMany     = errors.New("acknowledged more than is outstanding")
	ErrRequestedTooMany = errors.New("asked for more than the window")
	ErrRequestedNothing = errors.New("asked for nothing")
	ErrShouldBlock      = errors.New("nothing is outstanding: should have been blocking")
	ErrShouldNotBlock   = errors.New("something is outstanding: should have been non-blocking")
	ErrUnavailable      = errors.New("asked for something that is not outstanding")
	ErrRequestedTwice   = errors.New("asked for the same thing twice")
)

// outbox is what one peer was told of and has not acknowledged: the rules of the side that owns the items, pure.
type outbox struct {
	window int
	fifo   []announced // at most window
}

type announced struct {
	id        string
	requested bool
}

// acknowledge applies a request for ids, and says what is wrong with it.
func (o *outbox) acknowledge(blocking bool, ack, req uint16) error {
	n := len(o.fifo)
	left := n - int(ack)
	switch {
	case left < 0:
		return fmt.Errorf("%w: %d of %d", ErrAckedTooMany, ack, n)
	case left+int(req) > o.window:
		return fmt.Errorf("%w of %d: %d outstanding, %d more", ErrRequestedTooMany, o.window, left, req)
	case blocking && req == 0, !blocking && ack == 0 && req == 0:
		return ErrRequestedNothing
	case blocking && left > 0:
		return fmt.Errorf("%w: %d", ErrShouldNotBlock, left)
	case !blocking && left == 0:
		return ErrShouldBlock
	}
	o.fifo = o.fifo[:copy(o.fifo, o.fifo[ack:])]
	return nil
}

func (o *outbox) announce(id []byte) { o.fifo = append(o.fifo, announced{id: string(id)}) }

// request notes that the items with these ids are asked for. An id that was announced twice may be asked for twice.
func (o *outbox) request(ids [][]byte) error {
	for _, id := range ids {
		known, free := false, -1
		for i, a := range o.fifo {
			if a.id == string(id) {
				known = true
				if !a.requested {
					free = i
					break
				}
			}
		}
		switch {
		case free >= 0:
			o.fifo[free].requested = true
		case known: // the reference does not notice while the id is outstanding (wire §8)
			return fmt.Errorf("%w: %x", ErrRequestedTwice, id)
		default:
			return fmt.Errorf("%w: %x", ErrUnavailable, clip(id))
		}
	}
	return nil
}

// clip bounds what a peer's bytes take in an error.
func clip(id []byte) []byte { return id[:min(len(id), 64)] }
