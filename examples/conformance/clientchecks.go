package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/protocols/handshake"
	"github.com/hearthnet/hearth/protocols/keepalive"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

// clientChecks examine the node's own initiators, if it opens any on our connection.
func clientChecks() []check {
	const ka, cs, tx = keepalive.Number, chainsync.Number, txsubmission.Number
	list := []check{
		{id: "client.keep-alive", section: "§10.1", expected: "a well-formed request, and no other before the answer", run: onClient(ka, clientKeepAlive)},
		{id: "client.keep-alive-split", section: "§13", expected: "a response split over two SDUs (N15) is accepted", run: onClient(ka, func(l *link, cookie uint16) (string, error) {
			l.writeIn(ka, mux.Responder, keepalive.AppendResponse(nil, cookie), 1)
			return "still connected", l.alive()
		})},
		{id: "client.wrong-cookie", section: "§13", expected: "another cookie (N14) ends the connection", violates: true, run: onClient(ka, func(l *link, cookie uint16) (string, error) {
			l.reply(ka, keepalive.AppendResponse(nil, cookie^1))
			return l.ended()
		})},
		{id: "client.keep-alive-agency", section: "§10", expected: "Done in place of a response ends the connection", violates: true, run: onClient(ka, func(l *link, _ uint16) (string, error) {
			l.reply(ka, keepalive.AppendDone(nil))
			return l.ended()
		})},
		{id: "client.find-intersect", section: "§6", expected: "chain-sync begins with a well-formed FindIntersect or RequestNext", run: onSync(func(f *followed) (string, error) {
			return f.seen, nil
		})},
		{id: "client.pipelining", section: "§6", expected: "at most 300 requests are outstanding", run: onSync(clientPipelining)},
		{id: "client.await", section: "§6", expected: "an AwaitReply is waited out", run: onSync(func(f *followed) (string, error) {
			if err := f.await(); err != nil {
				return "", setup(err)
			}
			return "still connected", f.l.alive()
		})},
		{id: "client.await-twice", section: "§13", expected: "a second AwaitReply (N12) ends the connection", violates: true, run: onSync(func(f *followed) (string, error) {
			if err := f.await(); err != nil {
				return "", setup(err)
			}
			f.l.reply(cs, chainsync.AppendAwaitReply(nil))
			return f.l.ended()
		})},
		{id: "client.chain-sync-agency", section: "§6", expected: "IntersectFound in answer to RequestNext ends the connection", violates: true, run: onSync(func(f *followed) (string, error) {
			if err := f.requested(); err != nil {
				return "", setup(err)
			}
			f.l.reply(cs, chainsync.AppendIntersectFound(nil, f.at, f.tip))
			return f.l.ended()
		})},
		{id: "client.early-batch-done", section: "§13", expected: "BatchDone straight after StartBatch (N13) ends the connection", violates: true, run: onFetch(func(f *followed, _ []byte) (string, error) {
			f.l.reply(blockfetch.Number, blockfetch.AppendBatchDone(blockfetch.AppendStartBatch(nil)))
			return f.l.ended()
		})},
		{id: "client.wrong-block", section: "§7", expected: "another block than the one asked for ends the connection", violates: true, run: onFetch(func(f *followed, other []byte) (string, error) {
			f.l.reply(blockfetch.Number, blockfetch.AppendBatchDone(blockfetch.AppendBlock(blockfetch.AppendStartBatch(nil), other)))
			return f.l.ended()
		})},
		{id: "client.tx-init", section: "§8", expected: "tx-submission begins with Init, and a blocking request for 10 is waited out or answered with 1 to 10 ids", run: onOffer(clientOffer)},
		{id: "client.tx-nothing", section: "§8", expected: "an empty request for transactions is answered with an empty indefinite list", run: onOffer(func(l *link) (string, error) {
			l.reply(tx, txsubmission.AppendRequestTxs(nil, nil))
			_, msg, err := l.request(l.wait.answer, tx)
			if err == nil && string(msg) != string(unhex("82039fff")) {
				err = errors.New(brief(msg))
			}
			return "82039fff", err
		})},
	}
	for _, w := range []wrong{
		{"client.tx-blocking-nothing", "§13", "a blocking request for nothing (N9)", tx, unhex("8400f50000")},
		{"client.tx-should-block", "§13", "a non-blocking request with nothing outstanding (N10)", tx, unhex("8400f40001")},
		{"client.tx-window", "§13", "a request beyond the window of 10 (N11)", tx, unhex("8400f5000b")},
		{"client.tx-acknowledged", "§8", "acknowledging what was never announced", tx, unhex("8400f50101")},
		{"client.tx-unavailable", "§8", "asking for a transaction that was never announced", tx, txsubmission.AppendRequestTxs(nil, [][]byte{
			txsubmission.AppendTxID(nil, txsubmission.TxID{Era: 6, Hash: nowhere(0).Hash})})},
		{"client.tx-definite", "§8", "a definite list of ids", tx, unhex("820280")},
		{"client.tx-agency", "§8", "Init from the server", tx, txsubmission.AppendInit(nil)},
	} {
		list = append(list, check{id: w.id, section: w.section, expected: w.what + " ends the connection", violates: true,
			run: onOffer(func(l *link) (string, error) {
				l.reply(w.number, w.bytes)
				return l.ended()
			})})
	}
	return list
}

