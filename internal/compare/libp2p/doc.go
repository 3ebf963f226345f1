// Package libp2p measures artifact gossip beside go-libp2p-pubsub's gossipsub: the same nodes, links, load and processor, in turns in
// one run. It is a module of its own, so that nobody who builds anything else downloads libp2p.
package libp2p
