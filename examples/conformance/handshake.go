package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols/handshake"
)

func handshakeChecks() []check {
	list := []check{
		{id: "handshake.accept", section: "§4.5", expected: "a proposal of 14 and 15 is accepted", run: accept},
		{id: "handshake.greatest", section: "§4.5", expected: "the greatest common version is chosen", run: greatest},
		{id: "handshake.combined", section: "§4.5", expected: "the accepted data are the two sides' combined: initiator-only or, peer sharing and", run: combined},
		{id: "handshake.fragmented", section: "§2.3", expected: "a proposal cut into three SDUs is accepted", run: fragmented},
		{id: "handshake.one-byte-sdus", section: "§2.3", expected: "a proposal in SDUs of one byte is accepted", run: oneByteSDUs},
		{id: "handshake.one-byte-writes", section: "§2.3", expected: "a proposal whose SDU arrives byte by byte is accepted", run: oneByteWrites},
		{id: "handshake.limit", section: "§4.6", expected: "a proposal of 5,760 bytes is accepted", run: atLimit},
		{id: "handshake.unknown-keys", section: "§4.2", expected: "unknown versions, of any type, are skipped with their values", run: unknownKeys},
		{id: "handshake.unknown-unordered", section: "§4.2", expected: "unknown versions take no part in the order", run: unknownUnordered},
		{id: "handshake.query", section: "§4.7", expected: "the node's version table, ascending, with its own data, and nothing after it", run: query},
		{id: "handshake.query-magic", section: "§4.7", expected: "a query with another magic is refused as Refused", run: refusal(handshake.Refused, func(n *node, v uint16) []byte {
			return propose(v, data(v, uint64(n.magic^1), true))
		})},
		{id: "handshake.magic", section: "§4.5", expected: "another magic is refused as Refused with its version", run: refusal(handshake.Refused, func(n *node, v uint16) []byte {
			return propose(v, data(v, uint64(n.magic^1), false))
		})},
		{id: "handshake.no-fall-back", section: "§4.5", expected: "the greatest version refused, a lower one is not tried", run: noFallBack},
		{id: "handshake.mismatch", section: "§4.2", expected: "VersionMismatch with all supported versions, ascending", run: mismatch},
		{id: "handshake.node-to-client", section: "§4.3", expected: "node-to-client versions are unknown: VersionMismatch", run: refusalOf(handshake.VersionMismatch, func(n *node) []byte {
			p := handshake.Proposal{NodeToClient: true, Versions: handshake.NodeToClientVersions(), Data: handshake.Data{Magic: n.magic}}
			return p.Append(nil)
		})},
		{id: "handshake.empty", section: "§13", expected: "an empty table is refused with VersionMismatch (N3)", run: refusalOf(handshake.VersionMismatch, func(*node) []byte {
			return cbor.AppendMap(cbor.AppendMessage(nil, 2, handshake.TagPropose), 0)
		})},
		{id: "handshake.peer-sharing-2", section: "§4.4", expected: "peer sharing 2 is refused as HandshakeDecodeError (N4)", run: refusal(handshake.DecodeError, func(n *node, v uint16) []byte {
			return propose(v, fields(v, cbor.AppendUint(nil, uint64(n.magic)), "f4", "02", "f4"))
		})},
		{id: "handshake.wide-magic", section: "§4.4", expected: "a magic of 33 bits is refused as HandshakeDecodeError", run: refusal(handshake.DecodeError, func(_ *node, v uint16) []byte {
			return propose(v, data(v, 1<<32, false))
		})},
		{id: "handshake.field-type", section: "§4.4", expected: "initiator-only as a number is refused as HandshakeDecodeError", run: refusal(handshake.DecodeError, func(n *node, v uint16) []byte {
			return propose(v, fields(v, cbor.AppendUint(nil, uint64(n.magic)), "00", "00", "f4"))
		})},
		{id: "handshake.field-count", section: "§4.4", expected: "a field too many under 14 or 15 is refused as HandshakeDecodeError", run: fieldCount},
		{id: "handshake.sixteen-four-fields", section: "§13", expected: "4 fields under 16 are refused as HandshakeDecodeError (N6)", run: sixteen},
		{id: "handshake.silent", section: "§4.6", expected: "a silent socket is closed after 10 s", slow: true, violates: true, run: silent},
		{id: "handshake.slow", section: "§4.6", expected: "a proposal that is not whole after 10 s ends the connection", slow: true, violates: true, run: dribble},
	}
	for _, d := range []struct {
		id, section, what string
		bytes             func(n *node) []byte
	}{
		{"handshake.unordered", "§13", "versions in descending order (N1)", func(n *node) []byte {
			return propose(15, data(15, uint64(n.magic), false), 14, data(14, uint64(n.magic), false))
		}},
		{"handshake.duplicate", "§4.2", "a version named twice", func(n *node) []byte {
			return propose(14, data(14, uint64(n.magic), false), 14, data(14, uint64(n.magic), false))
		}},
		{"handshake.indefinite-map", "§13", "an indefinite table (N2)", func(n *node) []byte {
			b := cbor.AppendIndefMap(cbor.AppendMessage(nil, 2, handshake.TagPropose))
			return cbor.AppendBreak(append(cbor.AppendUint(b, 14), data(14, uint64(n.magic), false)...))
		}},
		{"handshake.indefinite-outer", "§0", "an indefinite outer array", func(n *node) []byte {
			b := cbor.AppendUint(cbor.AppendIndefArray(nil), handshake.TagPropose)
			b = append(cbor.AppendUint(cbor.AppendMap(b, 1), 14), data(14, uint64(n.magic), false)...)
			return cbor.AppendBreak(b)
		}},
		{"handshake.agency", "§4.1", "AcceptVersion from the initiator", func(n *node) []byte {
			return handshake.MsgAccept{Version: 14, Data: data(14, uint64(n.magic), false)}.Append(nil, false)
		}},
		{"handshake.malformed", "§4.5", "bytes that are not CBOR", func(*node) []byte { return []byte{0x82, 0x00, 0xff} }},
		{"handshake.over-limit", "§4.6", "a proposal of 5,761 bytes", func(n *node) []byte { return padded(n, handshake.MaxMessage+1) }},
	} {
		list = append(list, check{id: d.id, section: d.section, expected: d.what + " ends the connection without a refusal", violates: true,
			run: func(ctx context.Context, n *node) (string, error) {
				return n.dropped(ctx, segments(handshake.Number, mux.Initiator, d.bytes(n), mux.MaxPayload))
			}})
	}
	return list
}

