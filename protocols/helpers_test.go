package protocols_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// States of the toy mini-protocol: a client asks, a server answers at once or after it has asked for patience.
const (
	idle protocols.State = iota
	busy
	patient
	done
)

var toy = &protocols.Spec{
	Name: "toy",
	States: []protocols.StateSpec{
		idle:    {Name: "Idle", Agency: protocols.Client, Bytes: 100, Timeout: protocols.Within(10 * time.Second)},
		busy:    {Name: "Busy", Agency: protocols.Server, Bytes: 200, Timeout: protocols.Within(20 * time.Second)},
		patient: {Name: "Patient", Agency: protocols.Server, Bytes: 50, Timeout: protocols.TimeLimit{Min: 30 * time.Second, Max: 40 * time.Second}},
		done:    {Name: "Done"},
	},
	Transitions: []protocols.Transition{
		{Message: "Ask", Tag: 0, Len: 2, From: idle, To: busy},
		{Message: "Bye", Tag: 1, Len: 1, From: idle, To: done},
		{Message: "Answer", Tag: 2, Len: 2, From: busy, To: idle},
		{Message: "Hold", Tag: 3, Len: 1, From: busy, To: patient},
		{Message: "Answer", Tag: 2, Len: 2, From: patient, To: idle},
	},
}

const toyNumber = 77

var (
	bye  = []byte{0x81, 1}
	hold = []byte{0x81, 3}
)

// ask and answer are messages of exactly size bytes, at least 4.
func ask(size int) []byte    { return sized(0, size) }
func answer(size int) []byte { return sized(2, size) }

func sized(tag uint64, size int) []byte {
	head := cbor.AppendUint(cbor.AppendArray(nil, 2), tag)
	for n := 0; ; n++ {
		if m := cbor.AppendBytes(head[:2:2], make([]byte, n)); len(m) == size {
			return m
		} else if len(m) > size {
			panic("no byte string of that size")
		}
	}
}

// rig is one end of the toy mini-protocol over an in-memory connection whose other end is the test.
type rig struct {
	*testing.T
	peer    net.Conn
	mux     *mux.Mux
	session *protocols.Session
	ended   int
	start   time.Time
}

func memPair(t testing.TB) (net.Conn, net.Conn) {
	n := memnet.New(memnet.Config{Seed: 1})
	a, b := n.Host(netip.MustParseAddr("10.0.0.1")), n.Host(netip.MustParseAddr("10.0.0.2"))
	at := netip.MustParseAddrPort("10.0.0.2:3001")
	l, err := b.Listen(at)
	require.NoError(t, err)
	c, err := a.Dial(t.Context(), netip.AddrPort{}, at)
	require.NoError(t, err)
	d, err := l.Accept()
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return c, d
}

// inBubble runs f with a rig in virtual time.
func inBubble(t *testing.T, role mux.Role, mp *protocols.MiniProtocol, f func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ours, peer := memPair(t)
		r := &rig{T: t, peer: peer, mux: mux.New(ours, mux.Config{}), start: time.Now()}
		if mp == nil {
			mp = &protocols.MiniProtocol{Spec: toy, Number: toyNumber}
		}
		s, err := r.mux.Register(mux.StreamConfig{Number: mp.Number, Role: role, IngressLimit: mp.Ingress[role], EgressLimit: mp.Egress})
		require.NoError(t, err)
		r.session = protocols.NewSession(mp, s, protocols.Negotiated{Version: 15}, func(*protocols.Session) { r.ended++ })
		r.mux.Start()
		f(r)
		r.session.Cancel()
		r.peer.Close()
		r.mux.Close()
		synctest.Wait()
	})
}

// say sends bytes to the rig's end, in one SDU.
func (r *rig) say(p []byte) {
	r.Helper()
	from := r.session.Role().Peer()
	require.NoError(r, mux.WriteSDU(r.peer, mux.Header{Number: r.session.MiniProtocol().Number, From: from}, p))
}

// hear returns the next SDU that the rig's end sent.
func (r *rig) hear() []byte {
	r.Helper()
	h, p, err := mux.ReadSDU(r.peer, mux.MaxPayload)
	require.NoError(r, err)
	require.Equal(r, r.session.Role(), h.From)
	return p
}

// hearBytes returns the next n bytes that the rig's end sent, in whatever SDUs.
func (r *rig) hearBytes(n int) (got []byte) {
	r.Helper()
	for len(got) < n {
		got = append(got, r.hear()...)
	}
	return got
}

func (r *rig) now() time.Duration { return time.Since(r.start) }

// broken waits for the connection's end and checks that it is an error of this mini-protocol.
func (r *rig) broken(kind protocols.ErrorKind, state string, local bool) *protocols.Error {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Hour)
	defer cancel()
	err := r.mux.Wait(ctx)
	var e *protocols.Error
	require.ErrorAs(r, err, &e)
	require.Equal(r, kind, e.Kind, "%v", e)
	require.Equal(r, state, e.State, "%v", e)
	require.Equal(r, local, e.Local, "%v", e)
	require.Equal(r, r.session.MiniProtocol().Number, e.Number)
	require.Equal(r, r.session.Role(), e.Role)
	return e
}
