package mux_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"net"

	"github.com/hearthnet/hearth/mux"
)

// Two streams over one connection. Each end names a stream by its number and the role that it plays itself.
func Example() {
	ctx := context.Background()
	x, y := net.Pipe()
	a, b := mux.New(x, mux.Config{}), mux.New(y, mux.Config{})
	defer b.Close()
	defer a.Close()
	open := func(m *mux.Mux, number uint16, role mux.Role) *mux.Stream {
		s, err := m.Register(mux.StreamConfig{Number: number, Role: role})
		if err != nil {
			log.Fatal(err)
		}
		return s
	}
	ask, say := open(a, 100, mux.Initiator), open(a, 101, mux.Initiator)
	asked, said := open(b, 100, mux.Responder), open(b, 101, mux.Responder)
	a.Start()
	b.Start()

	if err := say.Send(ctx, []byte("nobody has to read this first\n")); err != nil {
		log.Fatal(err)
	}
	if err := ask.Send(ctx, []byte("what time is it?\n")); err != nil {
		log.Fatal(err)
	}
	for _, s := range []*mux.Stream{asked, said} {
		line, err := s.Wait(ctx, 0)
		for err == nil && !bytes.HasSuffix(line, []byte("\n")) { // bytes, not messages
			line, err = s.Wait(ctx, len(line))
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d %v: %s", s.Number(), s.Role(), line)
		s.Discard(len(line))
	}
	// Output:
	// 100 responder: what time is it?
	// 101 responder: nobody has to read this first
}
