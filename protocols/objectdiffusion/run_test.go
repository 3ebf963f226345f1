package objectdiffusion_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/internal/rawpeer"
	"github.com/hearthnet/hearth/protocols/internal/rig"
	od "github.com/hearthnet/hearth/protocols/objectdiffusion"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store is objects in memory: a [od.Pool] and a [od.Sink].
type store struct {
	limit int

	mu      sync.Mutex
	order   [][]byte
	byID    map[string][]byte
	bytes   int
	changed chan struct{}
	freed   chan struct{}
}

func newStore(limit int) *store {
	return &store{limit: limit, byID: map[string][]byte{}, changed: make(chan struct{}), freed: make(chan struct{})}
}

func object(i, size int) []byte {
	return cbor.AppendBytes(cbor.AppendUint(cbor.AppendArray(nil, 2), uint64(i)), make([]byte, size))
}

func idOf(object []byte) []byte {
	h := sha256.Sum256(object)
	return cbor.AppendBytes(nil, h[:])
}

func (s *store) ID(object []byte) ([]byte, error) {
	r := cbor.NewReader(object)
	r.DefArray(2)
	if r.Err() != nil {
		return nil, r.Err()
	}
	return idOf(object), nil
}

func (s *store) Add(id, object []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes+len(object) > s.limit {
		return fmt.Errorf("%w: %d bytes", od.ErrFull, s.limit)
	}
	if s.byID[string(id)] != nil {
		return errors.New("twice")
	}
	s.bytes += len(object)
	s.byID[string(id)] = append([]byte(nil), object...)
	s.order = append(s.order, append([]byte(nil), id...))
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

func (s *store) Next(after uint64) (uint64, []byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if after >= uint64(len(s.order)) {
		return 0, nil, false
	}
	return after + 1, s.order[after], true
}

func (s *store) Object(id []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[string(id)]
}

func (s *store) Has(id []byte) bool { return s.Object(id) != nil }

func (s *store) Room() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limit - s.bytes
}

func (s *store) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *store) Freed() <-chan struct{} { return s.freed }

func (s *store) fill(t testing.TB, from, to, size int) {
	t.Helper()
	for i := from; i < to; i++ {
		o := object(i, size)
		require.NoError(t, s.Add(idOf(o), o))
	}
}

func (s *store) until(t testing.TB, n int) {
	t.Helper()
	ctx := rawpeer.Context(t)
	for {
		changed := s.Changed()
		if _, _, more := s.Next(uint64(n - 1)); more {
			_, _, more := s.Next(uint64(n))
			require.False(t, more)
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatal("too few objects")
		}
	}
}

var kinds = map[string]struct {
	od.Kind
	number       uint16
	window, size int
}{
	"certificates": {od.Certificates, od.CertificateNumber, od.CertificateWindow, od.MaxCertificate - 10},
	"votes":        {od.Votes, od.VoteNumber, od.VoteWindow, od.MaxVote - 10},
}

// ask has a connection of ours ask for the test's time.
func ask(t testing.TB, c *connmgr.Conn, in *od.Inbound) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- in.Ask(context.Background(), c) }()
	t.Cleanup(func() {
		c.Close()
		require.Error(t, <-ended)
	})
}

// TestObjectsGoOver: both kinds, of the largest size, some while the asking side waits; the window never holds anything up.
func TestObjectsGoOver(t *testing.T) {
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			theirs, ours := newStore(1<<30), newStore(1<<30)
			theirs.fill(t, 0, 120, k.size)
			addr, _ := rawpeer.Serve(t, false, connmgr.WithPeras(), connmgr.Serve(k.Responder(theirs)))
			in := k.NewInbound(ours, od.Limits{})
			for range 2 { // of two peers nothing comes twice: Add would fail, and no error is no Add
				c := rawpeer.Dial(t, addr, false, connmgr.WithPeras())
				require.Equal(t, uint16(16), c.Negotiated().Version)
				ask(t, c, in)
			}
			ours.until(t, 120)
			theirs.fill(t, 120, 150, k.size/2)
			ours.until(t, 150)
			require.Equal(t, theirs.byID, ours.byID)
		})
	}
}

func TestOnlyWithPeras(t *testing.T) {
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			in := k.NewInbound(newStore(1), od.Limits{})
			addr, _ := rawpeer.Serve(t, false, connmgr.WithPeras(), connmgr.Serve(k.Responder(newStore(1))))
			c := rawpeer.Dial(t, addr, false)
			require.ErrorIs(t, in.Ask(rawpeer.Context(t), c), protocols.ErrUnsupported)
			rawpeer.Alive(t, c)
		})
	}
}

