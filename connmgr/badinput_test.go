package connmgr

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/protocols/handshake"
	"github.com/hearthnet/hearth/protocols/keepalive"
)

// villain is a connection that the test plays, to a node that has an honest peer as well.
type villain struct {
	*memNode
	raw   net.Conn
	nodes *Conn // the node's end
}

func (v *villain) sdu(number uint16, from mux.Role, p []byte) error {
	return mux.WriteSDU(v.raw, mux.Header{Number: number, From: from}, p)
}

// stream sends as much of p as the node takes, in SDUs of n bytes.
func (v *villain) stream(number uint16, n int, p []byte) {
	for len(p) > 0 {
		k := min(n, len(p))
		if v.sdu(number, mux.Initiator, p[:k]) != nil {
			return
		}
		p = p[k:]
	}
}

// alive sends a keep-alive request every minute until the connection ends, and reads everything.
func (v *villain) alive() {
	go io.Copy(io.Discard, v.raw)
	go func() {
		for v.sdu(8, mux.Initiator, keepalive.AppendKeepAlive(nil, 7)) == nil {
			time.Sleep(time.Minute)
		}
	}()
}

// against has a villain attack a node; an honest connection must not notice, whatever the node does with the villain's.
func against(t *testing.T, duplex bool, f func(v *villain)) {
	t.Helper()
	chain := newFixedChain(20, 200)
	inNode(t, memnet.Link{}, func(n *memNode) {
		honest, nodesHonest := n.dial(WithDuplex())
		raw := n.dialBearer()
		_, err := handshake.Initiate(n.Context(), raw, Options{Duplex: duplex}.proposal(Preview, false, true))
		require.NoError(n, err)
		f(&villain{memNode: n, raw: raw, nodes: <-n.conns})
		raw.Close()
		client := chainsync.NewClient(honest)
		tip, err := client.Tip(n.Context())
		require.NoError(n, err)
		require.Equal(n, chain.tip(), tip)
		require.NoError(n, client.Finish(n.Context()))
		require.NoError(n, honest.Err())
		require.NoError(n, nodesHonest.Err())
		time.Sleep(2 * time.Minute) // for what the villain left running
	}, Serve(chainsync.Responder(chain), blockfetch.Responder(chain)))
}

func findIntersect(payload ...byte) []byte { return append([]byte{0x82, 0x04}, payload...) }

func TestBadInputToMultiplexer(t *testing.T) {
	for _, c := range []struct {
		name   string
		duplex bool
		act    func(v *villain)
		kind   mux.Kind
		number uint16
		role   mux.Role
		fault  string
	}{
		{"unknown mini-protocol", true, func(v *villain) { v.sdu(99, mux.Initiator, []byte{1}) }, mux.UnknownProtocol, 99, mux.Responder, "adversarial"},
		{"N17: peer sharing that was not negotiated", true, func(v *villain) { v.sdu(10, mux.Initiator, []byte{0x82, 0, 1}) }, mux.UnknownProtocol, 10, mux.Responder, "adversarial"},
		{"handshake again", true, func(v *villain) { v.sdu(0, mux.Initiator, []byte{0x82, 0, 0xa0}) }, mux.UnknownProtocol, 0, mux.Responder, "adversarial"},
		{"wrong direction bit", false, func(v *villain) { v.sdu(2, mux.Responder, []byte{0x81, 1}) }, mux.WrongDirection, 2, mux.Initiator, "adversarial"},
		{"N16: zero length", true, func(v *villain) { v.raw.Write([]byte{0, 0, 0, 0, 0, 2, 0, 0}) }, mux.BadSDU, 2, mux.Responder, "adversarial"},
		{"declared length over the limit", true, func(v *villain) { v.raw.Write([]byte{0, 0, 0, 0, 0, 8, 0xff, 0xff}) }, mux.IngressOverrun, 8, mux.Responder, "adversarial"},
		{"ingress overflow", true, func(v *villain) { v.stream(4, 60_000, make([]byte, 800_000)) }, mux.IngressOverrun, 4, mux.Responder, "adversarial"},
		{"half-closed inside an SDU", true, func(v *villain) {
			v.raw.Write([]byte{0, 0, 0, 0, 0, 2, 0, 5, 0x81})
			v.raw.(*memnet.Conn).CloseWrite()
		}, mux.BadSDU, 2, mux.Responder, "network"},
		{"silence inside an SDU", true, func(v *villain) { v.raw.Write([]byte{0, 0, 0, 0, 0, 2, 0, 5, 0x81}) }, mux.ReadTimeout, 2, mux.Responder, "network"},
		{"half-closed between SDUs", true, func(v *villain) { v.raw.(*memnet.Conn).CloseWrite() }, mux.BearerClosed, 0, mux.Initiator, "benign"},
	} {
		t.Run(c.name, func(t *testing.T) {
			against(t, c.duplex, func(v *villain) {
				c.act(v)
				err := v.nodes.Wait(v.Context())
				var e *mux.Error
				require.ErrorAs(v, err, &e)
				require.Equal(v, c.kind, e.Kind, "%v", e)
				require.Equal(v, c.fault, e.Fault(), "%v", e)
				require.Equal(v, c.number, e.Protocol)
				require.Equal(v, c.role, e.Role)
				require.Zero(v, v.nodes.mux.Unread())
			})
		})
	}
}

