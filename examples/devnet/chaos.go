package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Bounds of what chaos does.
const (
	chaosEvery   = 3 * time.Second  // one thing after the other, on average
	maxPartition = 10 * time.Second // a longer one is another kind of test
	maxDown      = 8 * time.Second
	maxSlow      = 10 * time.Second
)

// chaos breaks the network until working time is over, and then mends it: every node is up again, nobody is cut off or slow. The
// producer is slowed and cut off like the others, but not killed: without it there is nothing to watch.
func (n *network) chaos(ctx context.Context) error {
	rnd := rand.New(rand.NewPCG(n.c.seed, 0x6368616f73))
	var later sync.WaitGroup
	mending, mend := context.WithCancel(ctx)
	var mu sync.Mutex
	var failed error
	// after undoes something after a while, or when chaos ends.
	after := func(d time.Duration, undo func() error) {
		later.Go(func() {
			select {
			case <-time.After(d):
			case <-mending.Done():
			}
			if ctx.Err() != nil {
				return
			}
			if err := undo(); err != nil {
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
			}
		})
	}
	split := time.Time{} // until when there is a partition
	for ctx.Err() == nil && !n.over() {
		select {
		case <-time.After(chaosEvery/2 + time.Duration(rnd.Int64N(int64(chaosEvery)))):
		case <-n.until():
		case <-ctx.Done():
		}
		if ctx.Err() != nil || n.over() {
			break
		}
		id := rnd.IntN(len(n.members))
		share := func(most time.Duration) time.Duration { return most/4 + time.Duration(rnd.Int64N(int64(most*3/4))) }
		switch what := rnd.IntN(4); {
		case what <= 1 && id != 0 && n.down() < len(n.members)/3:
			d := share(maxDown)
			if err := n.kill(id); errors.Is(err, errDown) {
				continue
			} else if err != nil {
				mend()
				later.Wait()
				return err
			}
			after(d, func() error {
				if n.members[id].up() != nil { // somebody else was faster
					return nil
				}
				return n.restart(id)
			})
		case what == 2 && time.Now().After(split):
			d := share(maxPartition)
			split = time.Now().Add(d)
			n.partition(rnd.Perm(len(n.members))[:1+rnd.IntN(len(n.members)/2)])
			after(d, func() error { n.partition(nil); return nil })
		default:
			n.slow(id, time.Duration(10+rnd.IntN(40))*time.Millisecond)
			after(share(maxSlow), func() error { n.slow(id, 0); return nil })
		}
	}
	mend()
	later.Wait()
	if ctx.Err() != nil {
		return failed
	}
	for _, m := range n.members { // those that somebody has killed by hand, too
		if m.up() == nil {
			failed = errors.Join(failed, n.restart(m.id))
		}
	}
	return failed
}

func (n *network) down() int {
	k := 0
	for _, m := range n.members {
		if m.up() == nil {
			k++
		}
	}
	return k
}

func (n *network) kill(id int) error {
	err := n.members[id].stop(true)
	if err == nil {
		n.say(id, "killed", "")
	}
	return err
}

func (n *network) restart(id int) error {
	err := n.members[id].start(nil)
	if err == nil {
		n.say(id, "restarted", "")
	}
	return err
}

func (n *network) partition(ids []int) {
	n.faults.partition(ids)
	if ids == nil {
		n.say(-1, "healed", "")
		return
	}
	n.say(-1, "partitioned", fmt.Sprint(ids))
}

func (n *network) slow(id int, by time.Duration) {
	n.faults.slowDown(id, by)
	if by == 0 {
		n.say(id, "as fast as before", "")
		return
	}
	n.say(id, "slowed", by.String())
}
