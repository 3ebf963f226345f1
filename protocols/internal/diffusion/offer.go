package diffusion

import (
	"context"

	"github.com/hearthnet/hearth/protocols"
)

// Source is what is offered. Its functions are safe for concurrent use.
type Source struct {
	// Next returns the first item whose ticket is greater than after.
	Next func(after uint64) (ticket uint64, id []byte, size int, ok bool)
	// Item returns the item with an id; nil when it is not there any more.
	Item func(id []byte) []byte
	// Changed returns a channel that is closed when an item is added.
	Changed func() <-chan struct{}
	// Once: what there is when the peer has taken everything is all, say Done then instead of waiting for more.
	Once bool
}

// keptBuffer is how much room for messages a connection keeps between two of them.
const keptBuffer = 16 << 10

// offering is one run of the side that owns items.
type offering struct {
	d      *Dialect
	s      *protocols.Session
	src    Source
	box    outbox
	ticket uint64 // of the last one announced
	buf    []byte
}

// Offer runs the side that owns items: it announces each item once, the oldest first, and sends those that are asked for. It returns
// nil when the conversation has come to its end.
func Offer(ctx context.Context, s *protocols.Session, d *Dialect, src Source) error {
	o := &offering{d: d, s: s, src: src, box: outbox{window: d.Window}}
	if d.AskerOpens {
		if _, err := s.Recv(ctx); err != nil { // Init
			return err
		}
	} else if err := s.Send(ctx, d.Init); err != nil {
		return err
	}
	for {
		m, err := s.Recv(ctx)
		switch {
		case err != nil:
			return err
		case m.Tag == d.TagRequestIDs:
			done, err := o.ids(ctx, m.Raw)
			if done || err != nil {
				return err
			}
		case m.Tag == d.TagDone:
			return nil
		default:
			if err := o.items(ctx, m.Raw); err != nil {
				return err
			}
		}
	}
}

// items answers a request for items.
func (o *offering) items(ctx context.Context, msg []byte) error {
	ids, err := o.d.DecodeRequestItems(nil, msg, o.d.Window)
	if err == nil {
		err = o.box.request(ids)
	}
	if err != nil {
		return o.s.Fail(err)
	}
	var items [][]byte
	for _, id := range ids {
		// One that has grown since it was announced would be a violation: it is not there any more.
		if item := o.src.Item(id); item != nil && len(item) <= o.d.MaxItem {
			items = append(items, item)
		}
	}
	return o.reply(ctx, o.d.AppendReplyItems(o.buf[:0], items))
}

func (o *offering) reply(ctx context.Context, msg []byte) error {
	err := o.s.Send(ctx, msg)
	if o.buf = msg; cap(msg) > keptBuffer {
		o.buf = nil
	}
	return err
}

// ids answers a request for ids; done says that it was answered with Done.
func (o *offering) ids(ctx context.Context, msg []byte) (done bool, err error) {
	blocking, ack, req, err := o.d.DecodeRequestIDs(msg)
	if err == nil {
		err = o.box.acknowledge(blocking, ack, req)
	}
	if err != nil {
		return false, o.s.Fail(err)
	}
	for {
		changed := o.src.Changed()
		control, controlled := o.s.Control()
		var ids []Announced
		if control == protocols.Continue {
			ids = o.gather(int(req))
		}
		switch {
		case len(ids) > 0 || !blocking:
			return false, o.reply(ctx, o.d.AppendReplyIDs(o.buf[:0], ids))
		case !o.d.AskerOpens && (control == protocols.Terminate || o.src.Once):
			return true, o.s.Send(ctx, o.d.Done)
		}
		select {
		case <-changed:
		case <-controlled:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-o.s.Done():
			return false, o.s.EndError()
		}
	}
}

// gather announces up to n items. Those that no peer could take are passed over.
func (o *offering) gather(n int) (ids []Announced) {
	for len(ids) < n {
		ticket, id, size, ok := o.src.Next(o.ticket)
		if !ok {
			break
		}
		o.ticket = ticket
		if size <= o.d.MaxItem {
			o.box.announce(id)
			ids = append(ids, Announced{id, size})
		}
	}
	return ids
}
