package connmgr

import "github.com/hearthnet/hearth/protocols"

// standardLane is the stream of a standard mini-protocol, which every connection of its family carries so that bytes for it can
// wait for their reader (wire §2.6, §3).
type standardLane struct {
	number       uint16
	nodeToClient bool
	ingress      [2]int // limits as initiator and as responder, bytes
	enabled      func(protocols.Negotiated) bool
}

const (
	// requests is enough for streams on which a conforming peer sends only requests.
	requests = 128 << 10
	// A node-to-client server takes 4 MiB a stream and message, a client 256 MiB; the reference has no limit (wire §2.6).
	localServer = 4 << 20
	localClient = 256 << 20
)

func peerSharing(n protocols.Negotiated) bool { return n.PeerSharing }
func peras(n protocols.Negotiated) bool       { return n.Peras }

var standard = []standardLane{
	{number: 2, ingress: [2]int{462_000, requests}},
	{number: 3, ingress: [2]int{23_068_694, requests}},
	{number: 4, ingress: [2]int{requests, 721_424}},
	{number: 8, ingress: [2]int{1_408, 1_408}},
	{number: 10, ingress: [2]int{5_760, 5_760}, enabled: peerSharing},
	{number: 16, ingress: [2]int{220_000, 220_000}, enabled: peras},
	{number: 17, ingress: [2]int{55_000, 55_000}, enabled: peras},
	{number: 5, nodeToClient: true, ingress: [2]int{localClient, localServer}},
	{number: 6, nodeToClient: true, ingress: [2]int{localClient, localServer}},
	{number: 7, nodeToClient: true, ingress: [2]int{localClient, localServer}},
	{number: 9, nodeToClient: true, ingress: [2]int{localClient, localServer}},
}
