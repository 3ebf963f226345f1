package mux

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tcpPair returns the two ends of a loopback connection.
func tcpPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			close(accepted)
			return
		}
		accepted <- c
	}()
	a, err = net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	b = <-accepted
	require.NotNil(t, b)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// unixPair returns the two ends of a connection over a Unix socket.
func unixPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	path := t.TempDir() + "/s"
	ln, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer ln.Close()
	a, err = net.Dial("unix", path)
	require.NoError(t, err)
	b, err = ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// pair is two started multiplexers with the same streams registered in both roles.
type pair struct{ a, b *Mux }

func muxPair(t testing.TB, x, y net.Conn, cfg Config, numbers ...uint16) pair {
	t.Helper()
	p := pair{New(x, cfg), New(y, cfg)}
	for _, n := range numbers {
		for _, m := range []*Mux{p.a, p.b} {
			for _, r := range []Role{Initiator, Responder} {
				_, err := m.Register(StreamConfig{Number: n, Role: r, IngressLimit: 1 << 30})
				require.NoError(t, err)
			}
		}
	}
	p.a.Start()
	p.b.Start()
	t.Cleanup(func() {
		done := make(chan struct{})
		go func() { p.a.Close(); close(done) }()
		p.b.Close()
		<-done
	})
	return p
}

func background(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// waitFor polls until cond holds.
func waitFor(t testing.TB, cond func() bool) {
	t.Helper()
	limit := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("never came true")
		}
	}
}

// readFull discards exactly n bytes and returns them.
func readFull(ctx context.Context, s *Stream, n int) ([]byte, error) {
	var out []byte
	for len(out) < n {
		p, err := s.Wait(ctx, 0)
		if err != nil {
			return out, err
		}
		k := min(len(p), n-len(out))
		out = append(out, p[:k]...)
		s.Discard(k)
	}
	return out, nil
}

// readAll reads until the connection ends.
func readAll(ctx context.Context, s *Stream) ([]byte, error) {
	var out []byte
	for {
		p, err := s.Wait(ctx, 0)
		if err != nil {
			return out, err
		}
		out = append(out, p...)
		s.Discard(len(p))
	}
}

// sdu returns the bytes of one SDU with a declared length that need not be the payload's.
func sdu(number uint16, from Role, declared int, payload []byte) []byte {
	b := make([]byte, HeaderSize+len(payload))
	Header{Number: number, From: from, Length: uint16(declared)}.Put(b)
	copy(b[HeaderSize:], payload)
	return b
}

func mustWrite(t testing.TB, w io.Writer, p []byte) {
	t.Helper()
	_, err := w.Write(p)
	require.NoError(t, err)
}
