package artifact

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// puppet is a peer whose every message the test writes, facing one honest Core.
type puppet struct {
	t       testing.TB
	w       *world
	id      PeerID
	p       *peer
	out     [streams][][]byte // what the core sent, by the core's stream
	score   int
	ban     time.Duration
	closed  bool
	bearers []int // bulk bearers the core has closed
	cause   error
	causes  []error // all the judge was told
	epoch   [8]byte
	slots   int
}

// world is an honest Core and the puppets around it.
type world struct {
	t       testing.TB
	now     time.Duration
	core    *Core
	puppets []*puppet
	work    []uint32
	writes  []Effect
	bouncer func(kind uint32, id ID, attr []byte) Interest
}

func newWorld(t testing.TB, cfg Config) *world {
	cfg.NodeID = PeerID{0xff}
	core, err := NewCore(0, cfg)
	require.NoError(t, err)
	return &world{t: t, core: core, bouncer: func(uint32, ID, []byte) Interest { return Wants(Normal) }}
}

func smallWorld(t testing.TB) *world {
	return newWorld(t, Config{Slots: 128, Window: 64, Kinds: []KindConfig{{ID: 1, MaxSize: 1 << 20, ChunkSize: 4096}, {ID: 2, MaxSize: 1000}}})
}

// peer attaches a puppet; session says whether both directions are opened.
func (w *world) peer(session bool, auth bool) *puppet {
	x := &puppet{t: w.t, w: w, id: PeerID{byte(len(w.puppets) + 1)}, epoch: [8]byte{byte(len(w.puppets) + 1)}, slots: 128}
	w.puppets = append(w.puppets, x)
	x.attach(auth)
	if session {
		x.session()
	}
	return x
}

func (x *puppet) attach(auth bool) {
	w := x.w
	p, err := w.core.add(w.now, PeerInfo{ID: x.id, Addr: netip.AddrFrom4([4]byte{10, 1, 1, x.id[0]}), Authenticated: auth, RTT: 10 * time.Millisecond, Dialler: true})
	require.NoError(x.t, err)
	x.p, x.closed = p, false
	w.core.Start(w.now, x.id)
	w.settle()
}

// session opens both directions.
func (x *puppet) session() {
	require.Len(x.t, x.take(OfferOut), 1, "init")
	x.send(OfferOut, (&msgInitOk{epoch: x.epoch, slots: x.slots}).append(nil))
	x.send(OfferIn, (&msgInit{version: 1, epoch: x.epoch, window: 64, reserve: 8, inline: 1 << 18, kinds: []kindWish{{1, false}, {2, false}}}).append(nil))
	require.Len(x.t, x.take(OfferIn), 1, "initOk")
	x.take(OfferOut)
}

// settle carries out effects and collects what the core sends.
func (w *world) settle() {
	for fx := w.core.Effects(); len(fx) > 0; fx = w.core.Effects() {
		for _, e := range fx {
			var x *puppet
			for _, q := range w.puppets {
				if q.id == e.Peer && q.p == e.p {
					x = q
				}
			}
			switch e.What {
			case EffectWake:
				if x == nil {
					for _, q := range w.puppets {
						if q.id == e.Peer {
							x = q
							x.p = e.p
						}
					}
				}
				for more := true; more; {
					o, ok := w.core.next(w.now, e.p, e.Stream, nil)
					if ok {
						x.out[e.Stream] = append(x.out[e.Stream], append(o.Head, o.Bytes...))
					}
					more = ok && e.p.wake>>e.Stream&1 != 0
				}
				_, ok := w.core.next(w.now, e.p, e.Stream, nil)
				require.False(w.t, ok, "no effect tells that stream %d has more to say", e.Stream)
			case EffectClose:
				x.closed, x.cause = true, e.Err
				w.core.RemovePeer(w.now, x.id)
			case EffectBearer:
				x.bearers = append(x.bearers, e.Index)
			case EffectJudge:
				x.score += e.Score
				x.ban += e.Ban
				x.cause = e.Err
				x.causes = append(x.causes, e.Err)
			case EffectWork:
				w.work = append(w.work, e.Kind)
			case EffectWrite:
				w.writes = append(w.writes, e)
			}
		}
		require.NoError(w.t, w.core.check(PeerID{}, true))
	}
}

