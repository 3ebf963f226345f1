package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/keepalive"
)

const (
	sduSize   = 12288    // of what we send, unless a check wants others
	maxUnread = 64 << 20 // bytes of the node's that a link keeps
	maxStamp  = 64       // arrivals whose timestamps a link keeps
)

// stream is a number and who sends on it.
type stream struct {
	number uint16
	from   mux.Role
}

// arrival is when an SDU came and what time its sender says it was.
type arrival struct {
	stamp uint32 // µs of the sender's clock
	at    time.Time
}

// link is a connection after the handshake, in raw SDUs. A goroutine reads; it ends with close.
type link struct {
	conn net.Conn
	wait patience
	neg  protocols.Negotiated
	done chan struct{} // closed when nothing more will come

	writing sync.Mutex

	mu       sync.Mutex
	streams  map[stream]*bytes.Buffer
	total    map[stream]int // bytes that have come
	size     int            // bytes kept
	err      error          // why it ended
	changed  chan struct{}
	stamps   []arrival
	sdus     int
	largest  int
	answered bool // keep-alive requests of the node are answered
}

func newLink(conn net.Conn, wait patience, neg protocols.Negotiated) *link {
	l := &link{conn: conn, wait: wait, neg: neg, done: make(chan struct{}), streams: map[stream]*bytes.Buffer{},
		total: map[stream]int{}, changed: make(chan struct{})}
	go l.read()
	return l
}

// close ends the link and waits for its reader.
func (l *link) close() {
	l.conn.Close()
	<-l.done
}

func (l *link) read() {
	defer close(l.done)
	for {
		h, payload, err := mux.ReadSDU(l.conn, mux.MaxPayload)
		cookies, more := l.take(h, payload, err)
		if !more {
			return
		}
		for _, cookie := range cookies {
			l.reply(keepalive.Number, keepalive.AppendResponse(nil, cookie))
		}
	}
}

// take keeps what has arrived, but for keep-alive requests that are to be answered: it returns their cookies.
func (l *link) take(h mux.Header, payload []byte, err error) (cookies []uint16, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.notify()
	if err == nil && l.size+len(payload) > maxUnread {
		err = fmt.Errorf("the node has sent %d bytes that nobody asked for", l.size)
	}
	if err != nil {
		l.err = err
		return nil, false
	}
	k := stream{h.Number, h.From}
	b := l.streams[k]
	if b == nil {
		b = &bytes.Buffer{}
		l.streams[k] = b
	}
	b.Write(payload)
	l.total[k] += len(payload)
	l.size += len(payload)
	l.sdus++
	l.largest = max(l.largest, len(payload))
	if len(l.stamps) < maxStamp {
		l.stamps = append(l.stamps, arrival{h.Time, time.Now()})
	}
	if k == (stream{keepalive.Number, mux.Initiator}) && l.answered {
		for {
			msg := l.cut(b)
			if msg == nil {
				break
			}
			if cookie, err := keepalive.DecodeKeepAlive(msg); err == nil {
				cookies = append(cookies, cookie)
			}
		}
	}
	return cookies, true
}

func (l *link) notify() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// changes is closed at the next arrival.
func (l *link) changes() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// answerKeepAlive answers the node's keep-alive from now on.
func (l *link) answerKeepAlive() {
	l.mu.Lock()
	l.answered = true
	l.mu.Unlock()
}

// bytesOf returns how many bytes have come on a stream.
func (l *link) bytesOf(k stream) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total[k]
}

// cut takes one whole message from the front, nil if there is none. What is malformed counts as whole.
func (l *link) cut(b *bytes.Buffer) []byte {
	n, err := cbor.Item(b.Bytes())
	switch {
	case b.Len() == 0, errors.Is(err, cbor.ErrTruncated):
		return nil
	case err != nil:
		n = b.Len()
	}
	l.size -= n
	return bytes.Clone(b.Next(n))
}

// errSilent: nothing came in time.
var errSilent = errors.New("no answer")

// recv returns the next message of the node as responder of a mini-protocol.
func (l *link) recv(number uint16) ([]byte, error) {
	_, msg, err := l.recvAny(l.wait.answer, stream{number, mux.Responder})
	return msg, err
}

// request returns the next message of the node as initiator of one of the mini-protocols.
func (l *link) request(within time.Duration, numbers ...uint16) (uint16, []byte, error) {
	var ks []stream
	for _, n := range numbers {
		ks = append(ks, stream{n, mux.Initiator})
	}
	return l.recvAny(within, ks...)
}

