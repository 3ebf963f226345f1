package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/blake2b"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

// firstRequest is how long a node may let an owner of transactions wait; the reference waits 60 s (wire §8).
const firstRequest = 75 * time.Second

func txSubmissionChecks() []check {
	list := []check{
		{id: "tx-submission.rules", section: "§8", expected: "the node's requests keep the window of 10, the blocking rule and the count of acknowledgements, and name announced ids, each once", run: onTxs(txRules)},
		{id: "tx-submission.done", section: "§8", expected: "Done answers a blocking request, and Init starts it again", run: onTxs(txDone)},
		{id: "tx-submission.omitted", section: "§8", expected: "a reply may leave out every transaction asked for", run: onTxs(txOmitted)},
		{id: "tx-submission.size-32", section: "§8", expected: "32 bytes of difference to the advertised size are tolerated, either way", run: onTxs(txTolerance)},
		{id: "tx-submission.size-33", section: "§8", expected: "33 bytes of difference to the advertised size end the connection", violates: true, run: onTxs(txSize)},
		{id: "tx-submission.too-many", section: "§8", expected: "more ids than asked for end the connection", violates: true, run: onTxs(func(o *owner) (string, error) {
			o.send(txsubmission.AppendReplyTxIDs(nil, o.make(int(o.first.Req)+1)))
			return o.ended()
		})},
		{id: "tx-submission.empty", section: "§13", expected: "an empty reply to a blocking request (N8) ends the connection", violates: true, run: onTxs(func(o *owner) (string, error) {
			if !o.first.Blocking {
				return "", setup(errors.New("the first request is not blocking"))
			}
			o.send(unhex("82019fff"))
			return o.ended()
		})},
		{id: "tx-submission.definite", section: "§13", expected: "a definite list of ids (N7) ends the connection", violates: true, run: onTxs(func(o *owner) (string, error) {
			o.send(definite(txsubmission.TagReplyTxIDs, txsubmission.AppendReplyTxIDs(nil, o.make(1)), 1))
			return o.ended()
		})},
		{id: "tx-submission.definite-bodies", section: "§8", expected: "a definite list of transactions ends the connection", violates: true, run: onTxs(func(o *owner) (string, error) {
			txs, err := o.asked(1, 0)
			if err != nil {
				return "", setup(err)
			}
			o.send(definite(txsubmission.TagReplyTxs, txsubmission.AppendReplyTxs(nil, txs), len(txs)))
			return o.ended()
		})},
		{id: "tx-submission.unrequested", section: "§8", expected: "a transaction that was not asked for ends the connection", violates: true, run: onTxs(func(o *owner) (string, error) {
			if _, err := o.asked(1, 0); err != nil {
				return "", setup(err)
			}
			_, other := o.transaction()
			o.send(txsubmission.AppendReplyTxs(nil, [][]byte{other}))
			return o.ended()
		})},
		{id: "tx-submission.init-again", section: "§8", expected: "Init in place of an answer ends the connection", violates: true, run: onTxs(func(o *owner) (string, error) {
			o.send(txsubmission.AppendInit(nil))
			return o.ended()
		})},
	}
	return append(list, violations((*node).initiate, []wrong{
		{"tx-submission.no-init", "§8", "a reply before Init", txsubmission.Number, unhex("82019fff")},
		{"tx-submission.early-done", "§8", "Done before Init", txsubmission.Number, txsubmission.AppendDone(nil)},
		{"tx-submission.agency", "§8", "a request from the client", txsubmission.Number, txsubmission.AppendRequestTxIDs(nil, true, 0, 3)},
		{"tx-submission.malformed", "§2.9", "bytes that are not CBOR", txsubmission.Number, unhex("81ff")},
	})...)
}

// definite turns the indefinite list of n elements, which ends a message, into a definite one.
func definite(tag uint64, msg []byte, n int) []byte {
	items := msg[3 : len(msg)-1]
	return append(cbor.AppendArray(cbor.AppendMessage(nil, 2, tag), n), items...)
}

// owner is our side of tx-submission: it has transactions, the node asks.
type owner struct {
	n     *node
	l     *link
	first txsubmission.MsgRequestTxIDs
	fifo  []owned // announced and not acknowledged
	off   int     // added to the sizes that are announced
}

type owned struct {
	id, tx    []byte
	requested bool
}

