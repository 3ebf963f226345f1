package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/protocols/handshake"
	"github.com/hearthnet/hearth/protocols/keepalive"
)

func muxChecks() []check {
	list := []check{
		{id: "mux.timestamps", section: "§2.1", expected: "SDUs carry a monotonic clock in microseconds", run: timestamps},
		{id: "mux.payload", section: "§2.3", expected: "every SDU has 1 to 65,535 bytes, 12,288 at most being usual", run: payloads},
		{id: "mux.direction", section: "§2.2", expected: "on a connection that is initiator-only of ours, the node sends with direction bit 1 alone", run: direction},
		{id: "mux.two-in-one", section: "§2.5", expected: "two messages in one SDU (X8) are both answered", run: twoInOne},
		{id: "mux.largest", section: "§2.3", expected: "an SDU of 65,535 bytes is accepted", run: largest},
		{id: "mux.blocked-stream", section: "§2.6", expected: "half a message on one stream stops no other", run: blockedStream},
		{id: "mux.wrong-direction", section: "§2.8", expected: "direction bit 1 from the initiator's side ends the connection, at the latest at the stream's limit", violates: true, run: wrongDirection},
		{id: "mux.partial-payload", section: "§2.4", expected: "an SDU whose payload stops half way ends the connection after 30 s", slow: true, violates: true,
			run: partial(unhex("0000000000080005820019"))},
		{id: "mux.partial-header", section: "§2.4", expected: "an SDU whose header stops half way ends the connection after 30 s", slow: true, violates: true,
			run: partial(unhex("00000000"))},
		{id: "mux.zero-length", section: "§13", expected: "an SDU without payload (N16) ends the connection", violates: true, run: zeroLength},
	}
	start := func(n *node, ctx context.Context) (*link, error) {
		return n.initiateWith(ctx, handshake.Data{InitiatorOnly: true})
	}
	return append(list, violations(start, []wrong{
		{"mux.unknown", "§2.7", "an SDU for number 99", 99, unhex("8100")},
		{"mux.handshake-again", "§2.7", "an SDU for number 0 after the handshake", 0, unhex("8200a0")},
		{"mux.node-to-client", "§2.7", "an SDU for node-to-client's number 5", 5, unhex("8100")},
		{"mux.not-negotiated", "§13", "a peer-sharing request without having negotiated it (N17)", 10, unhex("82000a")},
		{"mux.peras", "§2.7", "an SDU for number 16 under version 14 or 15", 16, unhex("8100")},
		{"mux.ingress", "§2.6", "1,409 bytes for keep-alive in one SDU", keepalive.Number, pings(keepalive.IngressLimit + 1)},
	})...)
}

// pings is size bytes of keep-alive requests, the last one cut off.
func pings(size int) []byte {
	var b []byte
	for len(b) < size {
		b = append(b, unhex("820007")...)
	}
	return b[:size]
}

// timestamps compares the node's clock with ours over a second and a half. Half a second of difference is its load.
func timestamps(ctx context.Context, n *node) (string, error) {
	l, err := n.connect(ctx, handshake.Data{InitiatorOnly: true})
	if err != nil {
		return "", setup(err)
	}
	defer l.close()
	for i := range 6 {
		if i > 0 {
			time.Sleep(300 * time.Millisecond)
		}
		if err := l.beat(uint16(i)); err != nil {
			return "", setup(err)
		}
	}
	l.mu.Lock()
	stamps := l.stamps
	l.mu.Unlock()
	if len(stamps) < 2 {
		return "", setup(errors.New("too few SDUs"))
	}
	first, last := stamps[0], stamps[len(stamps)-1]
	for i := range stamps[1:] {
		if d := stamps[i+1].stamp - stamps[i].stamp; d >= 1<<31 {
			return "", fmt.Errorf("the clock goes back, from %d to %d", stamps[i].stamp, stamps[i+1].stamp)
		}
	}
	theirs := time.Duration(last.stamp-first.stamp) * time.Microsecond
	ours := last.at.Sub(first.at)
	seen := fmt.Sprintf("%v by its clock in %v by ours", theirs.Round(time.Millisecond), ours.Round(time.Millisecond))
	if d := (theirs - ours).Abs(); d > 500*time.Millisecond+ours/10 {
		return "", errors.New(seen)
	}
	return seen, nil
}