// TestDoneFromTheAskingSide: told to terminate, it says Done once nothing is outstanding, and the stream can be used again.
func TestDoneFromTheAskingSide(t *testing.T) {
	p, c := rawpeer.Accept(t, false, od.VoteNumber, connmgr.WithPeras())
	o := object(1, 10)
	for range 2 {
		mp := od.Votes.NewInbound(newStore(1<<20), od.Limits{}).Initiator()
		s, err := c.Open(mp, mux.Initiator)
		require.NoError(t, err)
		ended := make(chan error, 1)
		go func() { ended <- s.Run(context.Background(), mp.Initiate) }()
		require.Equal(t, od.AppendInit(nil), p.Hear())
		require.Equal(t, od.AppendRequestIDs(nil, true, 0, od.VoteWindow), p.Hear())
		s.SetControl(protocols.Terminate)
		p.Say(od.AppendReplyIDs(nil, [][]byte{idOf(o)}))
		require.Equal(t, od.AppendDone(nil), p.Hear())
		require.NoError(t, <-ended)
	}
	rawpeer.Alive(t, c)
}

func TestHostileOwners(t *testing.T) {
	o, other := object(1, 10), object(2, 10)
	id := idOf(o)
	many := func(n int) (ids [][]byte) {
		for i := range n {
			ids = append(ids, idOf(object(i, 10)))
		}
		return ids
	}
	asked := func(answer []byte) func(p *rawpeer.Peer) {
		return func(p *rawpeer.Peer) {
			p.Say(od.AppendReplyIDs(nil, [][]byte{id}))
			require.Equal(p, od.AppendRequestObjects(nil, [][]byte{id}), p.Hear())
			p.Say(answer)
		}
	}
	for name, c := range map[string]struct {
		script func(p *rawpeer.Peer)
		kind   protocols.ErrorKind
		cause  error
	}{
		"more ids than asked for":                {func(p *rawpeer.Peer) { p.Say(od.AppendReplyIDs(nil, many(51))) }, protocols.Violation, od.ErrTooMany},
		"no ids in answer to a blocking request": {func(p *rawpeer.Peer) { p.Say(od.AppendReplyIDs(nil, nil)) }, protocols.Violation, od.ErrEmpty},
		"an id of 40 kB": {func(p *rawpeer.Peer) {
			p.Say(od.AppendReplyIDs(nil, [][]byte{cbor.AppendBytes(nil, make([]byte, 40_000))}))
		}, protocols.Violation, od.ErrID},
		"another object":       {asked(od.AppendReplyObjects(nil, [][]byte{other})), protocols.Violation, od.ErrNotRequested},
		"an object twice":      {asked(od.AppendReplyObjects(nil, [][]byte{o, o})), protocols.Violation, od.ErrTooMany},
		"no object":            {asked(od.AppendReplyObjects(nil, [][]byte{{0}})), protocols.Violation, nil},
		"ids for objects":      {asked(od.AppendReplyIDs(nil, [][]byte{id})), protocols.Unexpected, nil},
		"a request of its own": {func(p *rawpeer.Peer) { p.Say(od.AppendRequestIDs(nil, true, 0, 1)) }, protocols.Unexpected, nil},
		"Done":                 {func(p *rawpeer.Peer) { p.Say(od.AppendDone(nil)) }, protocols.Unexpected, nil},
	} {
		t.Run(name, func(t *testing.T) {
			ours, honest := newStore(1<<20), newStore(1<<20)
			in := od.Votes.NewInbound(ours, od.Limits{})
			addr, _ := rawpeer.Serve(t, false, connmgr.WithPeras(), connmgr.Serve(od.Votes.Responder(honest)))
			unaffected := rawpeer.Dial(t, addr, false, connmgr.WithPeras())
			ask(t, unaffected, in)
			p, conn := rawpeer.Accept(t, false, od.VoteNumber, connmgr.WithPeras())
			ask(t, conn, in)
			require.Equal(t, od.AppendInit(nil), p.Hear())
			require.Equal(t, od.AppendRequestIDs(nil, true, 0, 50), p.Hear())
			c.script(p)
			rawpeer.Violated(t, conn, c.kind, c.cause)
			honest.fill(t, 0, 5, 10)
			ours.until(t, 5)
			rawpeer.Alive(t, unaffected)
		})
	}
}