// recvAny returns the next message of any of the streams.
func (l *link) recvAny(within time.Duration, ks ...stream) (uint16, []byte, error) {
	limit := time.NewTimer(within)
	defer limit.Stop()
	for {
		l.mu.Lock()
		for _, k := range ks {
			if b := l.streams[k]; b != nil {
				if msg := l.cut(b); msg != nil {
					l.mu.Unlock()
					return k.number, msg, nil
				}
			}
		}
		err, changed := l.err, l.changed
		l.mu.Unlock()
		if err != nil {
			return 0, nil, fmt.Errorf("the node ended the connection (%s)", manner(err))
		}
		select {
		case <-changed:
		case <-limit.C:
			return 0, nil, fmt.Errorf("%w within %v", errSilent, within)
		}
	}
}

// quiet fails if a message comes on the stream within a while, or the connection ends.
func (l *link) quiet(within time.Duration, k stream) error {
	_, msg, err := l.recvAny(within, k)
	switch {
	case err == nil:
		return fmt.Errorf("unexpected %s", brief(msg))
	case errors.Is(err, errSilent):
		return nil
	}
	return err
}

// manner says how a connection ended.
func manner(err error) string {
	var e *mux.Error
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	case errors.As(err, &e), !isReset(err):
		return err.Error()
	}
	return "reset"
}

func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout() && !errors.Is(err, net.ErrClosed)
}

// ended waits for the end of the connection, which a violation asks for.
func (l *link) ended() (string, error) {
	took, how, err := l.endsWithin(0, l.wait.end)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s after %v", how, took.Round(time.Millisecond)), nil
}

// endsWithin waits for the node to end the connection, not earlier and not later.
func (l *link) endsWithin(earliest, latest time.Duration) (took time.Duration, how string, err error) {
	began := time.Now()
	limit := time.NewTimer(latest)
	defer limit.Stop()
	select {
	case <-l.done:
	case <-limit.C:
		l.mu.Lock()
		defer l.mu.Unlock()
		return 0, "", fmt.Errorf("still open after %v", latest)
	}
	took = time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	how = manner(l.err)
	switch {
	case how != "closed" && how != "reset":
		return took, how, fmt.Errorf("not the node ended it: %w", l.err)
	case took < earliest:
		return took, how, fmt.Errorf("%s after %v already", how, took.Round(10*time.Millisecond))
	}
	return took, how, nil
}

// alive fails if the connection has ended, or does within a moment.
func (l *link) alive() error {
	select {
	case <-l.done:
		l.mu.Lock()
		defer l.mu.Unlock()
		return fmt.Errorf("the node ended the connection (%s)", manner(l.err))
	case <-time.After(l.wait.quiet):
		return nil
	}
}

// send sends bytes of ours as initiator of a mini-protocol, reply as responder, in SDUs as large as usual. A failure to send shows
// as the end of the connection.
func (l *link) send(number uint16, payload []byte) { l.write(number, mux.Initiator, payload) }

func (l *link) reply(number uint16, payload []byte) { l.write(number, mux.Responder, payload) }

func (l *link) write(number uint16, from mux.Role, payload []byte) {
	l.writeIn(number, from, payload, sduSize)
}

// writeIn sends in SDUs of a size.
func (l *link) writeIn(number uint16, from mux.Role, payload []byte, size int) {
	l.raw(segments(number, from, payload, size))
}

// raw sends bytes as they are.
func (l *link) raw(b []byte) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.conn.SetWriteDeadline(time.Now().Add(l.wait.answer)); err != nil {
		return
	}
	_, _ = l.conn.Write(b)
}

// segments cuts payload into SDUs.
func segments(number uint16, from mux.Role, payload []byte, size int) (out []byte) {
	for len(payload) > 0 {
		p := payload[:min(size, len(payload))]
		payload = payload[len(p):]
		var head [mux.HeaderSize]byte
		mux.Header{Time: mux.Timestamp(), Number: number, From: from, Length: uint16(len(p))}.Put(head[:])
		out = append(append(out, head[:]...), p...)
	}
	return out
}

// brief is the beginning of a message, for reports.
func brief(msg []byte) string {
	const most = 24
	if len(msg) > most {
		return fmt.Sprintf("%x… (%d bytes)", msg[:most], len(msg))
	}
	return fmt.Sprintf("%x", msg)
}
