package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

func chainSyncChecks() []check {
	list := []check{
		{id: "chain-sync.tip-probe", section: "§6", expected: "an empty FindIntersect is answered with IntersectNotFound and the tip", run: onChainSync(0, tipProbe)},
		{id: "chain-sync.origin-first", section: "§6", expected: "without FindIntersect the first answer is RollBackward to origin", run: onChainSync(0, originFirst)},
		{id: "chain-sync.intersect-first", section: "§6", expected: "after IntersectFound the first answer is RollBackward to it, the next the header after it", run: onChainSync(3, intersectFirst)},
		{id: "chain-sync.preference", section: "§6", expected: "of several known points the first of the list is the intersection", run: onChainSync(3, preference)},
		{id: "chain-sync.origin-point", section: "§6", expected: "origin is a point like others", run: onChainSync(0, originPoint)},
		{id: "chain-sync.definite", section: "§6", expected: "a definite list of points is accepted", run: onChainSync(1, func(l *link, s sample) (string, error) {
			b := cbor.AppendArray(cbor.AppendMessage(nil, 2, chainsync.TagFindIntersect), 1)
			return l.finds(chainsync.AppendPoint(b, s.headers[0].Point()), s.headers[0].Point())
		})},
		{id: "chain-sync.indefinite", section: "§6", expected: "an indefinite list of points is accepted", run: onChainSync(1, func(l *link, s sample) (string, error) {
			return l.finds(chainsync.AppendFindIntersect(nil, []chainsync.Point{s.headers[0].Point()}), s.headers[0].Point())
		})},
		{id: "chain-sync.not-found", section: "§6", expected: "IntersectNotFound leaves the pointer where it was", run: onChainSync(4, notFound)},
		{id: "chain-sync.pipelined", section: "§6", expected: "300 requests at once are answered in order", run: onChainSync(0, pipelined)},
		{id: "chain-sync.await", section: "§6", expected: "at the tip one AwaitReply, and never a second", run: onChainSync(0, await)},
		{id: "chain-sync.done", section: "§2.8", expected: "after Done it can be started again on the same connection", run: onChainSync(0, chainSyncAgain)},
		{id: "chain-sync.limit", section: "§5.1", expected: "a message of 65,535 bytes is accepted", run: onChainSync(0, func(l *link, _ sample) (string, error) {
			l.send(chainsync.Number, longIntersect(65_535))
			msg, err := l.recv(chainsync.Number)
			if err == nil && !bytes.HasPrefix(msg, unhex("830580")) {
				err = fmt.Errorf("%s, want the intersection at origin", brief(msg))
			}
			return "intersection at origin", err
		})},
	}
	return append(list, violations((*node).initiate, []wrong{
		{"chain-sync.over-limit", "§5.1", "a message of 65,536 bytes", chainsync.Number, longIntersect(65_536)},
		{"chain-sync.agency", "§6", "AwaitReply from the client", chainsync.Number, chainsync.AppendAwaitReply(nil)},
		{"chain-sync.unknown-tag", "§0", "an unknown message", chainsync.Number, unhex("8109")},
		{"chain-sync.length", "§0", "RequestNext with an element too many", chainsync.Number, unhex("820000")},
		{"chain-sync.indefinite-outer", "§13", "an indefinite outer array (N18)", chainsync.Number, unhex("9f00ff")},
		{"chain-sync.point-length", "§5.2", "a point of one element", chainsync.Number, unhex("8204818100")},
		{"chain-sync.short-hash", "§5.2", "a hash of 31 bytes", chainsync.Number, append(unhex("8204818201581f"), make([]byte, 31)...)},
		{"chain-sync.malformed", "§2.9", "bytes that are not CBOR", chainsync.Number, unhex("8204ff")},
	})...)
}

// onChainSync makes a check of what happens on a fresh connection, given a sample of at least want headers.
func onChainSync(want int, f func(l *link, s sample) (string, error)) func(context.Context, *node) (string, error) {
	return func(ctx context.Context, n *node) (string, error) {
		var s sample
		if want > 0 {
			var err error
			if s, err = n.chain(ctx, want); err != nil {
				return "", setup(err)
			}
		}
		l, err := n.initiate(ctx)
		if err != nil {
			return "", setup(err)
		}
		defer l.close()
		return f(l, s)
	}
}

// answer is what a request for the next header brought.
type answer struct {
	kind   uint64 // tag
	header chain.Header
	point  chainsync.Point // of RollForward the header's
	tip    chainsync.Tip
}

