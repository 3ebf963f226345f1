package mux

import (
	"bytes"
	"encoding/hex"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// vectors are the worked examples of wire §13.1.
var vectors = []struct {
	name    string
	hex     string
	header  Header
	payload string
}{
	{"X1", "00000000000000178200a20e841a2d964a09f401f40f841a2d964a09f401f4", Header{0, 0, Initiator, 23}, "8200a20e841a2d964a09f401f40f841a2d964a09f401f4"},
	{"X2", "000123458000000c83010f841a2d964a09f401f4", Header{0x00012345, 0, Responder, 12}, "83010f841a2d964a09f401f4"},
	{"X3", "12345678000200028100", Header{0x12345678, 2, Initiator, 2}, "8100"},
	{"X4", "000f4240800200028101", Header{1_000_000, 2, Responder, 2}, "8101"},
	{"X5", "fffffff000080005820019abcd", Header{0xfffffff0, 8, Initiator, 5}, "820019abcd"},
	{"X6", "0000001080080005820119abcd", Header{16, 8, Responder, 5}, "820119abcd"},
	{"X7", "0000002a000700028108", Header{42, 7, Initiator, 2}, "8108"},
	{"X8", "000000070002000481008100", Header{7, 2, Initiator, 4}, "81008100"},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// TestVectors: X1 to X8 written, read one by one as the handshake does, and taken in by a running multiplexer, whole and in
// one-byte segments.
func TestVectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			wire, payload := unhex(t, v.hex), unhex(t, v.payload)
			var w bytes.Buffer
			require.NoError(t, WriteSDU(&w, v.header, payload))
			require.Equal(t, wire, w.Bytes())

			r := io.MultiReader(bytes.NewReader(wire), bytes.NewReader([]byte("surplus")))
			h, p, err := ReadSDU(r, MaxPayload)
			require.NoError(t, err)
			require.Equal(t, v.header, h)
			require.Equal(t, payload, p)
			rest, err := io.ReadAll(r)
			require.NoError(t, err)
			require.Equal(t, "surplus", string(rest), "not a byte further")

			for _, segment := range []int{len(wire), 1} {
				synctest.Test(t, func(t *testing.T) {
					x, y := memPair(1 << 16)
					var stamp uint32
					m := New(x, Config{Arrived: func(remote uint32, _ time.Duration, size int) {
						stamp = remote
						require.Equal(t, len(payload), size)
					}})
					s, err := m.Register(StreamConfig{Number: v.header.Number, Role: v.header.From.Peer()})
					require.NoError(t, err)
					m.Start()
					for i := 0; i < len(wire); i += segment {
						mustWrite(t, y, wire[i:i+segment])
						synctest.Wait()
					}
					got, err := readFull(t.Context(), s, len(payload))
					require.NoError(t, err)
					require.Equal(t, payload, got)
					require.Equal(t, v.header.Time, stamp)
					m.Abort(nil)
					m.Close()
				})
			}
		})
	}
}

// TestNegativeVectors: N16 and N17 of wire §13.11, at a running multiplexer and at the reader of the handshake.
func TestNegativeVectors(t *testing.T) {
	n16 := unhex(t, "0000000000020000")
	_, _, err := ReadSDU(bytes.NewReader(n16), MaxPayload)
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, BadSDU, e.Kind)
	require.Equal(t, "adversarial", e.Fault())

	e = endedBy(t, nil, n16)
	require.Equal(t, &Error{Kind: BadSDU, Protocol: 2, Role: Responder, Err: e.Err}, e)
	require.Contains(t, e.Error(), "length 0")

	n17 := sdu(10, Initiator, 2, []byte{0x81, 0x01})
	e = endedBy(t, nil, n17) // 10 is not registered: peer sharing was negotiated away
	require.Equal(t, &Error{Kind: UnknownProtocol, Protocol: 10, Role: Responder}, e)
	require.Equal(t, "adversarial", e.Fault())
}

// TestSDUReadWriteErrors: what the handshake's functions refuse.
func TestSDUReadWriteErrors(t *testing.T) {
	var w bytes.Buffer
	for _, n := range []int{0, MaxPayload + 1} {
		err := WriteSDU(&w, Header{}, make([]byte, n))
		var e *Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, BadSDU, e.Kind)
		require.Equal(t, "internal", e.Fault())
	}
	require.Zero(t, w.Len())
	require.NoError(t, WriteSDU(&w, Header{}, make([]byte, MaxPayload)))

	_, _, err := ReadSDU(bytes.NewReader(w.Bytes()), 5760)
	require.Equal(t, &Error{Kind: IngressOverrun, Role: Responder, Size: MaxPayload, Limit: 5760}, err)
	_, _, err = ReadSDU(bytes.NewReader(w.Bytes()[:HeaderSize]), MaxPayload)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	_, _, err = ReadSDU(bytes.NewReader(w.Bytes()[:HeaderSize-1]), MaxPayload)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	_, _, err = ReadSDU(bytes.NewReader(nil), MaxPayload)
	require.Equal(t, io.EOF, err)
}

// capture is a writer's end that records the time and the bytes of every write of a multiplexer.
type capture struct {
	*memConn
	clock  func() time.Duration
	mu     sync.Mutex
	writes []captured
}

