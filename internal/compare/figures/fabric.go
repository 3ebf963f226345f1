package figures

import (
	"context"
	"errors"
	"io"
	"net"

	gmuxer "github.com/blinklabs-io/gouroboros/muxer"
	"github.com/hashicorp/yamux"
	lyamux "github.com/libp2p/go-yamux/v5"
	"github.com/xtaci/smux"

	"github.com/hearthnet/hearth/mux"
)

// pipe is one byte stream between two ends: send and receive go from the near one to the far one, reply and await back. Receive and
// await throw the bytes away and return how many there were.
type pipe struct {
	send, reply    func([]byte) error
	receive, await func() (int, error)
}

// fabric is some streams over as many sockets as an implementation takes for them.
type fabric struct {
	pipes []pipe
	close func()
}

// sduSize is what cardano-node sends at most in one SDU (wire §2.3).
const sduSize = 12288

// tcpPair returns both ends of a loopback connection.
func tcpPair() (near, far *net.TCPConn, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	failed := make(chan error, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			failed <- err
			return
		}
		accepted <- c
	}()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	select {
	case a := <-accepted:
		return c.(*net.TCPConn), a.(*net.TCPConn), nil
	case err := <-failed:
		return nil, nil, errors.Join(err, c.Close())
	}
}

// netPipe is a pipe of two ends that read and write.
func netPipe(near, far io.ReadWriter, buffer int) pipe {
	write := func(w io.Writer) func([]byte) error {
		return func(p []byte) error { _, err := w.Write(p); return err }
	}
	read := func(r io.Reader) func() (int, error) {
		buf := make([]byte, buffer)
		return func() (int, error) { return r.Read(buf) }
	}
	return pipe{send: write(near), reply: write(far), receive: read(far), await: read(near)}
}

// rawTCP has a socket for each stream.
func rawTCP(streams int) (*fabric, error) {
	f := &fabric{}
	var open []io.Closer
	f.close = func() {
		for _, c := range open {
			c.Close()
		}
	}
	for range streams {
		near, far, err := tcpPair()
		if err != nil {
			f.close()
			return nil, err
		}
		open = append(open, near, far)
		f.pipes = append(f.pipes, netPipe(near, far, 128<<10))
	}
	return f, nil
}

// oneTCP gives every stream the same socket, which is right for rates in one direction only.
func oneTCP(streams int) (*fabric, error) {
	f, err := rawTCP(1)
	if err != nil {
		return nil, err
	}
	for len(f.pipes) < streams {
		f.pipes = append(f.pipes, f.pipes[0])
	}
	return f, nil
}

func hearthFabric(streams int) (*fabric, error) {
	near, far, err := tcpPair()
	if err != nil {
		return nil, err
	}
	a, b := mux.New(near, mux.Config{}), mux.New(far, mux.Config{})
	f := &fabric{close: func() { a.Abort(nil); b.Abort(nil); a.Close(); b.Close() }}
	for i := range streams {
		x, err := a.Register(mux.StreamConfig{Number: uint16(i + 1), Role: mux.Initiator, IngressLimit: 64 << 20})
		if err != nil {
			return nil, err
		}
		y, err := b.Register(mux.StreamConfig{Number: uint16(i + 1), Role: mux.Responder, IngressLimit: 64 << 20})
		if err != nil {
			return nil, err
		}
		f.pipes = append(f.pipes, pipe{send: sendOn(x), reply: sendOn(y), receive: receiveOn(y), await: receiveOn(x)})
	}
	a.Start()
	b.Start()
	return f, nil
}

func sendOn(s *mux.Stream) func([]byte) error {
	ctx := context.Background()
	return func(p []byte) error { return s.Send(ctx, p) }
}

func receiveOn(s *mux.Stream) func() (int, error) {
	ctx := context.Background()
	return func() (int, error) {
		p, err := s.Wait(ctx, 0)
		s.Discard(len(p))
		return len(p), err
	}
}

// streamBuffer is what the peers' streams are read with.
const streamBuffer = 64 << 10

