package mux

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// The mini-protocol of these tests: messages of a 4-byte length and that many bytes.

func message(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func receive(ctx context.Context, s *Stream) ([]byte, error) {
	p, err := s.Wait(ctx, 3)
	if err != nil {
		return nil, err
	}
	n := 4 + int(binary.BigEndian.Uint32(p))
	for len(p) < n {
		if p, err = s.Wait(ctx, len(p)); err != nil {
			return nil, err
		}
	}
	body := bytes.Clone(p[4:n])
	s.Discard(n)
	return body, nil
}

func bodies(seed uint64, n, size int) [][]byte {
	src := rand.NewChaCha8([32]byte{byte(seed)})
	rnd := rand.New(src)
	out := make([][]byte, n)
	for i := range out {
		out[i] = make([]byte, rnd.IntN(size))
		_, _ = src.Read(out[i]) // never fails
	}
	return out
}

// exchange has the initiator send requests and the responder answer each with its reply; both check what they get.
func exchange(ctx context.Context, client, server *Stream, requests, replies [][]byte) error {
	ended := make(chan error, 2)
	go func() {
		for i, want := range requests {
			got, err := receive(ctx, server)
			if err == nil && !bytes.Equal(got, want) {
				err = fmt.Errorf("request %d of protocol %d: %d bytes, want %d", i, server.Number(), len(got), len(want))
			}
			if err == nil {
				err = server.Send(ctx, message(replies[i]))
			}
			if err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	go func() {
		for i, want := range replies {
			err := client.Send(ctx, message(requests[i]))
			var got []byte
			if err == nil {
				got, err = receive(ctx, client)
			}
			if err == nil && !bytes.Equal(got, want) {
				err = fmt.Errorf("reply %d of protocol %d: %d bytes, want %d", i, client.Number(), len(got), len(want))
			}
			if err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	if err := <-ended; err != nil {
		return err
	}
	return <-ended
}

// TestSndRecv is prop_mux_snd_recv, prop_mux_1_mini and prop_mux_2_minis over every bearer, and prop_mux_snd_recv_bi: both ends
// run both roles of every number at once.
func TestSndRecv(t *testing.T) {
	for name, bearer := range bearers {
		for _, c := range []struct {
			name    string
			numbers []uint16
			both    bool
		}{{"1 mini", []uint16{2}, false}, {"2 minis", []uint16{2, 3}, false}, {"bi", []uint16{2, 3, 0x7fff}, true}} {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				x, y := bearer(t)
				p := muxPair(t, x, y, Config{}, c.numbers...)
				ctx := background(t)
				var wg sync.WaitGroup
				for i, n := range c.numbers {
					run := func(client, server *Mux, seed uint64) {
						wg.Go(func() {
							err := exchange(ctx, client.Stream(n, Initiator), server.Stream(n, Responder), bodies(seed, 30, 70_000), bodies(seed+100, 30, 70_000))
							if err != nil {
								t.Error(err)
							}
						})
					}
					run(p.a, p.b, uint64(i))
					if c.both {
						run(p.b, p.a, uint64(i)+50)
					}
				}
				wg.Wait()
			})
		}
	}
}

// referencePeer is an end of a bearer that knows nothing but wire §2.1: it cuts what it sends into SDUs of any size, up to
// 65,535, between any two bytes, and puts together what it receives.
type referencePeer struct {
	conn     net.Conn
	rnd      *rand.Rand
	received map[uint16][]byte // by number and direction bit as on the wire
}

func (r *referencePeer) send(number, bit uint16, p []byte) error {
	for len(p) > 0 {
		n := min(len(p), 1+r.rnd.IntN([]int{1, 10, 1000, 65535}[r.rnd.IntN(4)]))
		b := []byte{0, 0, 0, 0, byte(bit<<7 | number>>8), byte(number), byte(n >> 8), byte(n)}
		b = append(b, p[:n]...)
		p = p[n:]
		for len(b) > 0 {
			k := min(len(b), 1+r.rnd.IntN(20_000))
			if _, err := r.conn.Write(b[:k]); err != nil {
				return err
			}
			b = b[k:]
		}
	}
	return nil
}

// next takes in one SDU.
func (r *referencePeer) next() error {
	var h [8]byte
	if _, err := io.ReadFull(r.conn, h[:]); err != nil {
		return err
	}
	n := int(h[6])<<8 | int(h[7])
	if n == 0 || n > 12_288 {
		return fmt.Errorf("payload of %d bytes", n)
	}
	p := make([]byte, n)
	if _, err := io.ReadFull(r.conn, p); err != nil {
		return err
	}
	id := uint16(h[4])<<8 | uint16(h[5])
	r.received[id] = append(r.received[id], p...)
	return nil
}

// TestSndRecvCompat is prop_mux_snd_recv_compat: both directions and both roles against an independent peer.
func TestSndRecvCompat(t *testing.T) {
	for name, bearer := range bearers {
		for _, role := range []Role{Initiator, Responder} {
			t.Run(name+"/"+role.String(), func(t *testing.T) {
				x, y := bearer(t)
				m := New(x, Config{})
				s, err := m.Register(StreamConfig{Number: 0x123, Role: role, IngressLimit: 1 << 20})
				require.NoError(t, err)
				m.Start()
				defer m.Close()
				ref := &referencePeer{conn: y, rnd: rand.New(rand.NewPCG(7, uint64(role))), received: map[uint16][]byte{}}
				ctx := background(t)
				there, back := patterned(1, 300_000), patterned(2, 300_000)
				done := make(chan error, 2)
				go func() { done <- ref.send(0x123, 1-uint16(role), there) }()
				go func() { done <- s.Send(ctx, back) }()
				id := 0x123 | uint16(role)<<15
				for len(ref.received[id]) < len(back) {
					require.NoError(t, ref.next())
				}
				requireBytes(t, back, ref.received[id])
				require.Len(t, ref.received, 1)
				got, err := readFull(ctx, s, len(there))
				require.NoError(t, err)
				requireBytes(t, there, got)
				require.NoError(t, <-done)
				require.NoError(t, <-done)
				go y.Close()
			})
		}
	}
}

// TestStarvation is prop_mux_starvation: two responders with uneven replies of more than two SDUs each, started together; the
// SDUs that arrive alternate between the two numbers while both have data.
func TestStarvation(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 3))
			sizes := map[uint16]int{2: 25_000 + rnd.IntN(200_000), 3: 25_000 + rnd.IntN(200_000)}
			x, y := memPair(1 << 20)
			m := New(x, Config{})
			for n := range uint16(2) {
				_, err := m.Register(StreamConfig{Number: 2 + n, Role: Responder})
				require.NoError(t, err)
			}
			for n, size := range sizes {
				require.NoError(t, m.Stream(n, Responder).Send(t.Context(), make([]byte, size)))
			}
			m.Start()
			synctest.Wait()
			var sequence []uint16
			for rest := sizes[2] + sizes[3]; rest > 0; {
				h, _, err := ReadSDU(y, 12_288)
				require.NoError(t, err)
				sequence = append(sequence, h.Number)
				rest -= int(h.Length)
			}
			both := 2 * min((sizes[2]+12_287)/12_288, (sizes[3]+12_287)/12_288)
			require.GreaterOrEqual(t, both, 6)
			for i := 1; i < both; i++ {
				require.NotEqual(t, sequence[i-1], sequence[i], "SDU %d of %v", i, sequence)
			}
			m.Abort(nil)
			m.Close()
		})
	}
}