func (o *owner) send(msg []byte)        { o.l.send(txsubmission.Number, msg) }
func (o *owner) ended() (string, error) { return o.l.ended() }

// onTxs makes a check of what follows the node's first request.
func onTxs(f func(o *owner) (string, error)) func(context.Context, *node) (string, error) {
	return func(ctx context.Context, n *node) (string, error) {
		l, err := n.initiate(ctx)
		if err != nil {
			return "", setup(err)
		}
		defer l.close()
		o := &owner{n: n, l: l}
		if err := o.start(); err != nil {
			return "", setup(err)
		}
		return f(o)
	}
}

// start sends Init and takes the first request, which must be a right one.
func (o *owner) start() error {
	o.send(txsubmission.AppendInit(nil))
	within := o.n.wait.opens
	if o.n.slow {
		within = firstRequest
	}
	_, msg, err := o.l.recvAny(within, stream{txsubmission.Number, mux.Responder})
	switch {
	case errors.Is(err, errSilent) && o.n.slow:
		return fmt.Errorf("no request within %v of Init", within)
	case errors.Is(err, errSilent):
		return skipf("no request within %v of Init; the reference waits 60 s, which -slow allows for", within)
	case err != nil:
		return err
	}
	m, err := txsubmission.Decode(txsubmission.StateIdle, msg)
	if err != nil {
		return fmt.Errorf("%s: %w", brief(msg), err)
	}
	first, ok := m.(txsubmission.MsgRequestTxIDs)
	if !ok {
		return fmt.Errorf("the first request is a %T", m)
	}
	o.first = first
	return nil
}

// transaction makes a well-formed transaction and its id, in their envelopes, that no ledger accepts.
func (o *owner) transaction() (id, tx []byte) {
	body := cbor.AppendUint(unhex("a102"), o.n.serial.Add(1))
	raw := append(append(unhex("84"), body...), unhex("a0f5")...)
	raw = cbor.AppendBytes(raw, make([]byte, 64)) // so that less than its size can be advertised
	id = txsubmission.AppendTxID(nil, txsubmission.TxID{Era: 6, Hash: blake2b.Sum256(body)})
	return id, txsubmission.AppendTx(nil, txsubmission.Tx{Era: 6, Bytes: raw})
}

// make announces count new transactions.
func (o *owner) make(count int) (ids []txsubmission.IDAndSize) {
	for range count {
		id, tx := o.transaction()
		o.fifo = append(o.fifo, owned{id: id, tx: tx})
		ids = append(ids, txsubmission.IDAndSize{ID: id, Size: uint32(len(tx) + o.off)})
	}
	return ids
}

// acknowledge applies a request for ids to the rules of wire §8.
func (o *owner) acknowledge(r txsubmission.MsgRequestTxIDs) error {
	out := len(o.fifo)
	left := out - int(r.Ack)
	what := fmt.Sprintf("with %d outstanding it acknowledges %d and asks for %d, blocking %v", out, r.Ack, r.Req, r.Blocking)
	switch {
	case left < 0:
		return fmt.Errorf("acknowledged too many: %s", what)
	case left+int(r.Req) > txsubmission.Window:
		return fmt.Errorf("beyond the window: %s", what)
	case r.Blocking && r.Req == 0, !r.Blocking && r.Ack == 0 && r.Req == 0:
		return fmt.Errorf("asked for nothing: %s", what)
	case r.Blocking && left > 0:
		return fmt.Errorf("should have been non-blocking: %s", what)
	case !r.Blocking && left == 0:
		return fmt.Errorf("should have been blocking: %s", what)
	}
	o.fifo = o.fifo[r.Ack:]
	return nil
}

// request finds the transactions that are asked for.
func (o *owner) request(ids [][]byte) (txs [][]byte, err error) {
	for _, id := range ids {
		found := false
		for i := range o.fifo {
			t := &o.fifo[i]
			if !bytes.Equal(t.id, id) {
				continue
			}
			if t.requested {
				return nil, fmt.Errorf("asked twice for %x", id)
			}
			t.requested, found = true, true
			txs = append(txs, t.tx)
		}
		if !found {
			return nil, fmt.Errorf("asked for %x, which is not outstanding", id)
		}
	}
	return txs, nil
}