// String describes it.
func (a answer) String() string {
	switch a.kind {
	case chainsync.TagAwaitReply:
		return "AwaitReply"
	case chainsync.TagRollBackward:
		return "RollBackward to " + short(a.point)
	}
	return fmt.Sprintf("RollForward to %s, number %d", short(a.point), a.header.Number)
}

func short(p chainsync.Point) string {
	if p.IsOrigin() {
		return "origin"
	}
	return fmt.Sprintf("%d.%x", p.Slot, p.Hash[:4])
}

// next asks for the next header and returns what comes, be it AwaitReply.
func (l *link) next() (answer, error) {
	l.send(chainsync.Number, chainsync.AppendRequestNext(nil))
	return l.update(chainsync.StateCanAwait)
}

// update takes the answer to a request that was sent before.
func (l *link) update(st protocols.State) (a answer, err error) {
	msg, err := l.recv(chainsync.Number)
	if err != nil {
		return a, err
	}
	m, err := chainsync.Decode(st, msg)
	if err != nil {
		return a, fmt.Errorf("%s: %w", brief(msg), err)
	}
	switch m := m.(type) {
	case chainsync.MsgAwaitReply:
		a.kind = chainsync.TagAwaitReply
	case chainsync.MsgRollBackward:
		a = answer{kind: chainsync.TagRollBackward, point: m.Point, tip: m.Tip}
	case chainsync.MsgRollForward:
		a = answer{kind: chainsync.TagRollForward, tip: m.Tip}
		if a.header, err = chain.ParseHeaderPayload(m.Payload); err != nil {
			return a, fmt.Errorf("header: %w", err)
		}
		a.point = a.header.Point()
	}
	return a, nil
}

// intersect sends a FindIntersect and returns the answer: the point if there is one, and the tip.
func (l *link) intersect(msg []byte) (p chainsync.Point, tip chainsync.Tip, found bool, err error) {
	l.send(chainsync.Number, msg)
	reply, err := l.recv(chainsync.Number)
	if err != nil {
		return p, tip, false, err
	}
	m, err := chainsync.Decode(chainsync.StateIntersect, reply)
	if err != nil {
		return p, tip, false, fmt.Errorf("%s: %w", brief(reply), err)
	}
	if f, ok := m.(chainsync.MsgIntersectFound); ok {
		return f.Point, f.Tip, true, nil
	}
	return p, m.(chainsync.MsgIntersectNotFound).Tip, false, nil
}

// finds wants the intersection to be at a point.
func (l *link) finds(msg []byte, want chainsync.Point) (string, error) {
	p, _, found, err := l.intersect(msg)
	switch {
	case err != nil:
		return "", err
	case !found:
		return "", errors.New("IntersectNotFound")
	case p != want:
		return "", fmt.Errorf("intersection at %s, want %s", short(p), short(want))
	}
	return "intersection at " + short(p), nil
}

// findsThenNext wants the intersection, the roll back to it, and then an answer of which it returns what it is.
func (l *link) findsThenBack(points []chainsync.Point, want chainsync.Point) error {
	if _, err := l.finds(chainsync.AppendFindIntersect(nil, points), want); err != nil {
		return err
	}
	a, err := l.next()
	if err == nil && (a.kind != chainsync.TagRollBackward || a.point != want) {
		err = fmt.Errorf("%v instead of RollBackward to %s", a, short(want))
	}
	return err
}

// nextIs wants the next answer to be a header's.
func (l *link) nextIs(want chain.Header) error {
	a, err := l.next()
	if err == nil && (a.kind != chainsync.TagRollForward || a.point != want.Point()) {
		err = fmt.Errorf("%v instead of RollForward to %s", a, short(want.Point()))
	}
	return err
}

// nowhere is a point on no chain.
func nowhere(slot uint64) chainsync.Point {
	p := chainsync.Point{Slot: slot}
	copy(p.Hash[:], "no block of any chain has this  ")
	return p
}

// longIntersect is a FindIntersect of exactly size bytes, with unknown points and, in the end, origin as often as it takes.
func longIntersect(size int) []byte {
	b := cbor.AppendIndefArray(cbor.AppendMessage(nil, 2, chainsync.TagFindIntersect))
	for slot := uint64(1) << 40; ; slot++ {
		p := chainsync.AppendPoint(nil, nowhere(slot))
		if len(b)+len(p)+2 > size {
			break
		}
		b = append(b, p...)
	}
	for len(b)+1 < size {
		b = chainsync.AppendPoint(b, chainsync.Origin)
	}
	return cbor.AppendBreak(b)
}

