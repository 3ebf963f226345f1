package artifact

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Every row of artifact §6.9.

func (x *puppet) banned(what string) {
	x.t.Helper()
	require.True(x.t, x.closed, "%s: still connected", what)
	require.Equal(x.t, banFor, x.ban, what)
	require.ErrorAs(x.t, x.w.core.AddPeer(x.w.now, PeerInfo{ID: x.id, Addr: netip.AddrFrom4([4]byte{10, 1, 1, x.id[0]})}), new(*BannedError), what)
}

func TestRowCertainProtocolViolations(t *testing.T) {
	body := []byte("hello")
	for name, f := range map[string]func(w *world, x *puppet){
		"more than W outstanding": func(w *world, x *puppet) {
			w.bouncer = func(uint32, ID, []byte) Interest { return Wants(Normal) }
			for i := range 65 {
				x.offers(offerOf(uint32(i), uint64(i+1), []byte{byte(i)}))
			}
		},
		"bodies beyond the inline credit": func(w *world, x *puppet) {
			var es []entry
			for i := range 2 {
				b := make([]byte, 40000)
				b[0] = byte(i)
				e := offerOf(uint32(i), uint64(i+1), b)
				e.tag, e.body = entryPush, b
				es = append(es, e)
			}
			x.offers(es...)
		},
		"offers without a requestNext": func(w *world, x *puppet) {
			x.p.con.granted = nil
			x.offers(offerOf(0, 1, body))
		},
		"empty offers without a stop": func(w *world, x *puppet) { x.offers() },
		"initOk twice":                func(w *world, x *puppet) { x.send(OfferOut, (&msgInitOk{slots: 64}).append(nil)) },
		"initNo in a session":         func(w *world, x *puppet) { x.send(OfferOut, appendInitNo(nil, 1)) },
		"ack for nothing":             func(w *world, x *puppet) { x.send(ControlOut, (&control{tag: tagCtlAck}).append(nil)) },
		"malformed CBOR":              func(w *world, x *puppet) { x.send(OfferOut, []byte{0xff}) },
		"malformed control":           func(w *world, x *puppet) { x.send(ControlIn, []byte{0x82, 0x00, 0x80}) },
		"requestNext of 0":            func(w *world, x *puppet) { x.send(OfferIn, msgRequestNext{0, 0}.append(nil)) },
		"done with a requestNext open": func(w *world, x *puppet) {
			x.send(OfferIn, msgRequestNext{1, 0}.append(nil)) // answered with synced
			x.send(OfferIn, msgRequestNext{1, 0}.append(nil))
			x.send(OfferIn, appendDone(nil))
		},
		"five requestNexts": func(w *world, x *puppet) {
			for range 6 { // the first is answered with synced
				x.send(OfferIn, msgRequestNext{1, 0}.append(nil))
			}
		},
		"synced twice":          func(w *world, x *puppet) { x.offers(entry{tag: entrySynced}); x.offers(entry{tag: entrySynced}) },
		"slot beyond the table": func(w *world, x *puppet) { x.offers(offerOf(128, 1, body)) },
		"a kind not asked for": func(w *world, x *puppet) {
			e := offerOf(0, 1, body)
			e.kind = 9
			x.offers(e)
		},
		"size over the kind's maximum": func(w *world, x *puppet) {
			e := offerOf(0, 1, body)
			e.kind, e.size = 2, 1001
			x.offers(e)
		},
		"chunk size of another kind": func(w *world, x *puppet) {
			e := offerOf(0, 1, make([]byte, 70000))
			e.chunks.size = 8192
			x.offers(e)
		},
		"chunk count": func(w *world, x *puppet) {
			e := offerOf(0, 1, make([]byte, 70000))
			e.chunks.count++
			x.offers(e)
		},
		"claim differs from the inline manifest": func(w *world, x *puppet) {
			e := offerOf(0, 1, make([]byte, 70000))
			e.size++
			x.offers(e)
		},
		"inline manifest of something else": func(w *world, x *puppet) {
			e := offerOf(0, 1, make([]byte, 70000))
			e.chunks.root = offerOf(0, 1, append(make([]byte, 69999), 1)).chunks.root
			x.offers(e)
		},
		"pushed body with another hash": func(w *world, x *puppet) {
			e := offerOf(0, 1, body)
			e.tag, e.body = entryPush, []byte("hellp")
			x.offers(e)
		},
		"commit rollback": func(w *world, x *puppet) {
			x.offers(offerOf(3, 300, body))
			x.offers(offerOf(3, 299, []byte("other")))
		},
		"commit rollback behind a withdraw": func(w *world, x *puppet) {
			x.offers(offerOf(3, 300, body))
			x.offers(entry{tag: entryWithdraw, slot: 3, commit: 300}, offerOf(3, 299, []byte("other")))
		},
		"unsolicited chunk": func(w *world, x *puppet) {
			x.send(BulkOut, append(appendPieceHead(nil, tagChunk, 0, 0, 1), 1))
		},
		"chunk that was not asked for": func(w *world, x *puppet) {
			x.offers(offerOf(0, 1, body))
			require.Len(t, x.fetches(BulkOut), 1)
			x.send(BulkOut, append(appendPieceHead(nil, tagChunk, 0, 1, 1), 1))
		},
		"chunk twice": func(w *world, x *puppet) {
			x.offers(offerOf(0, 1, body))
			x.send(BulkOut, append(appendPieceHead(nil, tagChunk, 0, 0, 5), body...))
			x.send(BulkOut, append(appendPieceHead(nil, tagChunk, 0, 0, 5), body...))
		},
		"chunk longer than claimed": func(w *world, x *puppet) {
			x.offers(offerOf(0, 1, body))
			x.send(BulkOut, append(appendPieceHead(nil, tagChunk, 0, 0, 6), "hello!"...))
		},
		"disposition above the register": func(w *world, x *puppet) {
			x.send(ControlIn, (&control{tag: tagDispose, dispose: []disposition{{0, 99, Have}}}).append(nil))
		},
		"disposition of a slot beyond the table": func(w *world, x *puppet) {
			x.send(ControlIn, (&control{tag: tagDispose, dispose: []disposition{{128, 0, Have}}}).append(nil))
		},
		"fetch on the wrong lane": func(w *world, x *puppet) {
			x.send(BulkIn, (&msgFetch{class: Urgent, chunks: []span{{0, 1}}}).append(nil))
		},
		"request ids not ascending": func(w *world, x *puppet) {
			x.send(BulkIn, (&msgFetch{id: 1, class: Bulk, chunks: []span{{0, 1}}}).append(nil))
			x.send(BulkIn, (&msgFetch{id: 1, class: Bulk, chunks: []span{{0, 1}}}).append(nil))
		},
		"chunk hash, authenticated": func(w *world, x *puppet) {
			x.offers(offerOf(0, 1, body))
			x.send(BulkOut, append(appendPieceHead(nil, tagChunk, 0, 0, 5), "hellp"...))
		},
		"manifest hash, authenticated": func(w *world, x *puppet) {
			b := make([]byte, 400000)
			x.offers(offerOf(0, 1, b))
			m := x.fetches(BulkOut)
			require.Len(t, m, 1)
			require.Equal(t, []span{{0, 1}}, m[0].parts)
			x.send(BulkOut, append(appendPieceHead(nil, tagManifest, 0, 0, 3), 1, 2, 3))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := smallWorld(t)
			x := w.peer(true, true)
			f(w, x)
			x.banned(name)
		})
	}
}

