package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/hearthnet/hearth/protocols/handshake"
	"github.com/hearthnet/hearth/protocols/peersharing"
)

func peerSharingChecks() []check {
	list := []check{
		{id: "peer-sharing.ten", section: "§9", expected: "asked for 10, at most 10 well-formed addresses that can be dialled", run: onPeers(10)},
		{id: "peer-sharing.all", section: "§9", expected: "asked for 255, at most 5,760 bytes of well-formed addresses that can be dialled", run: onPeers(255)},
		{id: "peer-sharing.one", section: "§9", expected: "asked for 1, at most 1 address", run: onPeers(1)},
		{id: "peer-sharing.none", section: "§9", expected: "asked for 0, an empty list", run: onPeers(0)},
		{id: "peer-sharing.again", section: "§9", expected: "a second request on the same connection is answered", run: onPeers(5, 5)},
		{id: "peer-sharing.done", section: "§2.8", expected: "after Done it can be started again on the same connection", run: sharesAgain},
	}
	return append(list, violations((*node).offersPeers, []wrong{
		{"peer-sharing.agency", "§9", "SharePeers from the client", peersharing.Number, unhex("820180")},
		{"peer-sharing.wide-amount", "§9", "an amount of 9 bits", peersharing.Number, unhex("8200190100")},
		{"peer-sharing.unknown-tag", "§0", "an unknown message", peersharing.Number, unhex("8109")},
		{"peer-sharing.malformed", "§2.9", "bytes that are not CBOR", peersharing.Number, unhex("82ff")},
		{"peer-sharing.ingress", "§2.6", "5,761 bytes in one SDU", peersharing.Number, overflow()},
	})...)
}

// offersPeers is the start of the checks of peer-sharing.
func (n *node) offersPeers(ctx context.Context) (*link, error) {
	l, err := n.initiateWith(ctx, handshake.Data{InitiatorOnly: true, PeerSharing: true})
	if err != nil {
		return nil, err
	}
	if !l.neg.PeerSharing {
		l.close()
		return nil, skipf("peer sharing is not negotiated")
	}
	return l, nil
}

// overflow is requests of one byte more than fit the stream.
func overflow() []byte {
	var b []byte
	for len(b) <= peersharing.IngressLimit {
		b = peersharing.AppendShareRequest(b, 1)
	}
	return b[:peersharing.IngressLimit+1]
}

// onPeers makes a check of the answers to requests on one connection.
func onPeers(amounts ...uint8) func(context.Context, *node) (string, error) {
	return func(ctx context.Context, n *node) (string, error) {
		l, err := n.offersPeers(ctx)
		if err != nil {
			return "", setup(err)
		}
		defer l.close()
		seen := ""
		for _, amount := range amounts {
			if seen, err = l.peers(amount); err != nil {
				return "", err
			}
		}
		return seen, nil
	}
}

// peers asks for peers and looks at the answer.
func (l *link) peers(amount uint8) (string, error) {
	l.send(peersharing.Number, peersharing.AppendShareRequest(nil, amount))
	msg, err := l.recv(peersharing.Number)
	if err != nil {
		return "", err
	}
	if len(msg) > peersharing.MaxMessage {
		return "", fmt.Errorf("%d bytes", len(msg))
	}
	peers, err := peersharing.DecodeSharePeers(nil, msg, int(amount))
	if err != nil {
		return "", fmt.Errorf("%s: %w", brief(msg), err)
	}
	for _, p := range peers {
		if err := plausible(p); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d addresses in %d bytes", len(peers), len(msg)), nil
}

// plausible refuses what nobody can dial. It finds swapped octets where they make such an address.
func plausible(p netip.AddrPort) error {
	a := p.Addr()
	switch {
	case p.Port() == 0:
		return fmt.Errorf("%v: no port", p)
	case a.IsUnspecified(), a.IsMulticast(), a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240):
		return fmt.Errorf("%v: nobody has this address; are its octets swapped?", p)
	case a.Is4In6():
		return fmt.Errorf("%v: an IPv4 address written as an IPv6 one", p)
	}
	return nil
}

func sharesAgain(ctx context.Context, n *node) (string, error) {
	l, err := n.offersPeers(ctx)
	if err != nil {
		return "", setup(err)
	}
	defer l.close()
	if _, err := l.peers(3); err != nil {
		return "", setup(err)
	}
	l.send(peersharing.Number, peersharing.AppendDone(nil))
	seen, err := l.peers(3)
	if err != nil {
		return "", errors.New("after Done: " + err.Error())
	}
	return seen, nil
}