func TestBadInputToMiniProtocols(t *testing.T) {
	deep := append(bytes.Repeat([]byte{0x81}, 300), 0)
	deepIndefinite := bytes.Repeat([]byte{0x9f}, 300)
	for _, c := range []struct {
		name  string
		n     uint16
		send  []byte
		kind  protocols.ErrorKind
		state string
	}{
		{"not CBOR", 2, []byte{0xff}, protocols.Malformed, "Idle"},
		{"huge array", 2, findIntersect(append([]byte{0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, make([]byte, 70_000)...)...), protocols.TooLarge, "Idle"},
		{"huge string", 2, findIntersect(append([]byte{0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, make([]byte, 70_000)...)...), protocols.TooLarge, "Idle"},
		{"huge map", 2, findIntersect(append([]byte{0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, make([]byte, 70_000)...)...), protocols.TooLarge, "Idle"},
		{"deep nesting", 2, findIntersect(deep...), protocols.Malformed, "Idle"},
		{"deep nesting, indefinite", 2, findIntersect(deepIndefinite...), protocols.Malformed, "Idle"},
		{"N18: indefinite outer array", 2, []byte{0x9f, 0x00, 0xff}, protocols.Unexpected, "Idle"},
		{"indefinite point", 2, findIntersect(append(append([]byte{0x9f, 0x9f, 0x01, 0x58, 0x20}, make([]byte, 32)...), 0xff, 0xff)...), protocols.Violation, "Idle"},
		{"chunked hash", 2, findIntersect(append(append([]byte{0x9f, 0x82, 0x01, 0x5f, 0x58, 0x20}, make([]byte, 32)...), 0xff, 0xff)...), protocols.Violation, "Idle"},
		{"endless indefinite list", 2, findIntersect(append([]byte{0x9f}, bytes.Repeat([]byte{0x80}, 70_000)...)...), protocols.TooLarge, "Idle"},
		{"too many points", 2, findIntersect(append(append([]byte{0x9f}, bytes.Repeat([]byte{0x80}, 3000)...), 0xff)...), protocols.Violation, "Idle"},
		{"out of turn", 2, []byte{0x81, 0x01}, protocols.Unexpected, "Idle"},
		{"unknown tag", 2, []byte{0x81, 0x15}, protocols.Unexpected, "Idle"},
		{"oversize message", 2, findIntersect(append([]byte{0x5a, 0, 1, 0, 0}, make([]byte, 65_536)...)...), protocols.TooLarge, "Idle"},
		{"origin is no block", 3, blockfetch.AppendRequestRange(nil, chainsync.Origin, chainsync.Origin), protocols.Violation, "Idle"},
		{"point of a wrong length", 3, []byte{0x83, 0, 0x81, 1, 0x81, 1}, protocols.Violation, "Idle"},
		{"block from the client", 3, []byte{0x82, 4, 0xd8, 24, 0x41, 0}, protocols.Unexpected, "Idle"},
		{"cookie too large", 8, []byte{0x82, 0, 0x1a, 0, 1, 0, 0}, protocols.Violation, "Client"},
		{"response without a request", 8, []byte{0x82, 1, 7}, protocols.Unexpected, "Client"},
	} {
		t.Run(c.name, func(t *testing.T) {
			against(t, false, func(v *villain) {
				v.stream(c.n, 12_288, c.send)
				err := v.nodes.Wait(v.Context())
				var e *protocols.Error
				require.ErrorAs(v, err, &e)
				require.Equal(v, c.kind, e.Kind, "%v", e)
				require.Equal(v, c.state, e.State)
				require.Equal(v, c.n, e.Number)
				require.Equal(v, mux.Responder, e.Role)
				require.False(v, e.Local)
				require.Equal(v, "adversarial", e.Fault())
				require.Zero(v, v.nodes.mux.Unread())
			})
		})
	}
}

// As initiator the node is as strict.
func TestBadAnswers(t *testing.T) {
	tip := []byte{0x82, 0x80, 0}
	for _, c := range []struct {
		name   string
		answer []byte
		kind   protocols.ErrorKind
	}{
		{"roll forward of something else", append([]byte{0x83, 2, 0xd8, 24, 0x41, 0xff}, tip...), protocols.Violation},
		{"trailing bytes in the envelope", append([]byte{0x83, 2, 0xd8, 24, 0x42, 0, 0}, tip...), protocols.Violation},
		{"N12", []byte{0x81, 1, 0x81, 1}, protocols.Unexpected},
		{"intersection that was not asked for", append([]byte{0x83, 5, 0x80}, tip...), protocols.Unexpected},
	} {
		t.Run(c.name, func(t *testing.T) {
			against(t, true, func(v *villain) {
				require.NoError(v, v.sdu(2, mux.Responder, c.answer))
				_, err := chainsync.NewClient(v.nodes).Next(v.Context())
				var e *protocols.Error
				require.ErrorAs(v, err, &e)
				require.Equal(v, c.kind, e.Kind, "%v", e)
				require.Equal(v, mux.Initiator, e.Role)
				require.Equal(v, "adversarial", e.Fault())
				require.Equal(v, err, v.nodes.Wait(v.Context()))
			})
		})
	}
}

// Control: segments of one byte are legal, and so are fifty thousand of them.
func TestOneByteSegments(t *testing.T) {
	against(t, false, func(v *villain) {
		v.stream(2, 1, findIntersect(append(append([]byte{0x9f}, bytes.Repeat([]byte{0x80}, 2000)...), 0xff)...))
		h, p, err := mux.ReadSDU(v.raw, mux.MaxPayload)
		require.NoError(v, err)
		require.Equal(v, uint16(2), h.Number)
		require.Equal(v, byte(chainsync.TagIntersectFound), p[1])
		require.NoError(v, v.nodes.Err())
	})
}

// Silence in every state in which the node waits for a peer that is only an initiator; the other states are the clients' tests'.
func TestSilence(t *testing.T) {
	silent := func(name string, after time.Duration, protocol, state string, begin func(v *villain)) {
		t.Run(name, func(t *testing.T) {
			against(t, false, func(v *villain) {
				began := time.Now()
				begin(v)
				err := v.nodes.Wait(v.Context())
				var e *protocols.Error
				require.ErrorAs(v, err, &e)
				require.Equal(v, protocols.TimedOut, e.Kind, "%v", e)
				require.Equal(v, protocol, e.Protocol)
				require.Equal(v, state, e.State)
				require.Equal(v, "network", e.Fault())
				require.Equal(v, after, time.Since(began))
			})
		})
	}
	silent("keep-alive", 97*time.Second, "keep-alive", "Client", func(v *villain) {
		v.sdu(8, mux.Initiator, keepalive.AppendKeepAlive(nil, 1))
	})
	silent("keep-alive, started by another mini-protocol", 97*time.Second, "keep-alive", "Client", func(v *villain) {
		v.sdu(2, mux.Initiator, []byte{0x82, 4, 0x80})
	})
	silent("keep-alive, in the middle of a message", 97*time.Second, "keep-alive", "Client", func(v *villain) {
		v.sdu(8, mux.Initiator, []byte{0x82, 0})
	})
	silent("chain-sync", 3373*time.Second, "chain-sync", "Idle", func(v *villain) {
		v.sdu(2, mux.Initiator, []byte{0x82, 4, 0x80})
		v.alive()
	})
	silent("chain-sync, in the middle of a message", 3373*time.Second, "chain-sync", "Idle", func(v *villain) {
		v.sdu(2, mux.Initiator, []byte{0x82, 4})
		v.alive()
	})
	t.Run("keep-alive that is not answered", func(t *testing.T) {
		against(t, true, func(v *villain) {
			began := time.Now()
			_, _, err := mux.ReadSDU(v.raw, mux.MaxPayload)
			require.NoError(v, err)
			var e *protocols.Error
			require.ErrorAs(v, v.nodes.Wait(v.Context()), &e)
			require.Equal(v, "Server", e.State)
			require.Equal(v, mux.Initiator, e.Role)
			require.Equal(v, 60*time.Second, time.Since(began))
		})
	})
	t.Run("block-fetch has no limit when idle", func(t *testing.T) {
		against(t, false, func(v *villain) {
			v.sdu(3, mux.Initiator, []byte{0x83, 0})
			v.alive()
			time.Sleep(24 * time.Hour)
			require.NoError(v, v.nodes.Err())
		})
	})
}

// A peer that asks for everything and reads nothing: the node holds no more than the stream's egress limit, one batch and one
// block, beside what the network has taken, and gives up when nothing has moved for the batch's write limit.
func TestPeerThatNeverReads(t *testing.T) {
	src := &endless{block: append([]byte{0x82, 7, 0x59, 0xff, 0xff}, make([]byte, 0xffff)...)}
	inNode(t, memnet.Link{}, func(n *memNode) {
		raw, nodes := n.dialRaw()
		p := chainsync.Point{Slot: 1, Hash: [32]byte{1}}
		require.NoError(n, mux.WriteSDU(raw, mux.Header{Number: 3}, blockfetch.AppendRequestRange(nil, p, p)))
		go func() {
			for mux.WriteSDU(raw, mux.Header{Number: 8, From: mux.Initiator}, keepalive.AppendKeepAlive(nil, 7)) == nil {
				time.Sleep(20 * time.Second)
			}
		}()
		began := time.Now()
		err := nodes.Wait(n.Context())
		var e *mux.Error
		require.ErrorAs(n, err, &e)
		require.Equal(n, mux.WriteTimeout, e.Kind)
		require.Equal(n, "network", e.Fault())
		require.LessOrEqual(n, time.Since(began), 12*30*time.Second)
		const window, egress, batch = 256 << 10, 262_143, 131_072
		require.LessOrEqual(n, src.taken*len(src.block), window+egress+batch+12_288+2*len(src.block))
		require.Positive(n, src.taken)
		raw.Close()
		time.Sleep(time.Minute)
	}, Serve(blockfetch.Responder(src)), WithKeepAlive(-1))
}

type endless struct {
	block []byte
	taken int
}

func (s *endless) Range(from, to chainsync.Point) (iter.Seq2[[]byte, error], bool) {
	return func(yield func([]byte, error) bool) {
		for yield(s.block, nil) {
			s.taken++
		}
	}, true
}

func TestBadHandshakes(t *testing.T) {
	sdu := func(p ...byte) []byte {
		b := make([]byte, 8, 8+len(p))
		binary.BigEndian.PutUint16(b[6:], uint16(len(p)))
		return append(b, p...)
	}
	data := []byte{0x84, 2, 0xf4, 0, 0xf4}
	entry := func(v byte) []byte { return append([]byte{v}, data...) }
	propose := func(head byte, parts ...[]byte) []byte {
		return sdu(append([]byte{0x82, 0, head}, bytes.Join(parts, nil)...)...)
	}
	for _, c := range []struct {
		name string
		send []byte
		kind protocols.ErrorKind
		mux  mux.Kind
	}{
		{"unordered version keys", propose(0xa2, entry(15), entry(14)), protocols.Unexpected, 0},
		{"duplicate version keys", propose(0xa2, entry(14), entry(14)), protocols.Unexpected, 0},
		{"indefinite map", propose(0xbf, entry(14), []byte{0xff}), protocols.Unexpected, 0},
		{"huge map", propose(0xbb, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, make([]byte, 5700), nil), protocols.TimedOut, 0},
		{"deep nesting", sdu(bytes.Repeat([]byte{0x81}, 400)...), protocols.Malformed, 0},
		{"an answer instead", sdu(0x83, 1, 15, 0x80), protocols.Unexpected, 0},
		{"bytes behind the message", sdu(append([]byte{0x82, 0, 0xa1}, append(entry(14), 0)...)...), protocols.Unexpected, 0},
		{"too large", []byte{0, 0, 0, 0, 0, 0, 0xff, 0xff}, protocols.TooLarge, 0},
		{"zero length", []byte{0, 0, 0, 0, 0, 0, 0, 0}, 0, mux.BadSDU},
		{"another mini-protocol", []byte{0, 0, 0, 0, 0, 2, 0, 1, 0}, 0, mux.UnknownProtocol},
		{"wrong direction bit", []byte{0, 0, 0, 0, 0x80, 0, 0, 1, 0}, 0, mux.WrongDirection},
		{"silence", nil, protocols.TimedOut, 0},
		{"silence in the middle", sdu(0x82, 0), protocols.TimedOut, 0},
	} {
		for _, local := range []bool{false, true} {
			if local && strings.HasSuffix(c.name, "version keys") {
				continue // these are not versions there
			}
			t.Run(c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := memnet.New(memnet.Config{Seed: 1})
					host, clients := n.Host(memAddr(2)), n.Host(memAddr(1))
					inner, err := host.Listen(memPort(2))
					require.NoError(t, err)
					rejected := make(chan error, 1)
					ln := NewListener(inner, Preview, local, WithRejected(func(_ net.Addr, err error) { rejected <- err }))
					raw, err := clients.Dial(t.Context(), memPort(0), memPort(2))
					require.NoError(t, err)
					raw.Write(c.send)
					began := time.Now()
					err = <-rejected
					var pe *protocols.Error
					var me *mux.Error
					switch {
					case errors.As(err, &pe):
						require.Equal(t, c.kind, pe.Kind, "%v", err)
						require.Equal(t, "handshake", pe.Protocol)
						require.Equal(t, "Propose", pe.State)
						require.False(t, pe.Local)
					case errors.As(err, &me):
						require.Equal(t, c.mux, me.Kind, "%v", err)
					default:
						t.Fatalf("untyped: %v", err)
					}
					if c.kind == protocols.TimedOut {
						require.Equal(t, 10*time.Second, time.Since(began))
					} else {
						require.Zero(t, time.Since(began))
					}
					_, err = raw.Read(make([]byte, 1))
					require.Error(t, err, "nothing is said")
					// the listener still listens
					good, err := clients.Dial(t.Context(), memPort(0), memPort(2))
					require.NoError(t, err)
					accepted := make(chan *Conn, 1)
					go func() { c, _ := ln.Accept(context.Background()); accepted <- c }()
					ours, err := Attach(t.Context(), good, Preview, local)
					require.NoError(t, err)
					require.NoError(t, ours.Close())
					(<-accepted).Close()
					raw.Close()
					ln.Close()
				})
			})
		}
	}
}