func TestRowFetchesWithoutASession(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(false, true)
	x.send(BulkIn, (&msgFetch{class: Bulk, chunks: []span{{0, 1}}}).append(nil))
	x.banned("fetch before initOk")
	y := w.peer(false, true)
	y.send(ControlIn, (&control{tag: tagStop}).append(nil))
	y.banned("control before initOk")
	z := w.peer(false, true)
	z.offers(offerOf(0, 1, nil))
	z.banned("offers before initOk")
}

func TestRowWrongHashOnPlainTCP(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, false)
	for i := range 3 {
		body := []byte{byte(i), 1, 2}
		if i > 0 {
			x.out = [streams][][]byte{}
			x.epoch[7]++ // no resume
			x.attach(false)
			x.session()
		}
		x.offers(offerOf(uint32(i), uint64(i+1), body))
		x.send(BulkOut, append(appendPieceHead(nil, tagChunk, 0, 0, 3), 9, 9, 9))
		require.True(t, x.closed, "the bearer is closed")
		require.Equal(t, -20*(i+1), x.score)
		if i < 2 {
			require.Zero(t, x.ban)
		}
	}
	x.banned("third time")
}

// On a bulk bearer somebody on the path may be to blame as well: that bearer is closed, the session goes on.
func TestRowWrongHashOnABulkBearer(t *testing.T) {
	for _, auth := range []bool{false, true} {
		w := smallWorld(t)
		x, y := w.peer(false, auth), w.peer(true, auth)
		x.take(OfferOut)
		key := [16]byte{7}
		x.send(OfferOut, (&msgInitOk{epoch: x.epoch, slots: x.slots, bulk: &bulkOffer{bearers: 1, key: key}}).append(nil))
		join := func() {
			m, err := decodeJoin(w.core.joinMessage(x.p, 0))
			require.NoError(t, err)
			up, _, err := w.core.joinReply(x.p, 0, appendJoinOk(nil, joinMAC(&key, "joined", m.session, 0, m.attempt)))
			require.NoError(t, err)
			require.True(t, up)
			w.settle()
		}
		join()
		wrong := func(n byte) {
			e := offerOf(uint32(n), uint64(n+1), append(make([]byte, 2000), n)) // not waited for as a push
			x.offers(e)
			m := x.fetches(bearerOut)
			require.Len(t, m, 1)
			y.offers(e)
			x.send(bearerOut, append(appendPieceHead(nil, tagChunk, m[0].id, 0, 3), 9, 9, 9))
			require.Len(t, y.fetches(BulkOut), 1, "the other advertiser is asked at once")
		}
		wrong(0)
		if auth {
			x.banned("the peer's own doing")
			continue
		}
		require.Equal(t, -20, x.score)
		require.False(t, x.closed, "only that bearer")
		require.Equal(t, []int{0}, x.bearers)
		require.False(t, x.p.net.lanes[laneBearer].up)
		w.wait(time.Second) // it is dialled again
		join()
		wrong(1)
		w.wait(2 * time.Second)
		join()
		require.False(t, x.closed)
		wrong(2)
		x.banned("third time")
	}
}