// duplex connects so that the node may open initiators, and wants it to open one.
func (n *node) duplex(ctx context.Context, number uint16) (*link, error) {
	if err := n.opens(ctx, number); err != nil {
		return nil, err
	}
	l, err := n.connect(ctx, handshake.Data{PeerSharing: true})
	if err != nil {
		return nil, err
	}
	if number != keepalive.Number {
		l.answerKeepAlive()
	}
	l.send(keepalive.Number, keepalive.AppendKeepAlive(nil, 0x5eed))
	return l, nil
}

// first returns the first message of an initiator of the node's. That it opened one on another connection does not oblige it to.
func (l *link) first(number uint16) ([]byte, error) {
	_, msg, err := l.request(l.wait.answer, number)
	if errors.Is(err, errSilent) {
		return nil, skipf("the node has opened an initiator of number %d on another connection, and not on this one within %v", number, l.wait.answer)
	}
	return msg, setup(err)
}

// onClient makes a check of what the node does after its first keep-alive request.
func onClient(number uint16, f func(l *link, cookie uint16) (string, error)) func(context.Context, *node) (string, error) {
	return func(ctx context.Context, n *node) (string, error) {
		l, err := n.duplex(ctx, number)
		if err != nil {
			return "", setup(err)
		}
		defer l.close()
		msg, err := l.first(number)
		if err != nil {
			return "", err
		}
		cookie, err := keepalive.DecodeKeepAlive(msg)
		if err != nil {
			return "", fmt.Errorf("%s: %w", brief(msg), err)
		}
		return f(l, cookie)
	}
}

func clientKeepAlive(l *link, cookie uint16) (string, error) {
	if err := l.quiet(l.wait.quiet, stream{keepalive.Number, mux.Initiator}); err != nil {
		return "", fmt.Errorf("before the answer: %w", err)
	}
	l.reply(keepalive.Number, keepalive.AppendResponse(nil, cookie))
	return fmt.Sprintf("cookie %d", cookie), l.alive()
}

// followed is our chain-sync server, whose client is the node.
type followed struct {
	n       *node
	l       *link
	at      chainsync.Point // where we agreed to start
	tip     chainsync.Tip
	pending int // requests that are unanswered
	seen    string
}

// onSync makes a check of what the node does once it has an intersection with us.
func onSync(f func(f *followed) (string, error)) func(context.Context, *node) (string, error) {
	return func(ctx context.Context, n *node) (string, error) {
		f2 := &followed{n: n}
		if err := f2.start(ctx); err != nil {
			return "", err
		}
		defer f2.l.close()
		return f(f2)
	}
}

// start takes the node's FindIntersect and grants its first point.
func (f *followed) start(ctx context.Context) (err error) {
	if f.l, err = f.n.duplex(ctx, chainsync.Number); err != nil {
		return setup(err)
	}
	defer func() {
		if err != nil {
			f.l.close()
		}
	}()
	if _, f.tip, _, err = f.l.intersect(unhex("820480")); err != nil {
		return setup(err)
	}
	for range 8 {
		msg, err := f.l.first(chainsync.Number)
		if err != nil {
			return err
		}
		m, err := chainsync.Decode(chainsync.StateIdle, msg)
		if err != nil {
			return fmt.Errorf("%s: %w", brief(msg), err)
		}
		switch m := m.(type) {
		case chainsync.MsgRequestNext:
			f.pending++
			f.seen = "RequestNext, from origin"
			return nil
		case chainsync.MsgFindIntersect:
			f.seen = fmt.Sprintf("FindIntersect of %d points, %s list", len(m.Points), form(msg))
			if len(m.Points) > 0 {
				f.at = m.Points[0]
				if f.at != f.tip.Point {
					f.tip = chainsync.Tip{Point: f.at, Block: f.tip.Block}
				}
				f.l.reply(chainsync.Number, chainsync.AppendIntersectFound(nil, f.at, f.tip))
				return nil
			}
			f.l.reply(chainsync.Number, chainsync.AppendIntersectNotFound(nil, f.tip)) // a probe
		default:
			return fmt.Errorf("begins with %T", m)
		}
	}
	return errors.New("asks for the tip again and again")
}

func form(msg []byte) string {
	if len(msg) > 2 && msg[2] == 0x9f {
		return "indefinite"
	}
	return "definite"
}

// requested waits for a request that can be answered.
func (f *followed) requested() error {
	if f.pending > 0 {
		return nil
	}
	_, msg, err := f.l.request(f.l.wait.answer, chainsync.Number)
	if err == nil && string(msg) != string(chainsync.AppendRequestNext(nil)) {
		err = fmt.Errorf("%s instead of RequestNext", brief(msg))
	}
	f.pending++
	return err
}