func yamuxFabric(streams int) (*fabric, error) {
	near, far, err := tcpPair()
	if err != nil {
		return nil, err
	}
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	a, err := yamux.Client(near, config)
	if err != nil {
		return nil, err
	}
	b, err := yamux.Server(far, config)
	if err != nil {
		return nil, err
	}
	f := &fabric{close: func() { a.Close(); b.Close() }}
	for range streams {
		x, err := a.OpenStream()
		if err != nil {
			return nil, err
		}
		y, err := b.AcceptStream()
		if err != nil {
			return nil, err
		}
		f.pipes = append(f.pipes, netPipe(x, y, streamBuffer))
	}
	return f, nil
}

func libp2pYamuxFabric(streams int) (*fabric, error) {
	near, far, err := tcpPair()
	if err != nil {
		return nil, err
	}
	config := lyamux.DefaultConfig()
	config.LogOutput = io.Discard
	a, err := lyamux.Client(near, config, nil)
	if err != nil {
		return nil, err
	}
	b, err := lyamux.Server(far, config, nil)
	if err != nil {
		return nil, err
	}
	f := &fabric{close: func() { a.Close(); b.Close() }}
	for range streams {
		x, err := a.OpenStream(context.Background())
		if err != nil {
			return nil, err
		}
		if _, err := x.Write([]byte{0}); err != nil { // the stream is announced with its first byte
			return nil, err
		}
		y, err := b.AcceptStream()
		if err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(y, make([]byte, 1)); err != nil {
			return nil, err
		}
		f.pipes = append(f.pipes, netPipe(x, y, streamBuffer))
	}
	return f, nil
}

func smuxFabric(streams int) (*fabric, error) {
	near, far, err := tcpPair()
	if err != nil {
		return nil, err
	}
	config := smux.DefaultConfig()
	a, err := smux.Client(near, config)
	if err != nil {
		return nil, err
	}
	b, err := smux.Server(far, config)
	if err != nil {
		return nil, err
	}
	f := &fabric{close: func() { a.Close(); b.Close() }}
	for range streams {
		x, err := a.OpenStream()
		if err != nil {
			return nil, err
		}
		y, err := b.AcceptStream()
		if err != nil {
			return nil, err
		}
		f.pipes = append(f.pipes, netPipe(x, y, streamBuffer))
	}
	return f, nil
}

// gouroborosFabric is gouroboros's muxer with the segments of a cardano-node.
func gouroborosFabric(streams int) (*fabric, error) {
	near, far, err := tcpPair()
	if err != nil {
		return nil, err
	}
	a, b := gmuxer.New(near), gmuxer.New(far)
	for _, m := range []*gmuxer.Muxer{a, b} {
		m.SetDiffusionMode(gmuxer.DiffusionModeInitiatorAndResponder)
	}
	f := &fabric{close: func() { a.Stop(); b.Stop() }}
	for i := range streams {
		number := uint16(i + 1)
		out, back, done := a.RegisterProtocol(number, gmuxer.ProtocolRoleInitiator)
		answer, in, _ := b.RegisterProtocol(number, gmuxer.ProtocolRoleResponder)
		f.pipes = append(f.pipes, pipe{
			send: segments(out, done, number, false), reply: segments(answer, done, number, true),
			receive: segment(in), await: segment(back),
		})
	}
	a.Start()
	b.Start()
	return f, nil
}

func segments(to chan *gmuxer.Segment, done chan bool, number uint16, response bool) func([]byte) error {
	return func(p []byte) error {
		for len(p) > 0 {
			n := min(len(p), sduSize)
			select {
			case to <- gmuxer.NewSegment(number, p[:n], response):
			case <-done:
				return net.ErrClosed
			}
			p = p[n:]
		}
		return nil
	}
}

func segment(from chan *gmuxer.Segment) func() (int, error) {
	return func() (int, error) {
		s, ok := <-from
		if !ok {
			return 0, net.ErrClosed
		}
		return len(s.Payload), nil
	}
}