func TestRowInvalidForever(t *testing.T) {
	w := smallWorld(t)
	x, y := w.peer(true, true), w.peer(true, true)
	supply := func(n byte) {
		e := offerOf(uint32(n), uint64(n+1), []byte{n})
		x.offers(e)
		y.offers(e)
		for _, q := range []*puppet{x, y} {
			for _, m := range q.fetches(BulkOut) {
				q.serve(BulkOut, m, []byte{n})
			}
		}
		w.judge(func(u Unjudged) { w.core.Reject(w.now, u.ID, true) })
	}
	supply(0)
	require.Equal(t, -50, x.score+y.score, "only the supplier is blamed")
	require.Equal(t, Invalid, x.verdicts()[0])
	require.Equal(t, Invalid, y.verdicts()[0])
	x.offers(offerOf(9, 9, []byte{0}))
	require.Equal(t, Invalid, x.verdicts()[9], "receive check")
	require.Empty(t, x.fetches(BulkOut))
	w.wait(11 * time.Minute)
	if x.score < 0 {
		y = nil
	}
	supplyOne := func(q *puppet, n byte) {
		q.offers(offerOf(uint32(n), uint64(n+1), []byte{n}))
		for _, m := range q.fetches(BulkOut) {
			q.serve(BulkOut, m, []byte{n})
		}
		w.judge(func(u Unjudged) { w.core.Reject(w.now, u.ID, true) })
	}
	guilty := x
	if y != nil {
		guilty = y
	}
	supplyOne(guilty, 20)
	require.False(t, guilty.closed, "more than ten minutes after the first")
	supplyOne(guilty, 21)
	guilty.banned("second within ten minutes")
}