// take returns what has been written since it was last called.
func (c *capture) take() []captured {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.writes
	c.writes = nil
	return w
}

type captured struct {
	at    time.Duration
	bytes []byte
}

func (c *capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes = append(c.writes, captured{c.clock(), bytes.Clone(p)})
	return len(p), nil
}

// TestCapturedBytes asserts on what really goes to the bearer: timestamps are microseconds of a monotonic clock, the same for
// all SDUs of a batch, wrap at 2^32, payloads never exceed the configured size, direction bits are right for both roles, and
// batches end as soon as they hold the batch size or 100 SDUs.
func TestCapturedBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, _ := memPair(1 << 16)
		began := time.Now()
		c := &capture{memConn: x, clock: func() time.Duration { return time.Since(began) }}
		const size = 1000
		m := New(c, Config{SDUSize: size, BatchBytes: 20_000})
		roles := map[uint16]Role{2: Initiator, 3: Responder, 0x7fff: Responder, 8: Initiator}
		for n, r := range roles {
			_, err := m.Register(StreamConfig{Number: n, Role: r})
			require.NoError(t, err)
		}
		m.Start()
		ctx := t.Context()
		sent := map[uint16][]byte{}
		send := func(n uint16, k int) {
			p := patterned(n, k)
			require.NoError(t, m.Stream(n, roles[n]).Send(ctx, p))
			sent[n] = append(sent[n], p...)
		}
		for _, pause := range []time.Duration{0, time.Microsecond, 123_456 * time.Microsecond, 90 * time.Minute} {
			time.Sleep(pause)
			send(2, 45_000)
			send(3, 2_500)
			send(0x7fff, 1)
			send(8, 1)
			synctest.Wait()
		}
		m.Abort(nil)
		m.Close()

		got := map[uint16][]byte{}
		var first uint32
		var firstAt time.Duration
		batches, stamps := 0, map[uint32]bool{}
		// Without writev, net.Buffers calls Write once a piece, all at one virtual instant: SDUs of one instant share a stamp.
		at := map[time.Duration]uint32{}
		for i, w := range c.take() {
			for p := w.bytes; len(p) > 0; {
				require.GreaterOrEqual(t, len(p), HeaderSize)
				h, err := ParseHeader(p)
				require.NoError(t, err)
				require.LessOrEqual(t, int(h.Length), size)
				require.LessOrEqual(t, HeaderSize+int(h.Length), len(p), "an SDU is never torn between writes")
				role, ok := roles[h.Number]
				require.True(t, ok)
				require.Equal(t, role, h.From)
				require.Equal(t, role == Responder, p[4]&0x80 != 0, "direction bit")
				if i == 0 && batches == 0 {
					first, firstAt = h.Time, w.at
				}
				require.Equal(t, first+uint32((w.at-firstAt).Microseconds()), h.Time, "microseconds since the first")
				if s, ok := at[w.at]; ok {
					require.Equal(t, s, h.Time)
				}
				at[w.at], stamps[h.Time] = h.Time, true
				got[h.Number] = append(got[h.Number], p[HeaderSize:HeaderSize+int(h.Length)]...)
				p = p[HeaderSize+int(h.Length):]
				batches++
			}
		}
		for n := range roles {
			requireBytes(t, sent[n], got[n])
		}
		require.Len(t, stamps, 4)
	})
}

// TestBatchLimits: a batch is one write as long as it lies in one buffer; it ends at the batch size or at 100 SDUs.
func TestBatchLimits(t *testing.T) {
	for _, c := range []struct {
		name           string
		cfg            Config
		bytes, maxSDUs int
	}{
		{"bytes", Config{SDUSize: 500, BatchBytes: 5_000}, 60_000, 10},
		{"SDUs", Config{SDUSize: 10, BatchBytes: 1 << 20}, 3_000, 100},
		{"defaults", Config{SDUSize: 12_288}, 200_000, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, _ := memPair(1 << 16)
				w := &batchCounter{memConn: x}
				m := New(w, c.cfg)
				s, err := m.Register(StreamConfig{Number: 1})
				require.NoError(t, err)
				require.NoError(t, s.Send(t.Context(), make([]byte, c.bytes)))
				m.Start()
				synctest.Wait()
				require.Equal(t, c.bytes, w.payload)
				require.Equal(t, c.maxSDUs, w.most)
				total := (c.bytes + c.cfg.SDUSize - 1) / c.cfg.SDUSize
				require.Equal(t, (total+c.maxSDUs-1)/c.maxSDUs, w.deadlines, "one write limit a batch")
				m.Abort(nil)
				m.Close()
			})
		})
	}
}

// batchCounter counts the SDUs between two write deadlines, which are set once a batch.
type batchCounter struct {
	*memConn
	deadlines, current, most, payload int
}

func (c *batchCounter) SetWriteDeadline(time.Time) error {
	c.deadlines++
	c.current = 0
	return nil
}

func (c *batchCounter) Write(p []byte) (int, error) {
	for q := p; len(q) > 0; {
		h, err := ParseHeader(q)
		if err != nil {
			return 0, err
		}
		c.current++
		c.payload += int(h.Length)
		q = q[HeaderSize+int(h.Length):]
	}
	c.most = max(c.most, c.current)
	return len(p), nil
}