func tipProbe(l *link, _ sample) (string, error) {
	_, tip, found, err := l.intersect(unhex("820480"))
	if err == nil && found {
		err = errors.New("IntersectFound")
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("tip %s, number %d", short(tip.Point), tip.Block), nil
}

func originFirst(l *link, _ sample) (string, error) {
	a, err := l.next()
	if err == nil && (a.kind != chainsync.TagRollBackward || !a.point.IsOrigin()) {
		err = errors.New(a.String())
	}
	return a.String(), err
}

func intersectFirst(l *link, s sample) (string, error) {
	at := s.headers[1].Point()
	if err := l.findsThenBack([]chainsync.Point{nowhere(1 << 40), at, chainsync.Origin}, at); err != nil {
		return "", err
	}
	return "RollBackward, then the header after it", l.nextIs(s.headers[2])
}

func preference(l *link, s sample) (string, error) {
	a, b := s.headers[0].Point(), s.headers[2].Point()
	if _, err := l.finds(chainsync.AppendFindIntersect(nil, []chainsync.Point{a, b, chainsync.Origin}), a); err != nil {
		return "", err
	}
	if _, err := l.finds(chainsync.AppendFindIntersect(nil, []chainsync.Point{b, a, chainsync.Origin}), b); err != nil {
		return "", err
	}
	return "the first of the list either way round", nil
}

func originPoint(l *link, _ sample) (string, error) {
	return l.finds(chainsync.AppendFindIntersect(nil, []chainsync.Point{nowhere(1 << 40), chainsync.Origin}), chainsync.Origin)
}

func notFound(l *link, s sample) (string, error) {
	at := s.headers[1].Point()
	if err := l.findsThenBack([]chainsync.Point{at}, at); err != nil {
		return "", setup(err)
	}
	if err := l.nextIs(s.headers[2]); err != nil {
		return "", setup(err)
	}
	_, _, found, err := l.intersect(chainsync.AppendFindIntersect(nil, []chainsync.Point{nowhere(1 << 40)}))
	if err == nil && found {
		err = errors.New("IntersectFound for a point of no chain")
	}
	if err != nil {
		return "", err
	}
	return "the header that was next", l.nextIs(s.headers[3])
}

func pipelined(l *link, _ sample) (string, error) {
	const n = chainsync.HighMark
	l.send(chainsync.Number, bytes.Repeat(chainsync.AppendRequestNext(nil), n))
	var last *chain.Header
	forward := 0
	for i := range n {
		a, err := l.update(chainsync.StateCanAwait)
		switch {
		case err != nil:
			return "", fmt.Errorf("answer %d: %w", i+1, err)
		case a.kind == chainsync.TagAwaitReply:
			return fmt.Sprintf("%d headers in order, then AwaitReply at the tip", forward), nil
		case a.kind == chainsync.TagRollBackward && i == 0 && a.point.IsOrigin():
			continue
		case a.kind == chainsync.TagRollBackward:
			return "", fmt.Errorf("answer %d: %v", i+1, a)
		case last != nil && a.header.Prev != last.Hash:
			return "", fmt.Errorf("answer %d: %v does not follow %s", i+1, a, short(last.Point()))
		}
		last = &a.header
		forward++
	}
	return fmt.Sprintf("%d headers in order", forward), nil
}

func await(l *link, _ sample) (string, error) {
	_, tip, _, err := l.intersect(unhex("820480"))
	if err != nil {
		return "", setup(err)
	}
	if _, err := l.finds(chainsync.AppendFindIntersect(nil, []chainsync.Point{tip.Point}), tip.Point); err != nil {
		return "", setup(err)
	}
	for range 100 { // the chain may grow meanwhile
		a, err := l.next()
		if err != nil {
			return "", err
		}
		if a.kind != chainsync.TagAwaitReply {
			continue
		}
		_, msg, err := l.recvAny(l.wait.quiet, stream{chainsync.Number, mux.Responder})
		switch {
		case errors.Is(err, errSilent):
			return "one AwaitReply", nil
		case err != nil:
			return "", err
		}
		if _, err := chainsync.Decode(chainsync.StateMustReply, msg); err != nil {
			return "", fmt.Errorf("after AwaitReply %s: %w", brief(msg), err)
		}
	}
	return "", errors.New("no AwaitReply in 100 answers from the tip on")
}

func chainSyncAgain(l *link, _ sample) (string, error) {
	if _, err := l.next(); err != nil {
		return "", setup(err)
	}
	l.send(chainsync.Number, chainsync.AppendDone(nil))
	a, err := l.next()
	if err == nil && (a.kind != chainsync.TagRollBackward || !a.point.IsOrigin()) {
		err = fmt.Errorf("%v, want a fresh run from origin", a)
	}
	return a.String(), err
}
