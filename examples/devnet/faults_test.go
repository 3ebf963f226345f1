package main

import (
	"context"
	"io"
	"net"
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