func TestHostileAskers(t *testing.T) {
	pool := newStore(1 << 20)
	pool.fill(t, 0, 20, 10)
	_, first, _ := pool.Next(0)
	_, last, _ := pool.Next(19)
	request := od.AppendRequestIDs
	for name, c := range map[string]struct {
		requests [][]byte
		kind     protocols.ErrorKind
		cause    error
	}{
		"acknowledges too much":           {[][]byte{request(nil, true, 0, 2), request(nil, true, 3, 1)}, protocols.Violation, od.ErrAckedTooMany},
		"asks for more than the window":   {[][]byte{request(nil, true, 0, 11)}, protocols.Violation, od.ErrRequestedTooMany},
		"blocking while something is out": {[][]byte{request(nil, true, 0, 2), request(nil, true, 1, 1)}, protocols.Violation, od.ErrShouldNotBlock},
		"non-blocking while nothing is":   {[][]byte{request(nil, false, 0, 1)}, protocols.Violation, od.ErrShouldBlock},
		"asks for nothing":                {[][]byte{request(nil, true, 0, 0)}, protocols.Violation, od.ErrRequestedNothing},
		"an id that was never announced":  {[][]byte{request(nil, true, 0, 2), od.AppendRequestObjects(nil, [][]byte{last})}, protocols.Violation, od.ErrUnavailable},
		"the same id twice":               {[][]byte{request(nil, true, 0, 2), od.AppendRequestObjects(nil, [][]byte{first, first})}, protocols.Violation, od.ErrRequestedTwice},
		"Init again":                      {[][]byte{od.AppendInit(nil)}, protocols.Unexpected, nil},
	} {
		t.Run(name, func(t *testing.T) {
			addr, conns := rawpeer.Serve(t, false, connmgr.WithPeras(), connmgr.Serve(od.Certificates.Responder(pool)))
			unaffected := rawpeer.Dial(t, addr, false, connmgr.WithPeras())
			ours := newStore(1 << 20)
			<-conns
			p := rawpeer.Connect(t, addr, false, od.CertificateNumber)
			server := <-conns // before it is gone
			p.Say(od.AppendInit(nil))
			for i, m := range c.requests {
				p.Say(m)
				if i < len(c.requests)-1 {
					require.NotNil(t, p.Hear())
				}
			}
			rawpeer.Violated(t, server, c.kind, c.cause)
			ask(t, unaffected, od.Certificates.NewInbound(ours, od.Limits{}))
			ours.until(t, 20)
		})
	}
}

// TestTimeLimits in virtual time: none for a blocking wait, 10 s for objects and for ids that were not to be waited for.
func TestTimeLimits(t *testing.T) {
	id := idOf(object(1, 10))
	for state, script := range map[string]func(p *rawpeer.Peer){
		"Objects": func(p *rawpeer.Peer) { p.Say(od.AppendReplyIDs(nil, [][]byte{id})) },
		"ObjIds/non-block": func(p *rawpeer.Peer) {
			p.Say(od.AppendReplyIDs(nil, [][]byte{id}))
			p.Hear()
			p.Say(od.AppendReplyObjects(nil, [][]byte{object(1, 10)}))
		},
	} {
		t.Run(state, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := rig.Conns(t, memnet.Link{})
				mp := od.Certificates.NewInbound(newStore(1<<20), od.Limits{}).Initiator()
				e := rig.Attach(t, a, protocols.Negotiated{Version: 16, Peras: true}, mp)
				s, err := e.Open(mp, mux.Initiator)
				require.NoError(t, err)
				ended := make(chan error, 1)
				go func() { ended <- s.Run(context.Background(), mp.Initiate) }()
				p := &rawpeer.Peer{TB: t, Conn: b, Number: od.CertificateNumber, Role: mux.Responder}
				p.Hear()
				p.Hear()
				time.Sleep(50 * time.Hour)
				script(p)
				synctest.Wait()
				began := time.Now()
				pe, err := e.Err()
				require.NoError(t, err)
				require.Equal(t, protocols.TimedOut, pe.Kind)
				require.Equal(t, state, pe.State)
				require.Equal(t, 10*time.Second, time.Since(began))
				e.Close()
				b.Close()
				<-ended
				synctest.Wait()
			})
		})
	}
}