// propose makes a ProposeVersions of pairs of version and raw data, in the order given.
func propose(pairs ...any) []byte {
	b := cbor.AppendMap(cbor.AppendMessage(nil, 2, handshake.TagPropose), len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		switch v := pairs[i].(type) {
		case uint16:
			b = cbor.AppendUint(b, uint64(v))
		case int:
			b = cbor.AppendUint(b, uint64(v))
		case string:
			b = cbor.AppendText(b, v)
		}
		b = append(b, pairs[i+1].([]byte)...)
	}
	return b
}

// data is version data of the right shape, initiator only.
func data(v uint16, magic uint64, query bool) []byte {
	q := "f4"
	if query {
		q = "f5"
	}
	return fields(v, cbor.AppendUint(nil, magic), "f5", "00", q)
}

// fields is version data of raw fields; version 16 has a fifth one.
func fields(v uint16, magic []byte, rest ...string) []byte {
	if v >= 16 {
		rest = append(slices.Clip(rest), "f4")
	}
	b := append(cbor.AppendArray(nil, 1+len(rest)), magic...)
	for _, f := range rest {
		b = append(b, unhex(f)...)
	}
	return b
}

// padded is a proposal of exactly size bytes: a byte string under an unknown version fills it.
func padded(n *node, size int) []byte {
	d := data(14, uint64(n.magic), false)
	with := func(pad int) []byte {
		return propose(14, d, 15, data(15, uint64(n.magic), false), 9999, cbor.AppendBytes(nil, make([]byte, pad)))
	}
	return with(size - (len(with(1000)) - 1000))
}

