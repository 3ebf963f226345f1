package memnet

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPartitionDelaysBytesAndLosesResets(t *testing.T) {
	bubble(t, Config{Link: Link{Latency: 10 * time.Millisecond}}, func(d *duo) {
		a, b := d.connect()
		a.Write([]byte("before "))
		d.net.Partition(addrA, addrB)
		a.Write([]byte("during "))
		b.SetReadDeadline(time.Now().Add(time.Minute))
		_, err := b.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		b.SetReadDeadline(time.Time{})
		d.net.Heal(addrA, addrB)
		a.Write([]byte("after"))
		require.Equal(t, "before during after", string(readN(t, b, 19)))

		d.net.Partition(addrA, addrB)
		_, err = d.a.Dial(timeout(t, 5*time.Second), any4, portB)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		a.SetLinger(0)
		a.Close()
		time.Sleep(time.Second)
		d.net.Heal(addrA, addrB)
		time.Sleep(time.Second)
		b.SetReadDeadline(time.Now().Add(time.Hour))
		_, err = b.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "the reset is gone for good")
		b.Close()
		time.Sleep(time.Second)
	})
}

func timeout(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestOneWayPartitionStopsTheOtherDirectionAtItsWindow(t *testing.T) {
	bubble(t, Config{Window: 10}, func(d *duo) {
		a, b := d.connect()
		d.net.Cut(addrB, addrA)
		a.SetWriteDeadline(time.Now().Add(time.Second))
		go readN(t, b, 20)
		n, err := a.Write(make([]byte, 20))
		require.Equal(t, 10, n, "b reads them, but its acknowledgements do not arrive")
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		a.SetWriteDeadline(time.Time{})
		d.net.Heal(addrA, addrB)
		_, err = a.Write(make([]byte, 10))
		require.NoError(t, err)
		synctest.Wait()
		closeAll(a, b)
	})
}

func TestUndeliverableBytesEndTheConnection(t *testing.T) {
	bubble(t, Config{RetransmitTimeout: time.Minute}, func(d *duo) {
		a, b := d.connect()
		d.net.Partition(addrA, addrB)
		begin := time.Now()
		a.Write([]byte("lost"))
		_, err := a.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ETIMEDOUT)
		require.Equal(t, time.Minute, time.Since(begin))
		d.net.Heal(addrA, addrB)
		closeAll(a, b)
	})
}

func TestSynIsRetriedThroughAShortPartition(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		d.net.Partition(addrA, addrB)
		time.AfterFunc(2*time.Second, func() { d.net.Heal(addrA, addrB) })
		begin := time.Now()
		a, b := d.connect()
		require.Equal(t, 3*time.Second, time.Since(begin), "SYNs at 0, 1 and 3 s")
		closeAll(a, b)
	})
}

func TestNthWriteFails(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		d.net.Script(addrA, addrB, Bearer{Dialling: End{FailWrite: 3}, Accepting: End{FailWrite: 1, WriteErr: io.ErrNoProgress}})
		a, b := d.connect()
		for i := 1; i <= 4; i++ {
			_, err := a.Write([]byte("x"))
			if i < 3 {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, syscall.ECONNRESET)
			}
		}
		_, err := b.Write([]byte("x"))
		require.ErrorIs(t, err, io.ErrNoProgress)
		closeAll(a, b)
	})
}

func TestCutsTruncateInsideASegment(t *testing.T) {
	for kind, want := range map[CutKind]error{CutReset: syscall.ECONNRESET, CutEOF: io.EOF, CutSilent: os.ErrDeadlineExceeded} {
		bubble(t, Config{Link: Link{Latency: time.Millisecond}}, func(d *duo) {
			d.net.Script(addrA, addrB, Bearer{Dialling: End{CutAfter: 10, Cut: kind}})
			a, b := d.connect()
			a.Write(make([]byte, 6))
			readN(t, b, 6)
			a.Write(make([]byte, 6))
			b.SetReadDeadline(time.Now().Add(time.Minute))
			got, err := io.ReadAll(b)
			if want == io.EOF {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, want)
			}
			if kind != CutReset { // a reset may throw away what was not read
				require.Len(t, got, 4)
			}
			closeAll(a, b)
		})
	}
}

func TestPhasesStallSlowAndFail(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		boom := errors.New("boom")
		d.net.Script(addrA, addrB, Bearer{Accepting: End{Phases: []Phase{
			{From: time.Second, Until: 3 * time.Second, Stall: true},
			{From: 10 * time.Second, Until: 20 * time.Second, Bandwidth: 100},
			{From: 30 * time.Second, Err: boom},
		}}})
		a, b := d.connect()
		begin := time.Now()
		at := func(s float64) { time.Sleep(time.Duration(s*float64(time.Second)) - time.Since(begin)) }
		at(1.5)
		a.Write([]byte("x"))
		readN(t, b, 1)
		require.Equal(t, 3*time.Second, time.Since(begin))
		at(10)
		a.Write(make([]byte, 200))
		a.Write(make([]byte, 100))
		readN(t, b, 300)
		require.Equal(t, 13*time.Second, time.Since(begin))
		_, err := b.Read(make([]byte, 1))
		require.ErrorIs(t, err, boom)
		require.Equal(t, 30*time.Second, time.Since(begin), "a waiting read notices the phase")
		closeAll(a, b)
	})
}

func TestLateBytesReachTheNextConnectionOfTheTuple(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		d.net.Script(addrA, addrB, Bearer{Dialling: End{Late: time.Second}}, Bearer{})
		open := func() (*Conn, net.Conn) {
			a, err := d.a.Dial(context.Background(), portA, portB)
			require.NoError(t, err)
			b, err := d.lb.Accept()
			require.NoError(t, err)
			return a, b
		}
		a, b := open()
		a.Write([]byte("old"))
		readN(t, b, 3)
		a.SetLinger(0)
		a.Close()
		b.Close()
		a, b = open()
		a.Write([]byte("new"))
		require.Equal(t, "newold", string(readN(t, b, 6)))
		closeAll(a, b)
	})
}