// await rolls back to where we start, as the first answer must, and answers the next request with AwaitReply.
func (f *followed) await() error {
	if err := f.requested(); err != nil {
		return err
	}
	f.l.reply(chainsync.Number, chainsync.AppendRollBackward(nil, f.at, f.tip))
	f.pending--
	if err := f.requested(); err != nil {
		return err
	}
	f.l.reply(chainsync.Number, chainsync.AppendAwaitReply(nil))
	return nil
}

func clientPipelining(f *followed) (string, error) {
	deadline := time.Now().Add(f.l.wait.quiet)
	for {
		_, msg, err := f.l.request(time.Until(deadline), chainsync.Number)
		switch {
		case errors.Is(err, errSilent):
			return fmt.Sprintf("%d outstanding", f.pending), nil
		case err != nil:
			return "", err
		case string(msg) != string(chainsync.AppendRequestNext(nil)):
			return "", fmt.Errorf("%s with %d requests outstanding", brief(msg), f.pending)
		}
		if f.pending++; f.pending > chainsync.HighMark {
			return "", fmt.Errorf("%d requests outstanding", f.pending)
		}
	}
}

// onFetch makes a check of what the node does with the answer to its request for a block that we announced. other is another block.
func onFetch(check func(f *followed, other []byte) (string, error)) func(context.Context, *node) (string, error) {
	return onSync(func(f *followed) (string, error) {
		if f.at != f.tip.Point || f.at.IsOrigin() && !f.tip.IsOrigin() {
			return "", skipf("the node does not begin at its tip")
		}
		seed := f.n.serial.Add(2)
		var blocks [2]chain.Block
		for i := range blocks {
			g := chain.NewGenerator(seed + uint64(i))
			g.After(f.tip)
			b, err := chain.ParseBlock(g.Next(nil))
			if err != nil {
				return "", setup(err)
			}
			blocks[i] = b
		}
		wanted, err := f.announce(blocks[0])
		if err != nil {
			return "", setup(err)
		}
		if !wanted {
			return "", skipf("the node does not ask for the block that we announce, which a ledger refuses")
		}
		return check(f, chain.AppendItem(nil, blocks[1].Era, blocks[1].Raw))
	})
}

// announce tells of one block after the start, and whether the node asks for it.
func (f *followed) announce(b chain.Block) (wanted bool, err error) {
	tip := chainsync.Tip{Point: b.Point(), Block: b.Number}
	header := chain.AppendHeaderPayload(nil, b.Era, b.Bytes, b.Size)
	answers := [][]byte{
		chainsync.AppendRollBackward(nil, f.at, tip), chainsync.AppendRollForward(nil, header, tip), chainsync.AppendAwaitReply(nil),
	}
	deadline := time.Now().Add(f.l.wait.opens)
	for {
		for ; f.pending > 0 && len(answers) > 0; f.pending-- {
			f.l.reply(chainsync.Number, answers[0])
			answers = answers[1:]
		}
		number, msg, err := f.l.request(time.Until(deadline), chainsync.Number, blockfetch.Number)
		if err != nil {
			return false, nil // it closes, or it is not interested
		}
		if number == chainsync.Number {
			f.pending++
			continue
		}
		from, to, err := blockfetch.DecodeRequestRange(msg)
		if err == nil && (from != b.Point() || to != b.Point()) {
			err = fmt.Errorf("asks for %s to %s, we announced %s", short(from), short(to), short(b.Point()))
		}
		return err == nil, err
	}
}

// onOffer makes a check of what the node does as the owner of transactions, after its Init.
func onOffer(f func(l *link) (string, error)) func(context.Context, *node) (string, error) {
	return func(ctx context.Context, n *node) (string, error) {
		l, err := n.duplex(ctx, txsubmission.Number)
		if err != nil {
			return "", setup(err)
		}
		defer l.close()
		msg, err := l.first(txsubmission.Number)
		if err != nil {
			return "", err
		}
		if string(msg) != string(txsubmission.AppendInit(nil)) {
			return "", fmt.Errorf("begins with %s", brief(msg))
		}
		return f(l)
	}
}

func clientOffer(l *link) (string, error) {
	l.reply(txsubmission.Number, txsubmission.AppendRequestTxIDs(nil, true, 0, txsubmission.Window))
	_, msg, err := l.request(l.wait.quiet, txsubmission.Number)
	switch {
	case errors.Is(err, errSilent):
		return "Init, then it waits", nil
	case err != nil:
		return "", err
	}
	m, err := txsubmission.Decode(txsubmission.StateTxIDsBlocking, msg)
	if err != nil {
		return "", fmt.Errorf("%s: %w", brief(msg), err)
	}
	ids, ok := m.(txsubmission.MsgReplyTxIDs)
	switch {
	case !ok:
		return "Init, then Done", nil
	case len(ids.IDs) > txsubmission.Window:
		return "", fmt.Errorf("%d ids", len(ids.IDs))
	}
	return fmt.Sprintf("Init, then %d ids", len(ids.IDs)), nil
}