// accepted reads an acceptance out of an answer.
func accepted(s shaken, err error) (handshake.MsgAccept, error) {
	if err != nil {
		return handshake.MsgAccept{}, err
	}
	s.conn.Close()
	m, err := handshake.Decode(handshake.StateConfirm, s.reply, false)
	if err != nil {
		return handshake.MsgAccept{}, fmt.Errorf("%s: %w", brief(s.reply), err)
	}
	a, ok := m.(handshake.MsgAccept)
	if !ok {
		return a, fmt.Errorf("%s", describe(m))
	}
	return a, nil
}

func (n *node) accepts(s shaken, err error) (string, error) {
	a, err := accepted(s, err)
	if err != nil {
		return "", err
	}
	d, err := handshake.DecodeData(a.Data, a.Version, false)
	if err == nil && d.Magic != n.magic {
		err = fmt.Errorf("accepted with magic %d", d.Magic)
	}
	return describe(a), err
}

func accept(ctx context.Context, n *node) (string, error) {
	return n.accepts(n.shake(ctx, n.proposal(handshake.Data{InitiatorOnly: true}).Append(nil)))
}

func fragmented(ctx context.Context, n *node) (string, error) {
	b := n.proposal(handshake.Data{InitiatorOnly: true}).Append(nil)
	return n.accepts(n.shakeIn(ctx, [][]byte{segments(handshake.Number, mux.Initiator, b, (len(b)+2)/3)}, 0))
}

func oneByteSDUs(ctx context.Context, n *node) (string, error) {
	b := n.proposal(handshake.Data{InitiatorOnly: true}).Append(nil)
	return n.accepts(n.shakeIn(ctx, [][]byte{segments(handshake.Number, mux.Initiator, b, 1)}, 0))
}

func oneByteWrites(ctx context.Context, n *node) (string, error) {
	b := segments(handshake.Number, mux.Initiator, n.proposal(handshake.Data{InitiatorOnly: true}).Append(nil), mux.MaxPayload)
	return n.accepts(n.shakeIn(ctx, slices.Collect(slices.Chunk(b, 1)), 2*time.Millisecond))
}

func atLimit(ctx context.Context, n *node) (string, error) {
	return n.accepts(n.shake(ctx, padded(n, handshake.MaxMessage)))
}

func unknownKeys(ctx context.Context, n *node) (string, error) {
	d := func(v uint16) []byte { return data(v, uint64(n.magic), false) }
	return n.accepts(n.shake(ctx, propose(1, unhex("a10203"), 14, d(14), 15, d(15), 4711, unhex("9f01ff"), "sixteen", unhex("f6"))))
}

func unknownUnordered(ctx context.Context, n *node) (string, error) {
	d := func(v uint16) []byte { return data(v, uint64(n.magic), false) }
	return n.accepts(n.shake(ctx, propose(4711, unhex("80"), 14, d(14), 3, unhex("80"), 15, d(15), 4711, unhex("80"))))
}

func greatest(ctx context.Context, n *node) (string, error) {
	all := handshake.NodeToNodeVersions()
	table, err := n.versions(ctx)
	if err != nil {
		return "", setup(err)
	}
	var seen []uint16
	for _, offered := range [][]uint16{{14}, {15}, {14, 15}, all} {
		want := uint16(0)
		for _, v := range offered {
			if slices.Contains(table, v) {
				want = v
			}
		}
		if want == 0 {
			continue
		}
		a, err := accepted(n.shake(ctx, n.proposal(handshake.Data{InitiatorOnly: true}, offered...).Append(nil)))
		if err != nil {
			return "", fmt.Errorf("offered %v: %w", offered, err)
		}
		if a.Version != want {
			return "", fmt.Errorf("offered %v: chose %d, want %d", offered, a.Version, want)
		}
		seen = append(seen, a.Version)
	}
	return fmt.Sprintf("chose %v", seen), nil
}