// payloads looks at what the node sends when it has much to say.
func payloads(ctx context.Context, n *node) (string, error) {
	l, err := n.initiate(ctx)
	if err != nil {
		return "", setup(err)
	}
	defer l.close()
	var b []byte
	for range 50 {
		b = chainsync.AppendRequestNext(b)
	}
	l.send(chainsync.Number, b)
	for range 50 {
		a, failed := l.update(chainsync.StateCanAwait)
		if err = failed; err != nil || a.kind == chainsync.TagAwaitReply {
			break
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var bad *mux.Error
	if errors.As(l.err, &bad) {
		return "", l.err
	}
	if l.sdus == 0 {
		return "", setup(err)
	}
	seen := fmt.Sprintf("%d SDUs of at most %d bytes", l.sdus, l.largest)
	if l.largest > sduSize {
		seen += ", which is legal and starves other streams"
	}
	return seen, nil
}

func direction(ctx context.Context, n *node) (string, error) {
	l, err := n.initiate(ctx)
	if err != nil {
		return "", setup(err)
	}
	defer l.close()
	l.send(chainsync.Number, chainsync.AppendFindIntersect(nil, nil))
	if _, err := l.recv(chainsync.Number); err != nil {
		return "", err
	}
	if err := l.alive(); err != nil {
		return "", err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range l.streams {
		if k.from == mux.Initiator {
			return "", fmt.Errorf("bytes on number %d with direction bit 0", k.number)
		}
	}
	return fmt.Sprintf("%d SDUs, all with bit 1", l.sdus), nil
}

func twoInOne(ctx context.Context, n *node) (string, error) {
	l, err := n.initiate(ctx)
	if err != nil {
		return "", setup(err)
	}
	defer l.close()
	l.send(chainsync.Number, unhex("81008100"))
	for i := range 2 {
		if _, err := l.update(chainsync.StateCanAwait); err != nil {
			return "", fmt.Errorf("answer %d: %w", i+1, err)
		}
	}
	return "both answered", nil
}

// largest sends a FindIntersect that fills the largest SDU.
func largest(ctx context.Context, n *node) (string, error) {
	l, err := n.initiate(ctx)
	if err != nil {
		return "", setup(err)
	}
	defer l.close()
	l.writeIn(chainsync.Number, mux.Initiator, longIntersect(mux.MaxPayload), mux.MaxPayload)
	msg, err := l.recv(chainsync.Number)
	if err != nil {
		return "", err
	}
	return "answered with " + brief(msg), nil
}

func blockedStream(ctx context.Context, n *node) (string, error) {
	l, err := n.connect(ctx, handshake.Data{InitiatorOnly: true})
	if err != nil {
		return "", setup(err)
	}
	defer l.close()
	l.send(chainsync.Number, unhex("82049f"))
	for cookie := range uint16(20) {
		if err := l.beat(cookie); err != nil {
			return "", err
		}
	}
	l.send(chainsync.Number, unhex("80ff"))
	if _, err := l.recv(chainsync.Number); err != nil {
		return "", fmt.Errorf("the rest of the message: %w", err)
	}
	return "keep-alive answered meanwhile", nil
}

// wrongDirection sends as a responder on a connection on which the node runs no initiators. The reference buffers that up to the
// stream's limit; ending the connection at once is recommended.
func wrongDirection(ctx context.Context, n *node) (string, error) {
	l, err := n.initiate(ctx)
	if err != nil {
		return "", setup(err)
	}
	defer l.close()
	l.reply(keepalive.Number, unhex("820107"))
	if _, how, err := l.endsWithin(0, n.wait.quiet); err == nil {
		return how + " at once", nil
	}
	l.reply(keepalive.Number, pings(keepalive.IngressLimit+1))
	if _, err := l.ended(); err != nil {
		return "", fmt.Errorf("also after 1,412 bytes: %w", err)
	}
	return "buffered up to the limit, then ended, as the reference does", nil
}

func zeroLength(ctx context.Context, n *node) (string, error) {
	l, err := n.initiate(ctx)
	if err != nil {
		return "", setup(err)
	}
	defer l.close()
	l.raw(unhex("0000000000020000"))
	return l.ended()
}

// partial sends the beginning of an SDU. The limit is 30 s.
func partial(begin []byte) func(ctx context.Context, n *node) (string, error) {
	return func(ctx context.Context, n *node) (string, error) {
		l, err := n.initiate(ctx)
		if err != nil {
			return "", setup(err)
		}
		defer l.close()
		l.raw(begin)
		took, how, err := l.endsWithin(25*time.Second, 40*time.Second)
		return fmt.Sprintf("%s after %.1f s", how, took.Seconds()), err
	}
}
