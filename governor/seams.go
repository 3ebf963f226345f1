package governor

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"
)

// ConnectOptions says how a peer is to be connected to. It is an alias of an unnamed struct, so that a connection manager can
// declare the same type without importing this package.
//
// InboundOnly: the peer is behind a firewall; an existing inbound connection is reused, or the attempt fails at once; it is
// never dialled (governor §2). Trustable lifts the chain-sync must-reply limit.
type ConnectOptions = struct{ InitiatorOnly, InboundOnly, Trustable, BigLedger bool }

// LocalRootGroup is one group of local roots with the names already resolved: keep Hot members hot and Warm members at least
// warm (governor §2).
type LocalRootGroup = struct {
	Hot, Warm int
	Members   []netip.AddrPort

	Advertise, Trustable, InboundOnly, InitiatorOnly bool
}

// RootSettings are those fields of a topology that change the governor's mode. UseBootstrap with BootstrapEmpty is "on, with an
// empty list". SnapshotSlot and SnapshotHash are the point of the peer snapshot, zero without one.
type RootSettings = struct {
	UseBootstrap, BootstrapEmpty, UseLedger bool

	SnapshotSlot uint64
	SnapshotHash [32]byte
}

// PeerActions is what the governor asks of a connection manager. Calls are made from goroutines of the shell, one call
// in flight for each peer; they return when ctx ends.
//
// Reports through Watch which a call causes come before that call returns.
type PeerActions interface {
	// Connect makes peer warm and returns once the handshake is done; sharesPeers is the negotiated willingness.
	Connect(ctx context.Context, peer netip.AddrPort, o ConnectOptions) (sharesPeers bool, err error)
	// Activate: warm to hot.
	Activate(ctx context.Context, peer netip.AddrPort) error
	// Deactivate: hot to warm. A nil error does not mean warm: the connection may have been closed without anybody's fault
	// (governor §3.5); the temperature is what Watch reported.
	Deactivate(ctx context.Context, peer netip.AddrPort) error
	// Disconnect makes peer cold; it returns when the connection is really gone (governor §3.5).
	Disconnect(ctx context.Context, peer netip.AddrPort) error
	// Watch reports every change of every established peer, ordered or not: 0 cold, 1 cooling, 2 warm, 3 hot; retryAfter
	// from the exit policy, negative when there is none. report never waits.
	Watch(report func(peer netip.AddrPort, temperature int, retryAfter time.Duration, cause error)) (stop func())
	// MatureInbound lists duplex inbound peers old enough to be offered, with their willingness to share peers.
	MatureInbound() map[netip.AddrPort]bool
	// AskForPeers asks peer for at most n addresses.
	AskForPeers(ctx context.Context, peer netip.AddrPort, n int) ([]netip.AddrPort, error)
}

// InboundWatcher may be implemented by [PeerActions]: WatchInbound reports every duplex connection that a peer has opened to us, once
// Connect would reuse it. report never waits. Without it, back-offs are waited out whoever connects to us.
type InboundWatcher interface {
	WatchInbound(report func(peer netip.AddrPort)) (stop func())
}

// Roots answers where peers come from. It only answers; which source is asked, and falling back from one to the other, is the
// governor's (governor §6.2, §7). changed is closed when the value is out of date.
type Roots interface {
	// LocalRoots are the groups with their names resolved, as far as they are.
	LocalRoots() (groups []LocalRootGroup, changed <-chan struct{})
	// PublicRoots resolves the configured public roots; the value of advertise says whether others may be told about the peer. ttl is how
	// long the answer counts.
	PublicRoots(ctx context.Context) (advertise map[netip.AddrPort]bool, ttl time.Duration, err error)
	// BootstrapPeers resolves the bootstrap peers, likewise.
	BootstrapPeers(ctx context.Context) (peers []netip.AddrPort, ttl time.Duration, err error)
	// LedgerPeers draws n ledger peers, or big ledger peers. An empty answer without an error means "nothing": the governor
	// falls back to the configured public roots.
	LedgerPeers(ctx context.Context, n int, big bool) (peers []netip.AddrPort, ttl time.Duration, err error)
	// Settings are the fields of the topology that change the governor's mode.
	Settings() (s RootSettings, changed <-chan struct{})
}

// Ledger is the host's view of the chain. BulkSync is read before every step of the core and must be cheap.
type Ledger interface {
	// Judgement says whether the ledger state is too old to trust the peers it names (governor §7); changed is closed when that is out of date.
	Judgement() (tooOld bool, changed <-chan struct{})
	// BulkSync says whether the node is still far behind the network's tip.
	BulkSync() bool
}

// SnapshotVerifier may be implemented by a [Ledger]: it looks the block of the peer snapshot up in the immutable chain
// when Genesis mode finds its ledger state too old (governor §6.3).
type SnapshotVerifier interface {
	// VerifySnapshot reports whether the chain has a block of this hash in this slot. The answer is only traced.
	VerifySnapshot(ctx context.Context, slot uint64, hash [32]byte) (bool, error)
}

// Policy is what a researcher swaps: which of the candidates are picked. It is pure: all randomness comes from rnd, and it
// keeps nothing between calls. A pick has at least one and at most n peers, all of them candidates and none twice. A
// pick that breaks this is reported as PolicyViolation and replaced by a uniform one.
//
// A policy that only needs to see some of many candidates may implement [Sampler].
type Policy interface {
	// Pick chooses between one and n of the candidates, which are its to read until it returns.
	Pick(kind PickKind, candidates []Candidate, n int, rnd *rand.Rand) []netip.AddrPort
}

// Sampler may be implemented by a [Policy]. Sample says how many candidates, drawn uniformly, a pick of n wants to be shown; 0
// means all. For policies without it the core shows 512 + 4n (Limits.Candidates), so that a pick never costs more than a
// constant for each peer picked, however many are known.
type Sampler interface {
	Sample(kind PickKind, n int) int
}