func combined(ctx context.Context, n *node) (string, error) {
	v, err := n.greatest(ctx)
	if err != nil {
		return "", setup(err)
	}
	var own handshake.Data
	for i, ours := range []handshake.Data{{PeerSharing: true}, {}, {InitiatorOnly: true}, {InitiatorOnly: true, PeerSharing: true}} {
		a, err := accepted(n.shake(ctx, n.proposal(ours, v).Append(nil)))
		if err != nil {
			return "", err
		}
		got, err := handshake.DecodeData(a.Data, a.Version, false)
		if err != nil {
			return "", err
		}
		if i == 0 { // what shows its own data
			own = got
		}
		want := handshake.Data{Magic: n.magic, InitiatorOnly: own.InitiatorOnly || ours.InitiatorOnly, PeerSharing: own.PeerSharing && ours.PeerSharing}
		if got != want {
			return "", fmt.Errorf("with initiator-only %v and peer sharing %v of ours, %v and %v of its own, it accepts with %v and %v",
				ours.InitiatorOnly, ours.PeerSharing, own.InitiatorOnly, own.PeerSharing, got.InitiatorOnly, got.PeerSharing)
		}
	}
	return fmt.Sprintf("initiator-only %v and peer sharing %v of its own, combined rightly with ours", own.InitiatorOnly, own.PeerSharing), nil
}

func query(ctx context.Context, n *node) (string, error) {
	s, err := n.shake(ctx, n.proposal(handshake.Data{InitiatorOnly: true, Query: true}).Append(nil))
	if err != nil {
		return "", err
	}
	defer s.conn.Close()
	m, err := handshake.Decode(handshake.StateConfirm, s.reply, false)
	if err != nil {
		return "", err
	}
	q, ok := m.(handshake.MsgQueryReply)
	if !ok {
		return "", fmt.Errorf("%s", describe(m))
	}
	var versions []uint16
	for _, e := range q.Table {
		d, err := handshake.DecodeData(e.Data, e.Version, false)
		if err != nil {
			return "", err
		}
		if d.Magic != n.magic {
			return "", fmt.Errorf("version %d with magic %d", e.Version, d.Magic)
		}
		versions = append(versions, e.Version)
	}
	table, err := n.versions(ctx)
	if err != nil {
		return "", setup(err)
	}
	if ours := slices.DeleteFunc(versions, func(v uint16) bool { return v > handshake.MaxNodeToNode }); !slices.Equal(ours, table) {
		return "", fmt.Errorf("versions %v, but it accepts %v", ours, table)
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(n.wait.quiet)); err != nil {
		return "", err
	}
	var b [64]byte
	if k, _ := s.conn.Read(b[:]); k > 0 {
		return "", fmt.Errorf("%s after the answer", brief(b[:k]))
	}
	return fmt.Sprintf("versions %v", versions), nil
}

// refusal makes a check of a proposal for the greatest version that the node supports.
func refusal(want handshake.Reason, proposal func(n *node, v uint16) []byte) func(context.Context, *node) (string, error) {
	return func(ctx context.Context, n *node) (string, error) {
		v, err := n.greatest(ctx)
		if err != nil {
			return "", setup(err)
		}
		return n.refusedAt(ctx, v, proposal(n, v), want)
	}
}

func (n *node) refusedAt(ctx context.Context, v uint16, proposal []byte, want handshake.Reason) (string, error) {
	r, err := n.refused(ctx, proposal, want)
	if err == nil && r.Version != v {
		err = fmt.Errorf("refusal names version %d instead of %d", r.Version, v)
	}
	if err != nil {
		return "", err
	}
	return r.Error(), nil
}

// refusalOf is refusal for proposals without a version of the node's.
func refusalOf(want handshake.Reason, proposal func(n *node) []byte) func(context.Context, *node) (string, error) {
	return func(ctx context.Context, n *node) (string, error) {
		r, err := n.refused(ctx, proposal(n), want)
		if err != nil {
			return "", err
		}
		return r.Error(), nil
	}
}