// take returns what the core has sent on a stream since the last call.
func (x *puppet) take(s Stream) [][]byte {
	out := x.out[s]
	x.out[s] = nil
	return out
}

// send gives the core a message on its stream s.
func (x *puppet) send(s Stream, msg []byte) {
	w := x.w
	if x.closed {
		return
	}
	d := decoder{window: w.core.cfg.Window}
	m, err := d.decode(s, msg, w.bouncer, func(pc *piece) hashOf { return w.core.sched.hashPlan(x.p, x.p.laneOf(s), pc) })
	if err != nil {
		w.core.malformed(w.now, x.p, err)
	} else {
		_ = w.core.receive(w.now, x.p, &m)
	}
	w.settle()
	require.NoError(x.t, w.core.check(x.id, true))
}

// offers sends one answer with these entries.
func (x *puppet) offers(es ...entry) {
	var b []byte
	for i := range es {
		b = es[i].append(b)
	}
	x.send(OfferOut, appendOffers(nil, len(es), b))
}

// wait lets time pass.
func (w *world) wait(d time.Duration) {
	for end := w.now + d; w.now < end; {
		w.now = min(end, max(w.core.Deadline(), w.now+1))
		if w.core.Deadline() > end {
			w.now = end
		}
		w.core.Advance(w.now)
		w.settle()
	}
}

// offerOf makes an offer entry for a body of kind 1.
func offerOf(slot uint32, commit uint64, body []byte) entry {
	e := entry{tag: entryOffer, slot: slot, commit: commit, kind: 1, size: int64(len(body)), hint: 1}
	a, err := NewArtifact(KindConfig{ID: 1, MaxSize: 1 << 20, ChunkSize: 4096}, body, nil, Normal)
	if err != nil {
		panic(err)
	}
	e.id = a.ID
	if a.Manifest != nil {
		e.chunks = chunking{size: 4096, count: uint64(a.Manifest.chunks)}
		if len(a.Manifest.Root) <= maxInline {
			e.chunks.root = a.Manifest.Root
		}
	}
	return e
}

// fetches returns the requests sent on a lane.
func (x *puppet) fetches(s Stream) (out []*msgFetch) {
	for _, b := range x.take(s) {
		m, end, err := decodeFetch(b)
		require.NoError(x.t, err)
		if !end {
			out = append(out, m)
		}
	}
	return out
}

// controls returns the control messages sent, and acks them.
func (x *puppet) controls() (out []control) {
	for _, b := range x.take(ControlOut) {
		m, err := decodeControl(b, nil)
		require.NoError(x.t, err)
		out = append(out, m)
		x.send(ControlOut, (&control{tag: tagCtlAck}).append(nil))
	}
	return out
}

// verdicts returns all dispositions sent.
func (x *puppet) verdicts() map[uint32]Verdict {
	x.w.wait(2 * disposeDelay)
	out := map[uint32]Verdict{}
	for _, m := range x.controls() {
		for _, d := range m.dispose {
			out[d.slot] = d.verdict
		}
	}
	return out
}

// serve answers a fetch with the body's pieces.
func (x *puppet) serve(s Stream, m *msgFetch, body []byte) {
	a, err := NewArtifact(KindConfig{ID: 1, MaxSize: 1 << 20, ChunkSize: 4096}, body, nil, Normal)
	require.NoError(x.t, err)
	for _, sp := range m.parts {
		for i := range sp.count {
			d := a.Manifest.piece(sp.first + i)
			x.send(s, append(appendPieceHead(nil, tagManifest, m.id, sp.first+i, len(d)), d...))
		}
	}
	for _, sp := range m.chunks {
		for i := range sp.count {
			off, n := a.span(int(sp.first + i))
			x.send(s, append(appendPieceHead(nil, tagChunk, m.id, sp.first+i, n), body[off:off+int64(n)]...))
		}
	}
	x.send(s, appendFetchDone(nil, m.id, statusOK, 0))
}

// judge gives a verdict to everything that waits.
func (w *world) judge(f func(u Unjudged)) {
	w.core.con.now = w.now
	for more := true; more; {
		var us []Unjudged
		us, more = w.core.con.Take(1, 1000)
		for _, u := range us {
			f(u)
		}
	}
	w.settle()
}

func (w *world) accept() {
	w.judge(func(u Unjudged) { w.core.Validate(w.now, u.ID, nil, nil) })
}
