package main

import (
	"context"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pair is a connection between nodes 0 and 1 under the same weather.
func pair(t *testing.T, f *faults) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	dialled, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	accepted, err := ln.Accept()
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	f.at[dialled.LocalAddr().(*net.TCPAddr).AddrPort()] = 0
	f.at[accepted.LocalAddr().(*net.TCPAddr).AddrPort()] = 1
	a, err = f.bearer(0)(context.Background(), dialled, true)
	require.NoError(t, err)
	b, err = f.bearer(1)(context.Background(), accepted, false)
	require.NoError(t, err)
	return a, b
}

func TestPartitionHoldsBytesBack(t *testing.T) {
	f := newFaults()
	a, b := pair(t, f)
	f.partition([]int{1})
	require.Equal(t, []int{1}, f.isolated())
	wrote, read := make(chan error, 1), make(chan error, 1)
	go func() { _, err := a.Write([]byte("x")); wrote <- err }()
	go func() { _, err := io.ReadFull(b, make([]byte, 1)); read <- err }()
	select {
	case <-wrote:
		t.Fatal("a write came through")
	case <-read:
		t.Fatal("a byte came through")
	case <-time.After(50 * time.Millisecond):
	}
	f.partition(nil)
	require.Empty(t, f.isolated())
	require.NoError(t, <-wrote)
	require.NoError(t, <-read)

	f.partition([]int{0}) // closing ends the waiting
	go func() { _, err := a.Write([]byte("x")); wrote <- err }()
	require.NoError(t, a.Close())
	require.Error(t, <-wrote)
	require.NoError(t, b.Close())
	require.Empty(t, f.links)
}

// TestPartitionEndsWithDeadlines: whoever has set a deadline does not wait for the end of a partition, and loses nothing by it.
func TestPartitionEndsWithDeadlines(t *testing.T) {
	f := newFaults()
	a, b := pair(t, f)
	_, err := a.Write([]byte("xyz"))
	require.NoError(t, err)
	f.partition([]int{0})
	require.NoError(t, a.SetWriteDeadline(time.Now().Add(5*time.Millisecond)))
	_, err = a.Write([]byte("x"))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, b.SetReadDeadline(time.Now().Add(time.Hour)))
	read := make(chan error, 1)
	go func() { _, err := b.Read(make([]byte, 3)); read <- err }()
	require.NoError(t, b.SetDeadline(time.Unix(1, 0))) // while it waits
	require.ErrorIs(t, <-read, os.ErrDeadlineExceeded)
	require.NoError(t, b.SetDeadline(time.Time{}))
	f.partition(nil)
	got := make([]byte, 3)
	_, err = io.ReadFull(b, got[:1])
	require.NoError(t, err)
	_, err = io.ReadFull(b, got[1:])
	require.NoError(t, err)
	require.Equal(t, "xyz", string(got))
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
}

// TestArtifactConnectionsAreUnderTheWeather: the end that dialled holds the bytes of both directions.
func TestArtifactConnectionsAreUnderTheWeather(t *testing.T) {
	f := newFaults()
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ln := listener{raw, f, 1}
	f.at[ln.Addr().(*net.TCPAddr).AddrPort()] = 1
	a, err := f.dial(0)(context.Background(), "tcp", ln.Addr().String())
	require.NoError(t, err)
	b, err := ln.Accept()
	require.NoError(t, err)
	for _, apart := range [][]int{{0}, {1}} {
		f.partition(apart)
		for from, to := range map[net.Conn]net.Conn{a: b, b: a} {
			for _, c := range []net.Conn{from, to} {
				require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Millisecond)))
			}
			if _, err = from.Write([]byte("x")); err == nil {
				_, err = to.Read(make([]byte, 1))
			}
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		}
	}
	for _, c := range []net.Conn{a, b} {
		require.NoError(t, c.SetDeadline(time.Time{}))
	}
	f.partition([]int{0, 1})                 // together on the small side
	_, err = io.ReadFull(a, make([]byte, 2)) // what b has sent
	require.NoError(t, err)
	f.cut(1)
	_, err = a.Read(make([]byte, 1))
	require.Error(t, err)
	require.NoError(t, a.Close())
	require.NoError(t, ln.Close())
}

func TestCutResets(t *testing.T) {
	f := newFaults()
	a, b := pair(t, f)
	f.cut(0)
	_, err := b.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, io.EOF, "no goodbye")
	require.Error(t, a.Close(), "closed before")
	require.NoError(t, b.Close())
}

func TestSlowNodeSendsLate(t *testing.T) {
	f := newFaults()
	a, b := pair(t, f)
	f.slowDown(0, 30*time.Millisecond)
	require.Equal(t, []int{0}, f.slowed())
	began := time.Now()
	_, err := a.Write([]byte("x"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(began), 30*time.Millisecond)
	f.slowDown(0, 0)
	require.Empty(t, f.slowed())
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
}
