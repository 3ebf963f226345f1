package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols/handshake"
	"github.com/hearthnet/hearth/protocols/keepalive"
)

func keepAliveChecks() []check {
	list := []check{
		{id: "keep-alive.echo", section: "§10.1", expected: "cookies 0, 1, 23, 24, 255, 256 and 65,535 come back unchanged", run: onKeepAlive(func(l *link) (string, error) {
			for _, cookie := range []uint16{0, 1, 23, 24, 255, 256, 65535} {
				if err := l.beat(cookie); err != nil {
					return "", fmt.Errorf("cookie %d: %w", cookie, err)
				}
			}
			return "all seven", nil
		})},
		{id: "keep-alive.split", section: "§2.3", expected: "a request split over two SDUs is answered", run: onKeepAlive(func(l *link) (string, error) {
			l.writeIn(keepalive.Number, mux.Initiator, keepalive.AppendKeepAlive(nil, 0xabcd), 3)
			return l.echoes(0xabcd)
		})},
		{id: "keep-alive.one-byte-sdus", section: "§2.3", expected: "a request in SDUs of one byte is answered", run: onKeepAlive(func(l *link) (string, error) {
			l.writeIn(keepalive.Number, mux.Initiator, keepalive.AppendKeepAlive(nil, 0xabcd), 1)
			return l.echoes(0xabcd)
		})},
		{id: "keep-alive.wide-head", section: "§0", expected: "a cookie with a longer head than it needs is accepted", run: onKeepAlive(func(l *link) (string, error) {
			l.send(keepalive.Number, unhex("82001b0000000000000007"))
			return l.echoes(7)
		})},
		{id: "keep-alive.done", section: "§2.8", expected: "after Done it can be started again on the same connection", run: onKeepAlive(func(l *link) (string, error) {
			if err := l.beat(1); err != nil {
				return "", setup(err)
			}
			l.send(keepalive.Number, keepalive.AppendDone(nil))
			if err := l.beat(2); err != nil {
				return "", err
			}
			return "answered", nil
		})},
		{id: "keep-alive.unasked", section: "§10", expected: "no response without a request", run: onKeepAlive(func(l *link) (string, error) {
			if err := l.beat(3); err != nil {
				return "", setup(err)
			}
			if err := l.quiet(l.wait.quiet, stream{keepalive.Number, mux.Responder}); err != nil {
				return "", err
			}
			return "nothing", nil
		})},
		{id: "keep-alive.limit", section: "§5.1", expected: "97 s without a request end the connection, 90 s do not", slow: true, violates: true, run: onKeepAlive(func(l *link) (string, error) {
			if err := l.beat(4); err != nil {
				return "", setup(err)
			}
			took, how, err := l.endsWithin(90*time.Second, 110*time.Second)
			return fmt.Sprintf("%s after %.1f s", how, took.Seconds()), err
		})},
	}
	return append(list, violations(func(n *node, ctx context.Context) (*link, error) {
		return n.connect(ctx, handshake.Data{InitiatorOnly: true})
	}, []wrong{
		{"keep-alive.agency", "§10", "a response from the client", keepalive.Number, keepalive.AppendResponse(nil, 7)},
		{"keep-alive.wide-cookie", "§10", "a cookie of 17 bits", keepalive.Number, unhex("82001a00010000")},
		{"keep-alive.no-cookie", "§0", "a request of one element", keepalive.Number, unhex("8100")},
		{"keep-alive.indefinite", "§0", "an indefinite outer array", keepalive.Number, unhex("9f0007ff")},
		{"keep-alive.bare", "§10", "a request without an array, as versions up to 6 had it", keepalive.Number, unhex("0007")},
		{"keep-alive.malformed", "§2.9", "bytes that are not CBOR", keepalive.Number, unhex("8200ff")},
	})...)
}

// onKeepAlive makes a check of what happens on a fresh connection that only keep-alive uses.
func onKeepAlive(f func(l *link) (string, error)) func(context.Context, *node) (string, error) {
	return func(ctx context.Context, n *node) (string, error) {
		l, err := n.connect(ctx, handshake.Data{InitiatorOnly: true})
		if err != nil {
			return "", setup(err)
		}
		defer l.close()
		return f(l)
	}
}

// echoes wants the answer to a request that was sent.
func (l *link) echoes(cookie uint16) (string, error) {
	msg, err := l.recv(keepalive.Number)
	if err != nil {
		return "", err
	}
	got, err := keepalive.DecodeResponse(msg)
	if err == nil && got != cookie {
		err = errors.New("another cookie")
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", brief(msg), err)
	}
	return brief(msg), nil
}
