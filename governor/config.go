package governor

import (
	"errors"
	"io"
	"log/slog"
	"net/netip"
)

// Config configures a [Core] and, with its last fields, a [Governor]. The zero value works: targets of zero, so local
// roots are dropped too (they are clamped to the known target); [Relay], [BlockProducer], [Wallet] and [PrivateNetwork] give useful ones.
type Config struct {
	Targets     Targets // what is worked towards; "deadline" targets in the reference (governor §1.3)
	SyncTargets Targets // used in Genesis mode while the ledger state is too old
	Genesis     bool    // Genesis instead of Praos consensus mode (governor §7)
	// MinBigLedgerPeers is how many active big ledger peers make Genesis mode trust its peers; 0 means 5 (governor §7).
	MinBigLedgerPeers int

	PeerSharing   bool // ask others for peers and answer them (governor §3.7)
	InitiatorOnly bool // no peer may use our connections for its own initiators: wallets
	NoChurn       bool // targets are applied as they are and stay (governor §4)

	// NoOutageDetection switches own-outage detection off: failures count even when everything fails at once (governor §12).
	NoOutageDetection bool
	// OutagePeers is how many distinct peers must fail, with no sign of life in between and no connection left, to make an
	// outage of our own; 0 means 5, fewer when fewer are known, at least 2.
	OutagePeers int
	// RejectPrivate drops private, loopback and link-local addresses learnt from the ledger, from other peers or inbound.
	RejectPrivate bool
	Diversity     Diversity
	Self          []netip.AddrPort // our own addresses, never learnt

	Policy Policy `json:"-"` // nil: SimplePolicy
	Limits Limits
	Timing Timing
	Seed   uint64 // of all randomness; the shell draws one when it is 0

	// Below: only the shell.
	Log       *slog.Logger `json:"-"` // nil: slog.Default()
	StorePath string       // file of the peer store; empty: none
	Record    io.Writer    `json:"-"` // receives a recording for Replay; nil: none
	// CheckInvariants looks at every invariant after every step, at a cost that grows with the known peers: for tests and for hunting
	// bugs. Run ends with a *BreachError when one is broken.
	CheckInvariants bool `json:"-"`
}

// Diversity bounds how much of the known set one network or one teller may fill. It applies to peers learnt from other peers,
// the ledger and inbound connections, never to configured ones. Zero fields: no bound.
type Diversity struct {
	PerPrefix int // known peers in one prefix
	PerTeller int // known peers told by one peer
	V4Bits    int // length of a prefix: 16
	V6Bits    int // 32
}

func (d Diversity) filled() Diversity {
	if d.V4Bits <= 0 || d.V4Bits > 32 {
		d.V4Bits = 16
	}
	if d.V6Bits <= 0 || d.V6Bits > 128 {
		d.V6Bits = 32
	}
	return d
}

func (c Config) filled() Config {
	c.Limits, c.Timing, c.Diversity = c.Limits.filled(), c.Timing.filled(), c.Diversity.filled()
	if c.Policy == nil {
		c.Policy = SimplePolicy{}
	}
	if c.MinBigLedgerPeers <= 0 {
		c.MinBigLedgerPeers = 5
	}
	if c.OutagePeers <= 0 {
		c.OutagePeers = 5
	}
	c.OutagePeers = max(2, c.OutagePeers)
	return c
}

// Validate reports every problem of the configuration at once; targets as *TargetError, delays as *TimingError.
func (c Config) Validate() error {
	errs := []error{c.Targets.Validate(c.Limits), c.Timing.Validate()}
	if c.Genesis {
		errs = append(errs, c.SyncTargets.Validate(c.Limits))
		if n := c.filled().MinBigLedgerPeers; n >= c.SyncTargets.ActiveBigLedger {
			errs = append(errs, &TargetError{Field: "MinBigLedgerPeers", Value: n, Of: "SyncTargets.ActiveBigLedger − 1",
				Bound: c.SyncTargets.ActiveBigLedger - 1})
		}
	}
	return errors.Join(errs...)
}
