package interop

import (
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/mux"
)

// sdu is one that passed a tap.
type sdu struct {
	mux.Header
	payload []byte
	at      time.Time // when its last byte passed
}

// tap listens to what gouroboros sends and gets on one connection.
type tap struct {
	mu       sync.Mutex
	from, to half // gouroboros
}

// half is one direction.
type half struct {
	buf  []byte
	sdus []sdu
	err  error
}

func (h *half) pass(p []byte) {
	h.buf = append(h.buf, p...)
	for len(h.buf) >= mux.HeaderSize {
		head, err := mux.ParseHeader(h.buf[:mux.HeaderSize])
		if err != nil {
			h.err = err
			return
		}
		end := mux.HeaderSize + int(head.Length)
		if len(h.buf) < end {
			return
		}
		h.sdus = append(h.sdus, sdu{head, slices.Clone(h.buf[mux.HeaderSize:end]), time.Now()})
		h.buf = h.buf[end:]
	}
}

// theirs returns what gouroboros has sent so far for a mini-protocol, all of them if number is negative.
func (t *tap) theirs(number int) []sdu { return t.of(&t.from, number) }

// ours returns what it has been sent.
func (t *tap) ours(number int) []sdu { return t.of(&t.to, number) }

// first waits for the first SDU of those that of returns: what one end has got, the tap may be about to note.
func first(t *testing.T, of func(number int) []sdu, number int) sdu {
	t.Helper()
	require.Eventually(t, func() bool { return len(of(number)) > 0 }, 10*time.Second, time.Millisecond)
	return of(number)[0]
}

func (t *tap) of(h *half, number int) []sdu {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h.err != nil {
		panic(h.err)
	}
	return slices.DeleteFunc(slices.Clone(h.sdus), func(s sdu) bool { return number >= 0 && int(s.Number) != number })
}

func (t *tap) on(conn net.Conn) net.Conn { return &tapped{conn, t} }

type tapped struct {
	net.Conn
	t *tap
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	c.t.to.pass(p[:n])
	return n, err
}

func (c *tapped) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	c.t.from.pass(p[:n])
	return n, err
}