func TestRowInvalidHereAndNow(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	x.offers(offerOf(0, 1, []byte("x")))
	for _, m := range x.fetches(BulkOut) {
		x.serve(BulkOut, m, []byte("x"))
	}
	w.judge(func(u Unjudged) { w.core.Reject(w.now, u.ID, false) })
	require.Equal(t, Unwanted, x.verdicts()[0])
	require.Zero(t, x.score)
}

func TestRowAttrForged(t *testing.T) {
	w := smallWorld(t)
	x, y := w.peer(true, true), w.peer(true, true)
	e := offerOf(0, 1, []byte("x"))
	e.attr = []byte{7}
	y.offers(e)
	e.attr = []byte{8}
	x.offers(e)
	for _, q := range []*puppet{x, y} {
		for _, m := range q.fetches(BulkOut) {
			q.serve(BulkOut, m, []byte("x"))
		}
	}
	w.judge(func(u Unjudged) { w.core.Validate(w.now, u.ID, []byte{8}, nil) })
	require.Equal(t, -50, y.score)
	require.Zero(t, x.score)
	require.Equal(t, Invalid, y.verdicts()[0])
	require.Equal(t, Delivered, x.verdicts()[0])
	require.NotNil(t, w.core.Get(e.id))
}

// An unwanted that was derived from a forged attr is remembered for that offer only.
func TestForgedAttrHidesNothing(t *testing.T) {
	w := smallWorld(t)
	w.bouncer = func(_ uint32, _ ID, attr []byte) Interest {
		if attr[0] == 7 {
			return NotWanted
		}
		return Wants(Normal)
	}
	x, y := w.peer(true, true), w.peer(true, true)
	e := offerOf(0, 1, []byte("x"))
	e.attr = []byte{7}
	x.offers(e)
	require.Equal(t, Unwanted, x.verdicts()[0])
	e.attr = []byte{8}
	y.offers(e)
	require.Len(t, y.fetches(BulkOut), 1)
}

func TestRowChurn(t *testing.T) {
	w := smallWorld(t)
	w.bouncer = func(uint32, ID, []byte) Interest { return NotWanted }
	x := w.peer(true, true)
	n, commit := 0, uint64(0)
	for range 60 {
		for range 200 {
			if len(x.p.con.granted) == 0 {
				break
			}
			commit++
			x.offers(offerOf(uint32(commit%128), commit, []byte{byte(commit), byte(commit >> 8)}))
			if n++; n%50 == 0 { // the rate is what counts
				w.wait(500 * time.Millisecond)
				x.controls()
			}
		}
		w.wait(time.Second)
	}
	require.Less(t, n, 60*100, "requestNext was slowed down: %d of 12000", n)
	require.Zero(t, x.score)
	require.False(t, x.closed)
}

// Of a busy honest link most entries may be known, and withdrawals of what was settled: it is not slowed down. Whoever says known of
// what was never shown to it is.
func TestBusyLinkIsNoChurn(t *testing.T) {
	for _, honest := range []bool{true, false} {
		w := smallWorld(t)
		x := w.peer(true, true)
		for i := range 1200 {
			if honest {
				a := publishIn(t, w, append(make([]byte, pushThreshold), byte(i), byte(i>>8)), Normal) // of what may be pushed, offers rest
				x.send(OfferIn, msgRequestNext{64, 0}.append(nil))
				w.wait(12 * time.Millisecond)
				var shown []disposition
				for _, e := range x.entries() {
					if e.tag == entryOffer {
						shown = append(shown, disposition{e.slot, e.commit, Delivered})
					}
				}
				require.Len(t, shown, 1)
				x.send(ControlIn, (&control{tag: tagDispose, dispose: shown}).append(nil))
				require.True(t, w.core.Remove(w.now, a.ID))
				w.settle()
			} else {
				w.wait(12 * time.Millisecond)
			}
			if x.p.con.holdback {
				require.False(t, honest, "credits were held back after %d bodies", i)
				break
			}
			slot := uint32(i % 128)
			x.offers(entry{tag: entryKnown, slot: slot, commit: uint64(i + 1)}, entry{tag: entryWithdraw, slot: slot})
			x.controls()
		}
		require.Equal(t, honest, !x.p.con.holdback)
		require.Zero(t, x.score)
		require.False(t, x.closed)
	}
}

