package tunlink

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// port is a device with channels where a network would be.
type port struct {
	in, out chan []byte
	closed  chan struct{}
	refuse  bool
}

func newPort() *port {
	return &port{in: make(chan []byte), out: make(chan []byte, 100), closed: make(chan struct{})}
}

func (p *port) Read(b []byte) (int, error) {
	select {
	case packet, ok := <-p.in:
		if !ok {
			return 0, errors.New("device gone")
		}
		return copy(b, packet), nil
	case <-p.closed:
		return 0, io.EOF
	}
}

func (p *port) Write(b []byte) (int, error) {
	if p.refuse {
		return 0, errors.New("device down")
	}
	p.out <- append([]byte(nil), b...)
	return len(b), nil
}

func (p *port) Close() error { close(p.closed); return nil }

// arrives returns when the next packet comes out of a device.
func (p *port) arrives(t *testing.T, want string, began time.Time) time.Duration {
	t.Helper()
	select {
	case b := <-p.out:
		require.Equal(t, want, string(b))
	case <-time.After(time.Hour):
		t.Fatal("nothing came")
	}
	return time.Since(began)
}

func TestLinkDelaysBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPort(), newPort()
		l, err := NewLink(a, b, Params{Delay: 30 * time.Millisecond, Rate: 1000}, Params{Delay: 5 * time.Millisecond, Rate: 1000}, 1)
		require.NoError(t, err)
		began := time.Now()
		a.in <- []byte("one")
		a.in <- []byte("three")
		b.in <- []byte("back")
		require.Equal(t, 9*time.Millisecond, a.arrives(t, "back", began))
		require.Equal(t, 33*time.Millisecond, b.arrives(t, "one", began))
		require.Equal(t, 38*time.Millisecond, b.arrives(t, "three", began))
		time.Sleep(time.Minute) // the timers find their way after a pause, too
		began = time.Now()
		a.in <- []byte("x")
		require.Equal(t, 31*time.Millisecond, b.arrives(t, "x", began))
		ab, ba := l.Counters()
		require.Equal(t, Counters{In: 3, Out: 3, BytesIn: 9, BytesOut: 9}, ab)
		require.Equal(t, Counters{In: 1, Out: 1, BytesIn: 4, BytesOut: 4}, ba)
		require.NoError(t, l.Close())
		require.NoError(t, l.Close())
	})
}

func TestLinkCutAndMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPort(), newPort()
		p := Params{Delay: time.Second, Rate: 1 << 20}
		l, err := NewLink(a, b, p, p, 1)
		require.NoError(t, err)
		a.in <- []byte("lost on its way")
		l.SetCut(true)
		a.in <- []byte("lost")
		b.in <- []byte("lost")
		time.Sleep(time.Minute)
		require.Empty(t, a.out)
		require.Empty(t, b.out)
		l.SetCut(false)
		b.in <- []byte("mended")
		a.arrives(t, "mended", time.Now())
		ab, ba := l.Counters()
		require.EqualValues(t, 2, ab.Cut)
		require.EqualValues(t, 1, ba.Cut)
		require.NoError(t, l.Close())
	})
}

// TestLinkSurvivesWhatDevicesDo: one that is down takes no packets, one that is gone ends its direction and is reported.
func TestLinkSurvivesWhatDevicesDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPort(), newPort()
		l, err := NewLink(a, b, Params{Rate: 1 << 20}, Params{Rate: 1 << 20}, 1)
		require.NoError(t, err)
		b.refuse = true
		a.in <- []byte("refused")
		synctest.Wait()
		time.Sleep(time.Second)
		require.EqualValues(t, 1, l.Refused())
		close(b.in)
		synctest.Wait()
		b.refuse = false
		a.in <- []byte("still")
		b.arrives(t, "still", time.Now())
		require.ErrorContains(t, l.Close(), "device gone")
	})
}

func TestBadLinkClosesItsDevices(t *testing.T) {
	a, b := newPort(), newPort()
	_, err := NewLink(a, b, Params{Rate: 1}, Params{}, 1)
	require.ErrorContains(t, err, "rate")
	<-a.closed
	<-b.closed
}
