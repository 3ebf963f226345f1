package main

import (
	"bytes"
	"context"
	"path"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/protocols/handshake"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

// hurried is for nodes that do what they must not, or never do what they must.
var hurried = patience{answer: 4 * time.Second, end: 800 * time.Millisecond, quiet: 300 * time.Millisecond, opens: 4 * time.Second}

// undecided are the checks that no node fails: what they examine may be one way or the other.
var undecided = []string{"tx-submission.size-33"}

func (m rewriter) on(number uint16, from mux.Role) func(*session, stream, []byte) rewrite {
	return func(s *session, k stream, msg []byte) rewrite {
		if k != (stream{number, from}) {
			return as(msg)
		}
		return m(s, s.count(k), msg)
	}
}

// rewriter rewrites the nth message of a stream.
type rewriter func(s *session, nth int, msg []byte) rewrite

// instead replaces messages that begin like that.
func instead(begin string, out ...string) rewriter {
	return func(_ *session, _ int, msg []byte) (r rewrite) {
		if !bytes.HasPrefix(msg, unhex(begin)) {
			return as(msg)
		}
		for _, o := range out {
			r.out = append(r.out, unhex(o))
		}
		return r
	}
}

// twice repeats messages that begin like that.
func twice(begin string) rewriter {
	return func(_ *session, _ int, msg []byte) rewrite {
		if bytes.HasPrefix(msg, unhex(begin)) {
			return as(msg, msg)
		}
		return as(msg)
	}
}

// hangsUp ends the connection at messages that begin like that.
func hangsUp(begin string) rewriter {
	return func(_ *session, _ int, msg []byte) rewrite {
		if bytes.HasPrefix(msg, unhex(begin)) {
			return hangUp
		}
		return as(msg)
	}
}

const acceptance = "83010f84182af500f4"

// broken lists nodes and the checks, by pattern, that must find out.
var broken = []struct {
	name  string
	d     defect
	fails []string
}{
	{"never closes", defect{neverCloses: true}, []string{"violations"}},
	{"closes at once", defect{atOnce: true}, []string{
		"handshake.accept", "handshake.fragmented", "handshake.one-byte-*", "handshake.limit", "handshake.unknown-*", "handshake.query",
		"handshake.silent", "handshake.slow",
	}},
	{"closes at the first SDU after the handshake", defect{sdu: func(_ *session, h mux.Header, _ []byte) bool { return h.Number == 0 }}, []string{
		"keep-alive.echo", "keep-alive.split", "keep-alive.one-byte-sdus", "keep-alive.wide-head", "mux.two-in-one", "mux.direction", "mux.largest",
		"mux.blocked-stream", "mux.partial-*", "chain-sync.tip-probe", "chain-sync.origin-*", "chain-sync.pipelined", "chain-sync.limit",
		"block-fetch.unknown", "block-fetch.one-byte-sdus", "peer-sharing.ten", "peer-sharing.all", "peer-sharing.one", "peer-sharing.none", "peer-sharing.again",
	}},
	{"closes after a keep-alive", defect{toNode: rewriter(func(_ *session, nth int, msg []byte) rewrite {
		if nth > 1 {
			return hangUp
		}
		return as(msg)
	}).on(8, mux.Initiator)}, []string{"keep-alive.done", "keep-alive.echo"}},
	{"closes right after a keep-alive answer", defect{toChecker: rewriter(func(_ *session, _ int, msg []byte) rewrite {
		return rewrite{out: [][]byte{msg}, close: true}
	}).on(8, mux.Responder)}, []string{"keep-alive.unasked", "keep-alive.limit"}},
	{"closes when a run is done", defect{toNode: func(_ *session, k stream, msg []byte) rewrite {
		done := map[uint16]string{2: "8107", 3: "8101", 4: "8104", 8: "8102", 10: "8102"}
		if k.from == mux.Initiator && bytes.Equal(msg, unhex(done[k.number])) {
			return hangUp
		}
		return as(msg)
	}}, []string{"chain-sync.done", "block-fetch.done", "tx-submission.done", "keep-alive.done", "peer-sharing.done"}},

	{"refuses nobody", defect{toChecker: instead("8202", acceptance).on(0, mux.Responder)}, []string{
		"handshake.magic", "handshake.query-magic", "handshake.no-fall-back", "handshake.mismatch", "handshake.node-to-client", "handshake.empty",
		"handshake.peer-sharing-2", "handshake.wide-magic", "handshake.field-*", "handshake.sixteen-four-fields",
	}},
	{"hangs up instead of refusing", defect{toChecker: hangsUp("8202").on(0, mux.Responder)}, []string{"handshake.magic", "handshake.mismatch", "handshake.empty"}},
	{"refuses for another reason", defect{toChecker: instead("8202", "82028200810e").on(0, mux.Responder)}, []string{"handshake.magic", "handshake.mismatch", "handshake.field-*"}},
	{"lists versions in descending order", defect{toChecker: instead("820282", "8202820083100f0e").on(0, mux.Responder)}, []string{"handshake.mismatch"}},
	{"chooses the lowest version", defect{toNode: rewriter(func(_ *session, _ int, msg []byte) rewrite {
		if m, err := handshake.Decode(handshake.StatePropose, msg, false); err == nil {
			table := m.(handshake.MsgPropose).Table
			return as(handshake.MsgPropose{Table: table[:1]}.Append(nil, false))
		}
		return as(msg)
	}).on(0, mux.Initiator)}, []string{"handshake.greatest"}},
	{"answers with its own data", defect{toChecker: instead("8301", "83010f84182af401f4").on(0, mux.Responder)}, []string{"handshake.combined"}},
	{"accepts with another magic", defect{toChecker: instead("8301", "83010f841829f500f4").on(0, mux.Responder)}, []string{"handshake.accept"}},
	{"answers a query with one version", defect{toChecker: instead("8203", "8203a10f84182af401f4").on(0, mux.Responder)}, []string{"handshake.query"}},
	{"talks after the answer to a query", defect{toChecker: twice("8203").on(0, mux.Responder)}, []string{"handshake.query"}},
	{"answers unordered proposals", defect{toNode: rewriter(func(*session, int, []byte) rewrite {
		return as(handshake.Proposal{Versions: []uint16{14, 15}, Data: handshake.Data{Magic: testMagic}}.Append(nil))
	}).on(0, mux.Initiator)}, []string{"handshake.unordered", "handshake.duplicate", "handshake.indefinite-*", "handshake.agency", "handshake.over-limit"}},

	{"clock in nanoseconds", defect{stamp: func(_ *session, h *mux.Header) { h.Time *= 1000 }}, []string{"mux.timestamps"}},
	{"clock stands still", defect{stamp: func(_ *session, h *mux.Header) { h.Time = 0 }}, []string{"mux.timestamps"}},
	{"clock runs backwards", defect{stamp: func(_ *session, h *mux.Header) { h.Time = -h.Time }}, []string{"mux.timestamps"}},
	{"sends empty SDUs", defect{extra: func(_ *session, h mux.Header, _ []byte) []byte {
		if h.Number == 0 {
			return nil
		}
		return sduOf(h, nil)
	}}, []string{"mux.payload"}},
	{"opens initiators without leave", defect{extra: func(_ *session, h mux.Header, _ []byte) []byte {
		if h.Number == 0 {
			return nil
		}
		return segments(8, mux.Initiator, unhex("820007"), 100)
	}}, []string{"mux.direction"}},
	{"drops the second message", defect{toNode: rewriter(func(_ *session, nth int, msg []byte) rewrite {
		if nth == 2 {
			return as()
		}
		return as(msg)
	}).on(2, mux.Initiator)}, []string{"mux.two-in-one"}},

	{"another cookie", defect{toChecker: rewriter(func(_ *session, _ int, msg []byte) rewrite {
		return as(append(slices.Clone(msg[:len(msg)-1]), msg[len(msg)-1]^1))
	}).on(8, mux.Responder)}, []string{"keep-alive.echo", "keep-alive.split", "keep-alive.one-byte-sdus", "keep-alive.wide-head"}},
	{"answers twice", defect{toChecker: twice("8201").on(8, mux.Responder)}, []string{"keep-alive.unasked"}},

	{"no roll back to origin", defect{toChecker: instead("830380", "8101").on(2, mux.Responder)}, []string{"chain-sync.origin-first", "chain-sync.done"}},
	{"no roll back to the intersection", defect{toChecker: instead("830382", "8101").on(2, mux.Responder)}, []string{"chain-sync.intersect-first"}},
	{"takes the last point", defect{toNode: rewriter(func(_ *session, _ int, msg []byte) rewrite {
		points, err := chainsync.DecodeFindIntersect(nil, msg)
		if err != nil {
			return as(msg)
		}
		slices.Reverse(points)
		return as(chainsync.AppendFindIntersect(nil, points))
	}).on(2, mux.Initiator)}, []string{"chain-sync.preference", "chain-sync.intersect-first"}},
	{"finds nothing", defect{toChecker: instead("8305", "8206828000").on(2, mux.Responder)}, []string{
		"chain-sync.definite", "chain-sync.indefinite", "chain-sync.origin-point", "chain-sync.limit", "chain-sync.preference", "chain-sync.intersect-first",
	}},
	{"finds everything", defect{toChecker: instead("8206", "830580828000").on(2, mux.Responder)}, []string{"chain-sync.tip-probe", "chain-sync.not-found"}},
	{"skips a header", defect{toChecker: rewriter(func(_ *session, nth int, msg []byte) rewrite {
		if nth == 20 {
			return as()
		}
		return as(msg)
	}).on(2, mux.Responder)}, []string{"chain-sync.pipelined"}},
	{"AwaitReply twice", defect{toChecker: twice("8101").on(2, mux.Responder)}, []string{"chain-sync.await"}},

	{"sends no blocks", defect{toChecker: instead("8204").on(3, mux.Responder)}, []string{"block-fetch.one", "block-fetch.inclusive", "block-fetch.pipelined"}},
	{"leaves out the end", defect{toChecker: rewriter(func(_ *session, nth int, msg []byte) rewrite {
		if nth == 12 { // StartBatch, ten blocks and the last
			return as()
		}
		return as(msg)
	}).on(3, mux.Responder)}, []string{"block-fetch.inclusive"}},
	{"sends blocks twice", defect{toChecker: twice("8204").on(3, mux.Responder)}, []string{"block-fetch.one", "block-fetch.inclusive"}},
	{"empty batch for an unknown range", defect{toChecker: instead("8103", "8102", "8105").on(3, mux.Responder)}, []string{"block-fetch.unknown", "block-fetch.one-byte-sdus"}},

	{"asks for eleven ids", defect{toChecker: rewriter(func(_ *session, _ int, msg []byte) rewrite {
		if blocking, ack, _, err := txsubmission.DecodeRequestTxIDs(msg); err == nil {
			return as(txsubmission.AppendRequestTxIDs(nil, blocking, ack, 11))
		}
		return as(msg)
	}).on(4, mux.Responder)}, []string{"tx-submission.rules"}},
	{"acknowledges too much", defect{toChecker: rewriter(func(_ *session, _ int, msg []byte) rewrite {
		if blocking, _, req, err := txsubmission.DecodeRequestTxIDs(msg); err == nil {
			return as(txsubmission.AppendRequestTxIDs(nil, blocking, 10, req))
		}
		return as(msg)
	}).on(4, mux.Responder)}, []string{"tx-submission.rules", "tx-submission.done"}},
	{"asks for transactions twice", defect{toChecker: twice("8202").on(4, mux.Responder)}, []string{"tx-submission.rules"}},
	{"asks for unknown transactions", defect{toChecker: rewriter(func(_ *session, _ int, msg []byte) rewrite {
		if bytes.HasPrefix(msg, unhex("8202")) {
			return as(txsubmission.AppendRequestTxs(nil, [][]byte{txsubmission.AppendTxID(nil, txsubmission.TxID{Era: 6})}))
		}
		return as(msg)
	}).on(4, mux.Responder)}, []string{"tx-submission.rules"}},
	{"never blocks", defect{toChecker: instead("8400f5", "8400f40003").on(4, mux.Responder)}, []string{"tx-submission.rules", "tx-submission.done"}},
	{"takes no reply without everything asked for", defect{toNode: hangsUp("82039fff").on(4, mux.Initiator)}, []string{"tx-submission.omitted"}},
	{"wants exact sizes", defect{toNode: hangsUp("82039f").on(4, mux.Initiator)}, []string{"tx-submission.size-32"}},

	{"shares what nobody can dial", defect{toChecker: instead("82019f", "82019f83001a010200c000ff").on(10, mux.Responder)}, []string{"peer-sharing.ten", "peer-sharing.all", "peer-sharing.again", "peer-sharing.one"}},
	{"shares swapped octets", defect{toChecker: instead("82019f", "82019f83001a000000e0190bb9ff").on(10, mux.Responder)}, []string{"peer-sharing.ten"}},
	{"shares more than asked for", defect{toChecker: func(_ *session, k stream, msg []byte) rewrite {
		if k != (stream{10, mux.Responder}) {
			return as(msg)
		}
		return as(append(append(unhex("82019f"), bytes.Repeat(unhex("83001a010200c0190bb9"), 256)...), 0xff))
	}}, []string{"peer-sharing.ten", "peer-sharing.all", "peer-sharing.one", "peer-sharing.none"}},

	{"keep-alive without waiting", defect{toChecker: twice("8200").on(8, mux.Initiator)}, []string{"client.keep-alive"}},
	{"keep-alive that is none", defect{toChecker: instead("8200", "83000102").on(8, mux.Initiator)}, []string{"client.keep-alive"}},
	{"wants whole answers", defect{sdu: func(_ *session, h mux.Header, p []byte) bool { return h.From == mux.Initiator || len(p) > 1 }}, []string{"client.keep-alive-split"}},
	{"begins with a reply", defect{toChecker: instead("8204", "8101").on(2, mux.Initiator)}, []string{"client.find-intersect"}},
	{"asks without end", defect{toChecker: rewriter(func(_ *session, _ int, msg []byte) rewrite {
		if bytes.Equal(msg, unhex("8100")) {
			return as(bytes.Repeat(msg, 301))
		}
		return as(msg)
	}).on(2, mux.Initiator)}, []string{"client.pipelining"}},
	{"does not wait at the tip", defect{toNode: hangsUp("8101").on(2, mux.Responder)}, []string{"client.await"}},
	{"no Init", defect{toChecker: instead("8106", "8104").on(4, mux.Initiator)}, []string{"client.tx-init"}},
	{"definite lists", defect{toChecker: instead("82039fff", "820380").on(4, mux.Initiator)}, []string{"client.tx-nothing"}},
}

// Every check fails on a node that has what it looks for, and not for another reason.
func TestBrokenNodes(t *testing.T) {
	right := rightNode(t)
	var mu sync.Mutex
	caught := map[string]bool{}
	t.Run("nodes", func(t *testing.T) {
		for _, b := range broken {
			t.Run(b.name, func(t *testing.T) {
				t.Parallel()
				n := newNode(proxy(t, right, b.d), testMagic, false, hurried)
				results := examined(t.Context(), n, matching(t, b.fails))
				mu.Lock()
				defer mu.Unlock()
				for _, res := range results {
					if res.verdict != fail || res.setup {
						t.Errorf("%s: %s %s", res.id, res.verdict, res.seen)
						continue
					}
					caught[res.id] = true
				}
			})
		}
	})
	var never []string
	for _, c := range checks() {
		if !caught[c.id] && !slices.Contains(undecided, c.id) {
			never = append(never, c.id)
		}
	}
	require.Empty(t, never, "checks that were never seen to fail")
}

// matching returns the checks of some patterns, and of the word "violations".
func matching(t *testing.T, patterns []string) (list []check) {
	for _, p := range patterns {
		before := len(list)
		for _, c := range checks() {
			ok, err := path.Match(p, c.id)
			require.NoError(t, err)
			if ok || p == "violations" && c.violates && !c.slow && !slices.Contains(undecided, c.id) {
				list = append(list, c)
			}
		}
		require.Greater(t, len(list), before, p)
	}
	return list
}

// examined runs checks side by side.
func examined(ctx context.Context, n *node, list []check) []result {
	results := make([]result, len(list))
	var all sync.WaitGroup
	for i, c := range list {
		all.Go(func() { results[i] = c.judge(ctx, n) })
	}
	all.Wait()
	return results
}

// A node that ends what it must end but is gone afterwards fails too.
func TestRecovery(t *testing.T) {
	right := rightNode(t)
	n := newNode(right, testMagic, false, hurried)
	c := matching(t, []string{"chain-sync.agency"})[0]
	run := c.run
	c.run = func(ctx context.Context, n *node) (string, error) {
		seen, err := run(ctx, n)
		n.addr = "127.0.0.1:1"
		return seen, err
	}
	res := c.judge(t.Context(), n)
	require.Equal(t, fail, res.verdict)
	require.Contains(t, res.seen, "no fresh handshake")
}

// What a link sends and the sizes of what is built for limits.
func TestSizes(t *testing.T) {
	for _, size := range []int{65_535, 65_536} {
		b := longIntersect(size)
		require.Len(t, b, size)
		points, err := chainsync.DecodeFindIntersect(nil, b)
		require.NoError(t, err)
		require.Less(t, len(points), chainsync.MaxPoints)
	}
	n := newNode("", testMagic, false, hurried)
	for _, size := range []int{handshake.MaxMessage, handshake.MaxMessage + 1} {
		b := padded(n, size)
		require.Len(t, b, size)
		m, err := handshake.Decode(handshake.StatePropose, b, false)
		require.NoError(t, err)
		require.Len(t, m.(handshake.MsgPropose).Table, 2)
	}
	require.Len(t, segments(3, mux.Responder, make([]byte, 25), 10), 25+3*mux.HeaderSize)
	o := &owner{n: n}
	id, tx := o.transaction()
	want, err := txID(tx)
	require.NoError(t, err)
	require.Equal(t, want, id)
	require.Equal(t, unhex("820380"), definite(txsubmission.TagReplyTxs, txsubmission.AppendReplyTxs(nil, nil), 0))
	require.NoError(t, cbor.Wellformed(definite(txsubmission.TagReplyTxs, txsubmission.AppendReplyTxs(nil, [][]byte{tx}), 1)))
}