func TestRowEqualCommitIsALegalReoffer(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	e := offerOf(0, 1, []byte("x"))
	x.offers(e)
	x.offers(e)
	require.False(t, x.closed)
}

func TestRowSizeDiffersFromTheBody(t *testing.T) {
	w := smallWorld(t)
	x, y := w.peer(true, true), w.peer(true, true)
	body := []byte("honest")
	good := offerOf(0, 1, body)
	bad := good
	bad.size = 600
	x.offers(bad)
	x.fetches(BulkOut)
	y.offers(good)
	x.send(BulkOut, appendFetchDone(nil, 0, statusTooLarge, 0))
	w.wait(time.Second)
	for _, m := range y.fetches(BulkOut) {
		y.serve(BulkOut, m, body)
	}
	require.Equal(t, -50, x.score)
	require.Zero(t, y.score)
	w.accept()
	require.NotNil(t, w.core.Get(good.id))
}

func TestRowFloodsAreAckedAndIgnored(t *testing.T) {
	w := smallWorld(t)
	for i := range 100 {
		a, err := NewArtifact(KindConfig{ID: 1, MaxSize: 100}, []byte{byte(i)}, nil, Normal)
		require.NoError(t, err)
		require.NoError(t, w.core.Publish(w.now, a))
	}
	x := w.peer(true, true)
	x.p.link.on[0] = false
	for range 6 {
		x.send(OfferIn, msgRequestNext{64, 0}.append(nil))
		w.wait(time.Millisecond)
		for _, b := range x.take(OfferIn) {
			m, err := decodeFromProvider(b, 64, nil)
			require.NoError(t, err)
			for _, e := range m.offers {
				if e.tag == entryOffer {
					x.send(ControlIn, (&control{tag: tagDispose, dispose: []disposition{{e.slot, e.commit, NoRoom}}}).append(nil))
				}
			}
		}
	}
	x.take(ControlIn)
	before := x.p.prov.view.answers
	acks, shown := 0, 0
	for i := range 500 {
		if i%2 == 0 {
			x.send(ControlIn, (&control{tag: tagReoffer, which: 3}).append(nil))
		} else {
			x.send(ControlIn, (&control{tag: tagCompare, answers: before, digests: []digest{{1}, {2}}}).append(nil))
		}
		acks += len(x.take(ControlIn))
		for _, b := range x.take(OfferIn) {
			m, _ := decodeFromProvider(b, 64, nil)
			shown += m.shown
			x.send(OfferIn, msgRequestNext{64, 0}.append(nil))
		}
		w.wait(time.Millisecond)
	}
	require.Equal(t, 500, acks, "every message is acked")
	require.LessOrEqual(t, shown, 64, "paced by the window: the asker pays with its own dispositions")
	require.False(t, x.closed)
	require.Zero(t, x.score)
}