func noFallBack(ctx context.Context, n *node) (string, error) {
	table, err := n.versions(ctx)
	if err != nil {
		return "", setup(err)
	}
	if !slices.Contains(table, 14) || !slices.Contains(table, 15) {
		return "", skipf("the node does not support both 14 and 15")
	}
	return n.refusedAt(ctx, 15, propose(14, data(14, uint64(n.magic), false), 15, data(15, uint64(n.magic^1), false)), handshake.Refused)
}

func mismatch(ctx context.Context, n *node) (string, error) {
	table, err := n.versions(ctx)
	if err != nil {
		return "", setup(err)
	}
	r, err := n.refused(ctx, propose(6, data(14, uint64(n.magic), false), 9999, data(14, uint64(n.magic), false)), handshake.VersionMismatch)
	if err != nil {
		return "", err
	}
	all := make([]uint64, 0, len(r.Versions)+len(r.Unknown))
	all = append(all, r.Unknown...)
	for _, v := range r.Versions {
		all = append(all, uint64(v))
	}
	switch {
	case !slices.IsSorted(r.Versions), !slices.IsSorted(r.Unknown):
		return "", fmt.Errorf("not ascending: %v and unknown to us %v", r.Versions, r.Unknown)
	case len(all) == 0:
		return "", errors.New("an empty list")
	case !slices.Equal(r.Versions, table):
		return "", fmt.Errorf("%v, but it accepts %v", r.Versions, table)
	}
	return fmt.Sprintf("%v, unknown to us %v", r.Versions, r.Unknown), nil
}

func fieldCount(ctx context.Context, n *node) (string, error) {
	v, err := n.greatest(ctx)
	if err != nil {
		return "", setup(err)
	}
	return n.refusedAt(ctx, v, propose(v, fields(v, cbor.AppendUint(nil, uint64(n.magic)), "f5", "00", "f4", "f4")), handshake.DecodeError)
}

func sixteen(ctx context.Context, n *node) (string, error) {
	table, err := n.versions(ctx)
	if err != nil {
		return "", setup(err)
	}
	if !slices.Contains(table, 16) {
		return "", skipf("the node does not support 16")
	}
	return n.refusedAt(ctx, 16, propose(16, fields(15, cbor.AppendUint(nil, uint64(n.magic)), "f5", "00", "f4")), handshake.DecodeError)
}

// The limit is 10 s; the node's clock may start with its accept, and close a little late.
const (
	shakeAtLeast = 8 * time.Second
	shakeAtMost  = 15 * time.Second
)

func silent(ctx context.Context, n *node) (string, error) {
	c, err := n.dial(ctx)
	if err != nil {
		return "", setup(err)
	}
	defer c.Close()
	began := time.Now()
	how, err := silentEnd(c, shakeAtMost)
	if took := time.Since(began); err == nil && took < shakeAtLeast {
		err = fmt.Errorf("%s after %v already", how, took)
	}
	return fmt.Sprintf("%s after %.1f s", how, time.Since(began).Seconds()), err
}

func dribble(ctx context.Context, n *node) (string, error) {
	c, err := n.dial(ctx)
	if err != nil {
		return "", setup(err)
	}
	defer c.Close()
	began := time.Now()
	stop := make(chan struct{})
	written := make(chan struct{})
	go func() {
		defer close(written)
		b := segments(handshake.Number, mux.Initiator, n.proposal(handshake.Data{InitiatorOnly: true}).Append(nil), mux.MaxPayload)
		for _, p := range b[:len(b)-1] {
			if _, err := c.Write([]byte{p}); err != nil {
				return
			}
			select {
			case <-stop:
				return
			case <-time.After(shakeAtMost / time.Duration(len(b))):
			}
		}
	}()
	how, err := silentEnd(c, shakeAtMost)
	close(stop)
	<-written
	if took := time.Since(began); err == nil && took < shakeAtLeast {
		err = fmt.Errorf("%s after %v already", how, took)
	}
	return fmt.Sprintf("%s after %.1f s", how, time.Since(began).Seconds()), err
}
