package figures

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"runtime"
	"time"

	ouroboros "github.com/blinklabs-io/gouroboros"
	"github.com/hashicorp/yamux"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/protocols/peersharing"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

// IdleCost is what one idle connection takes, both ends together.
type IdleCost struct {
	Subject    string
	Bytes      float64 // of heap and stacks
	Goroutines float64
}

// Idle measures idle duplex connections: handshake done, keep-alive running both ways, every other responder armed and not started,
// no initiator at work. The bytes are the growth of heap and stacks after two collections, over that many pairs of ends; of gouroboros, which
// takes a megabyte, a tenth as many.
func Idle(pairs int) ([]IdleCost, error) {
	var costs []IdleCost
	for _, s := range []struct {
		name  string
		pairs int
		make  func(n int) (ready, end func() error, err error)
	}{
		{"hearth", pairs, idleHearth},
		{"hashicorp yamux", pairs, idleYamux},
		{"gouroboros", max(pairs/10, 1), idleTheirs},
	} {
		c, err := idleCost(s.pairs, s.make)
		if err != nil {
			return nil, err
		}
		c.Subject = s.name
		costs = append(costs, c)
	}
	return costs, nil
}

func footprint() (bytes uint64, goroutines int) {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc + s.StackInuse, runtime.NumGoroutine()
}

func idleCost(n int, connect func(n int) (ready, end func() error, err error)) (IdleCost, error) {
	_, end, err := connect(4) // what is set up once, pools among it
	if err != nil {
		return IdleCost{}, err
	}
	if err := end(); err != nil {
		return IdleCost{}, err
	}
	bytes, goroutines := settled()
	ready, end, err := connect(n)
	if err != nil {
		return IdleCost{}, err
	}
	if err := ready(); err != nil {
		return IdleCost{}, errors.Join(err, end())
	}
	b, g := settled()
	c := IdleCost{Bytes: (float64(b) - float64(bytes)) / float64(n), Goroutines: float64(g-goroutines) / float64(n)}
	return c, end()
}

// settled is the footprint once the goroutines of what has just happened are gone: it waits while their number falls.
func settled() (bytes uint64, goroutines int) {
	last := runtime.NumGoroutine()
	for same := 0; same < 10; {
		time.Sleep(5 * time.Millisecond)
		now := runtime.NumGoroutine()
		if now == last {
			same++
		} else {
			last, same = now, 0
		}
	}
	return footprint()
}

// nothing has no peers to tell of.
type nothing struct{}

// Shareable implements peersharing.Sharer.
func (nothing) Shareable(int) []netip.AddrPort { return nil }

func idleHearth(n int) (ready, end func() error, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	options := []connmgr.Option{
		connmgr.WithDuplex(), connmgr.WithPeerSharing(),
		connmgr.Serve(
			chainsync.Responder(madeChain()), blockfetch.Responder(blockSource{}), peersharing.Responder(nothing{}),
			txsubmission.NewInbound(nil, txsubmission.Limits{}).Responder(),
		),
	}
	l, err := connmgr.Listen(ctx, "127.0.0.1:0", network, options...)
	if err != nil {
		return nil, nil, err
	}
	var conns []*connmgr.Conn
	end = func() error {
		for _, c := range conns {
			c.Abort(nil)
		}
		for _, c := range conns {
			c.Close()
		}
		return l.Close()
	}
	for range n {
		near, err := connmgr.Dial(ctx, l.Addr().String(), network, options...)
		if err != nil {
			return nil, nil, errors.Join(err, end())
		}
		far, err := l.Accept(ctx)
		if err != nil {
			return nil, nil, errors.Join(err, end())
		}
		conns = append(conns, near, far)
	}
	ready = func() error {
		for _, c := range conns {
			for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
				if _, _, ok := c.Latency(); ok {
					break
				}
				if c.Err() != nil || time.Now().After(deadline) {
					return errors.Join(errors.New("no keep-alive"), c.Err())
				}
			}
		}
		return nil
	}
	return ready, end, nil
}

func idleYamux(n int) (ready, end func() error, err error) {
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	var open []io.Closer
	end = func() error {
		for _, c := range open {
			c.Close()
		}
		return nil
	}
	for range n {
		near, far, err := tcpPair()
		if err != nil {
			return nil, nil, errors.Join(err, end())
		}
		a, err := yamux.Client(near, config)
		if err != nil {
			return nil, nil, errors.Join(err, end())
		}
		b, err := yamux.Server(far, config)
		if err != nil {
			return nil, nil, errors.Join(err, end())
		}
		open = append(open, a, b)
	}
	return func() error { return nil }, end, nil
}

func idleTheirs(n int) (ready, end func() error, err error) {
	var open []*ouroboros.Connection
	end = func() error {
		for _, c := range open {
			c.Close()
		}
		return nil
	}
	options := []ouroboros.ConnectionOptionFunc{
		ouroboros.WithFullDuplex(true), ouroboros.WithPeerSharing(true), ouroboros.WithKeepAlive(true),
	}
	for range n {
		near, far, err := tcpPair()
		if err != nil {
			return nil, nil, errors.Join(err, end())
		}
		type result struct {
			c   *ouroboros.Connection
			err error
		}
		other := make(chan result, 1)
		go func() {
			c, err := theirEnd(far, append(options[:len(options):len(options)], ouroboros.WithServer(true), ouroboros.WithKeepAlive(false)))
			other <- result{c, err}
		}()
		c, err := theirEnd(near, options)
		o := <-other
		if err := errors.Join(err, o.err); err != nil {
			return nil, nil, errors.Join(err, end())
		}
		o.c.KeepAlive().Client.Start() // by itself it may be faster than the server's answer to the handshake
		open = append(open, c, o.c)
	}
	return func() error { return nil }, end, nil
}