// step takes the next request and checks it.
func (o *owner) step() (m txsubmission.Message, txs [][]byte, err error) {
	msg, err := o.l.recv(txsubmission.Number)
	if err != nil {
		return nil, nil, err
	}
	if m, err = txsubmission.Decode(txsubmission.StateIdle, msg); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", brief(msg), err)
	}
	switch r := m.(type) {
	case txsubmission.MsgRequestTxIDs:
		err = o.acknowledge(r)
	case txsubmission.MsgRequestTxs:
		txs, err = o.request(r.IDs)
	}
	return m, txs, err
}

// asked announces count transactions in answer to the first request and returns the first that the node asks for, unanswered.
func (o *owner) asked(count, off int) ([][]byte, error) {
	o.off = off
	o.send(txsubmission.AppendReplyTxIDs(nil, o.make(min(count, int(o.first.Req)))))
	for {
		m, txs, err := o.step()
		if err != nil {
			return nil, err
		}
		if len(txs) > 0 {
			return txs, nil
		}
		if r, ok := m.(txsubmission.MsgRequestTxIDs); !ok {
			o.send(txsubmission.AppendReplyTxs(nil, nil))
		} else if r.Blocking {
			return nil, skipf("the node does not ask for a transaction that it cannot know")
		} else {
			o.send(txsubmission.AppendReplyTxIDs(nil, nil))
		}
	}
}

// settled serves until the node blocks with nothing outstanding.
func (o *owner) settled() error {
	for {
		m, txs, err := o.step()
		if err != nil {
			return err
		}
		switch r := m.(type) {
		case txsubmission.MsgRequestTxs:
			o.send(txsubmission.AppendReplyTxs(nil, txs))
		case txsubmission.MsgRequestTxIDs:
			if r.Blocking {
				o.first = r
				return nil
			}
			o.send(txsubmission.AppendReplyTxIDs(nil, nil))
		}
	}
}

func txRules(o *owner) (string, error) {
	const total = 25
	announced, served, requests := 0, 0, 0
	m, err := txsubmission.Message(o.first), o.acknowledge(o.first)
	var txs [][]byte
	for {
		if err != nil {
			return "", fmt.Errorf("after %d announced and %d served: %w", announced, served, err)
		}
		requests++
		switch r := m.(type) {
		case txsubmission.MsgRequestTxs:
			served += len(txs)
			o.send(txsubmission.AppendReplyTxs(nil, txs))
		case txsubmission.MsgRequestTxIDs:
			if r.Blocking && announced == total {
				return fmt.Sprintf("%d ids announced, %d transactions asked for, all acknowledged, in %d requests", announced, served, requests), nil
			}
			k := min(int(r.Req), total-announced)
			announced += k
			o.send(txsubmission.AppendReplyTxIDs(nil, o.make(k)))
		}
		m, txs, err = o.step()
	}
}

func txDone(o *owner) (string, error) {
	if err := o.acknowledge(o.first); err != nil {
		return "", err
	}
	if !o.first.Blocking {
		return "", errors.New("the first request is not blocking")
	}
	o.send(txsubmission.AppendDone(nil))
	if err := o.start(); err != nil {
		return "", fmt.Errorf("after Done and Init: %w", err)
	}
	return "asked again", o.acknowledge(o.first)
}

func txOmitted(o *owner) (string, error) {
	if _, err := o.asked(2, 0); err != nil {
		return "", setup(err)
	}
	o.send(txsubmission.AppendReplyTxs(nil, nil))
	return "acknowledged all the same", o.settled()
}

func txTolerance(o *owner) (string, error) {
	for _, off := range []int{txsubmission.SizeTolerance, -txsubmission.SizeTolerance} {
		txs, err := o.asked(1, off)
		if err != nil {
			return "", setup(err)
		}
		o.send(txsubmission.AppendReplyTxs(nil, txs))
		if err := o.settled(); err != nil {
			return "", fmt.Errorf("with %+d bytes: %w", off, err)
		}
	}
	return "both accepted", nil
}

// txSize advertises too much. The reference's default logic does not look at that (wire §8), so a node need not.
func txSize(o *owner) (string, error) {
	txs, err := o.asked(1, txsubmission.SizeTolerance+1)
	if err != nil {
		return "", setup(err)
	}
	o.send(txsubmission.AppendReplyTxs(nil, txs))
	seen, err := o.ended()
	if err != nil {
		return "", skipf("tolerated, as by the reference's first logic, which does not compare sizes")
	}
	return seen, nil
}
