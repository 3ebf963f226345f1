package governor

// Relay is cardano-node's configuration of a relay (governor §1.3): peer sharing, churn, targets for an open network; with the
// sync targets of Genesis mode, which Genesis switches on.
func Relay() Config {
	return Config{
		Targets: Targets{Roots: 60, Known: 150, Established: 30, Active: 20,
			KnownBigLedger: 15, EstablishedBigLedger: 10, ActiveBigLedger: 5},
		SyncTargets: syncTargets(),
		PeerSharing: true,
	}
}

// BlockProducer is that of a node with forging credentials: it asks nobody for peers and tells nobody about any, for an address
// leaked is an address attacked.
func BlockProducer() Config {
	return Config{
		Targets: Targets{Roots: 100, Known: 100, Established: 30, Active: 20,
			KnownBigLedger: 15, EstablishedBigLedger: 10, ActiveBigLedger: 5},
		SyncTargets: syncTargets(),
	}
}

// Wallet keeps a handful of peers, none of which may use our connections for itself: five known beyond what three connections
// need, so that a peer that fails has a successor at once, and two hot ones, so that one lie or one stall is noticed.
func Wallet() Config {
	return Config{
		Targets:       Targets{Roots: 8, Known: 8, Established: 3, Active: 2},
		InitiatorOnly: true,
	}
}

// PrivateNetwork uses local roots and nothing else: no ledger peers (useLedgerAfterSlot −1 in the topology), no peer sharing, no
// churn. The target of known peers bounds how many local roots there may be; valencies do the rest. The others are zero, so that
// a peer that is no local root any more is let go.
func PrivateNetwork() Config {
	return Config{
		Targets: Targets{Known: 150},
		NoChurn: true,
	}
}

func syncTargets() Targets {
	return Targets{Roots: 0, Known: 150, Established: 10, Active: 5, KnownBigLedger: 100, EstablishedBigLedger: 40, ActiveBigLedger: 30}
}
