package figures

import (
	"fmt"
	"sync/atomic"
	"time"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

type fabricMaker struct {
	name string
	make func(streams int) (*fabric, error)
}

var muxers = []fabricMaker{
	{"hearth mux", hearthFabric},
	{"hashicorp yamux", yamuxFabric},
	{"libp2p yamux", libp2pYamuxFabric},
	{"smux", smuxFabric},
	{"gouroboros muxer", gouroborosFabric},
}

// Throughput is writes of a size over a number of streams, beside the same writes on a bare connection.
func Throughput(size, streams int) Row {
	r := Row{
		Name: fmt.Sprintf("mux: writes of %d KiB, %d streams", size/kib, streams),
		Unit: "MiB/s", Scale: float64(size) / mib, Least: 64 * streams,
	}
	if streams == 1 {
		r.Name = fmt.Sprintf("mux: writes of %d KiB, 1 stream", size/kib)
	}
	r.Subjects = append(r.Subjects, Subject{"raw TCP", throughput(oneTCP, size, 1)})
	for _, m := range muxers {
		r.Subjects = append(r.Subjects, Subject{m.name, throughput(m.make, size, streams)})
	}
	return r
}

func throughput(build func(int) (*fabric, error), size, streams int) func(*Meter, int) error {
	return func(m *Meter, n int) error {
		f, err := build(streams)
		if err != nil {
			return err
		}
		defer f.close()
		share := max(n/streams, 1)
		done := make(chan error, 2*streams)
		m.Start()
		for _, p := range f.pipes {
			go func() {
				for left := share * size; left > 0; {
					k, err := p.receive()
					if err != nil {
						done <- err
						return
					}
					left -= k
				}
				done <- nil
			}()
			go func() {
				message := make([]byte, size)
				for range share {
					if err := p.send(message); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range 2 * streams {
			if err := <-done; err != nil {
				return err
			}
		}
		m.Stop()
		return nil
	}
}

// pingSize and pingPause shape the small messages beside the bulk.
const (
	pingSize  = 64
	pingPause = 500 * time.Microsecond
)

// Urgent is the round trip of a small message beside a stream that is always full, and how fast that stream still is. The measure is
// two bare connections, one for each.
func Urgent() Row {
	r := Row{Name: "64 B round trip beside a full stream", Unit: "MiB/s of bulk", Scale: 1, Least: 100}
	r.Subjects = append(r.Subjects, Subject{"two raw TCP connections", urgent(rawTCP)})
	for _, m := range muxers {
		r.Subjects = append(r.Subjects, Subject{m.name, urgent(m.make)})
	}
	return r
}

func urgent(build func(int) (*fabric, error)) func(*Meter, int) error {
	return func(m *Meter, n int) error {
		f, err := build(2)
		if err != nil {
			return err
		}
		defer f.close()
		bulk, small := f.pipes[0], f.pipes[1]
		stop := make(chan struct{})
		ended := make(chan struct{}, 3)
		var moved atomic.Int64
		go func() { // the end of the fabric ends these three
			defer func() { ended <- struct{}{} }()
			message := make([]byte, 64*kib)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if bulk.send(message) != nil {
					return
				}
			}
		}()
		go func() {
			defer func() { ended <- struct{}{} }()
			for {
				k, err := bulk.receive()
				if err != nil {
					return
				}
				moved.Add(int64(k))
			}
		}()
		go func() {
			defer func() { ended <- struct{}{} }()
			for {
				if _, err := small.receive(); err != nil {
					return
				}
				if small.reply(make([]byte, pingSize)) != nil {
					return
				}
			}
		}()
		message := make([]byte, pingSize)
		m.Start()
		began := time.Now()
		for range n {
			t := time.Now()
			if err := small.send(message); err != nil {
				return err
			}
			for left := pingSize; left > 0; {
				k, err := small.await()
				if err != nil {
					return err
				}
				left -= k
			}
			m.latencies = append(m.latencies, time.Since(t))
			time.Sleep(pingPause)
		}
		m.rate = float64(moved.Load()) / mib / time.Since(began).Seconds()
		m.Stop()
		close(stop)
		f.close()
		for range 3 {
			<-ended
		}
		return nil
	}
}