func TestRowJoinNo(t *testing.T) {
	w := newWorld(t, Config{Slots: 64, Kinds: []KindConfig{{ID: 1, MaxSize: 100}}})
	p, err := w.core.add(0, PeerInfo{ID: PeerID{1}, Addr: netip.MustParseAddr("10.0.0.1"), Authenticated: true})
	require.NoError(t, err)
	x := &puppet{t: t, w: w, id: PeerID{1}, p: p, slots: 64}
	w.puppets = append(w.puppets, x)
	reason := func(b []byte) uint64 {
		ok, _, r, err := decodeJoinReply(b)
		require.NoError(t, err)
		require.False(t, ok)
		return r
	}
	key := [16]byte{}
	msg := func(bearer, attempt uint64) []byte {
		s := sessionOf(&key)
		return (&msgJoin{s, bearer, attempt, joinMAC(&key, "join", s, bearer, attempt)}).append(nil)
	}
	reply, _, _, _ := w.core.acceptJoin(PeerID{1}, msg(0, 1))
	require.EqualValues(t, joinUnknown, reason(reply), "no session")
	x.send(OfferIn, (&msgInit{version: 1, window: 64, kinds: []kindWish{{1, false}}}).append(nil))
	var init fromProvider
	init, err = decodeFromProvider(x.take(OfferIn)[0], 64, nil)
	require.NoError(t, err)
	require.NotNil(t, init.ok.bulk)
	key = init.ok.bulk.key
	reply, _, _, _ = w.core.acceptJoin(PeerID{2}, msg(0, 1))
	require.EqualValues(t, joinUnknown, reason(reply), "another peer's nodeId")
	bad := msg(0, 1)
	bad[len(bad)-1] ^= 1
	reply, _, _, _ = w.core.acceptJoin(PeerID{1}, bad)
	require.EqualValues(t, joinBadMAC, reason(reply))
	reply, _, _, _ = w.core.acceptJoin(PeerID{1}, msg(2, 1))
	require.EqualValues(t, joinIndex, reason(reply))
	reply, _, ix, ok := w.core.acceptJoin(PeerID{1}, msg(1, 3))
	require.True(t, ok)
	require.Equal(t, 1, ix)
	good, mac, _, err := decodeJoinReply(reply)
	require.NoError(t, err)
	require.True(t, good)
	require.Equal(t, joinMAC(&key, "joined", sessionOf(&key), 1, 3), mac)
	reply, _, _, _ = w.core.acceptJoin(PeerID{1}, msg(1, 3))
	require.EqualValues(t, joinStale, reason(reply), "replay")
	_, _, _, ok = w.core.acceptJoin(PeerID{1}, msg(1, 4))
	require.True(t, ok, "a successful join replaces the old bearer")
	require.False(t, x.closed)
	require.Zero(t, x.score)
}

func TestRowInitNo(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(false, true)
	require.Len(t, x.take(OfferOut), 1)
	x.send(OfferOut, appendInitNo(nil, initNoBusy))
	w.wait(29 * time.Second)
	require.Empty(t, x.take(OfferOut))
	w.wait(2 * time.Second)
	require.Len(t, x.take(OfferOut), 1, "asked again after 30 s")
	x.send(OfferOut, appendInitNo(nil, initNoBusy))
	w.wait(59 * time.Second)
	require.Empty(t, x.take(OfferOut))
	w.wait(2 * time.Second)
	require.Len(t, x.take(OfferOut), 1, "then after 60 s")
	require.Zero(t, x.score)
	x.send(OfferOut, appendInitNo(nil, initNoBusy))
	w.core.Start(w.now, x.id) // the host asks before the wait is over
	w.settle()
	require.Len(t, x.take(OfferOut), 1)
	y := w.peer(false, true)
	y.send(OfferIn, (&msgInit{version: 2, window: 64}).append(nil))
	require.Equal(t, appendInitNo(nil, initNoVersion), y.take(OfferIn)[0])
}

func TestRowUnwantedCostsOnlyTheWindow(t *testing.T) {
	w := smallWorld(t)
	w.bouncer = func(uint32, ID, []byte) Interest { return NotWanted }
	x := w.peer(true, true)
	for i := range 500 {
		x.offers(offerOf(uint32(i%128), uint64(i+1), []byte{byte(i), byte(i >> 8)}))
		x.verdicts()
	}
	require.False(t, x.closed)
	require.Zero(t, x.score)
}
