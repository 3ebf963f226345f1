package connmgr

import (
	"container/list"
	"context"
	"sync"
)

// doorstep is the sockets of a [Listener] whose handshake is under way, oldest first. When there is no place for another one the
// oldest is sent away: it has had the most time, and whoever is honest needs but a moment. So silent sockets keep nobody out.
type doorstep struct {
	mu    sync.Mutex
	limit int
	here  list.List // of context.CancelFunc
}

// enter returns a context for a handshake, which ends when its place is taken, and a function to call when it is over.
func (d *doorstep) enter(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.here.Len() >= d.limit {
		d.here.Remove(d.here.Front()).(context.CancelFunc)()
	}
	place := d.here.PushBack(cancel)
	return ctx, func() {
		d.mu.Lock()
		d.here.Remove(place) // nothing happens if it is gone
		d.mu.Unlock()
		cancel()
	}
}
