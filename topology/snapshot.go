package topology

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
)

// Snapshot is a peer snapshot: the big ledger pools, or all of them, at some point of the chain (governor §6.3).
type Snapshot struct {
	// Version is the JSON version: 1, 2 or 23. A snapshot decoded from CBOR has 2 (internal version 1) or 23 (2 and 3).
	Version int
	// Origin means that the snapshot is of the genesis point; Slot is 0 then and Hash empty.
	Origin bool
	Slot   uint64
	// Hash is the block's hash, 32 bytes in a valid snapshot; empty in versions 1 and 2, which have a slot only.
	Hash []byte
	// Magic is the network's; version 23 only.
	Magic uint32
	// All means that Pools holds all ledger pools, without accumulated stakes; version 23 only.
	All   bool
	Pools []Pool
}

// Relays counts the relays of all pools.
func (s *Snapshot) Relays() int {
	n := 0
	for _, p := range s.Pools {
		n += len(p.Relays)
	}
	return n
}

// Equal tells whether two snapshots say the same.
func (s *Snapshot) Equal(o *Snapshot) bool {
	if s.Version != o.Version || s.Origin != o.Origin || s.Slot != o.Slot || !bytes.Equal(s.Hash, o.Hash) ||
		s.Magic != o.Magic || s.All != o.All || len(s.Pools) != len(o.Pools) {
		return false
	}
	for i, p := range s.Pools {
		q := o.Pools[i]
		if p.Stake.Cmp(q.Stake) != 0 || p.Accumulated.Cmp(q.Accumulated) != 0 || len(p.Relays) != len(q.Relays) {
			return false
		}
		for j, r := range p.Relays {
			if r != q.Relays[j] {
				return false
			}
		}
	}
	return true
}

// Reasons why a snapshot that could be read is not used; [Snapshot.Usable] wraps them.
var (
	ErrSnapshotVersion = errors.New("cardano-node reads snapshot versions 1 and 2 and refuses to use them")
	ErrSnapshotKind    = errors.New("cardano-node uses snapshots of the big ledger pools only")
	ErrSnapshotMagic   = errors.New("the snapshot is of another network")
	ErrSnapshotGenesis = errors.New("the snapshot is of the genesis point")
	ErrSnapshotHash    = errors.New("the snapshot's block hash does not have 32 bytes")
	ErrSnapshotTooOld  = errors.New("the snapshot is older than useLedgerAfterSlot")
)

// Usable tells whether cardano-node would use the snapshot on the given network: nil, or all reasons why not. It never makes
// reading fail.
func (s *Snapshot) Usable(magic uint32) error {
	if s.Version != 23 {
		return fmt.Errorf("%w (version %d)", ErrSnapshotVersion, s.Version)
	}
	var errs []error
	if s.All {
		errs = append(errs, ErrSnapshotKind)
	}
	if s.Magic != magic {
		errs = append(errs, fmt.Errorf("%w: magic %d, ours is %d", ErrSnapshotMagic, s.Magic, magic))
	}
	switch {
	case s.Origin:
		errs = append(errs, ErrSnapshotGenesis)
	case len(s.Hash) != 32:
		errs = append(errs, fmt.Errorf("%w but %d", ErrSnapshotHash, len(s.Hash)))
	}
	return errors.Join(errs...)
}

// BlockLookup finds the first block of the immutable chain at or behind a slot; found is false when there is none.
type BlockLookup func(ctx context.Context, slot uint64) (hash [32]byte, found bool, err error)

// Verify compares the snapshot's block with the chain (governor §6.3). A failed or impossible look-up counts as a mismatch,
// and its cause is returned; a mismatch does not forbid the use of the snapshot.
func (s *Snapshot) Verify(ctx context.Context, lookup BlockLookup) (bool, error) {
	if s.Origin || len(s.Hash) != 32 {
		return false, ErrSnapshotHash
	}
	hash, found, err := lookup(ctx, s.Slot)
	if err != nil {
		return false, fmt.Errorf("looking up the snapshot's block: %w", err)
	}
	return found && bytes.Equal(hash[:], s.Hash), nil
}

// newer tells whether ledger peers come from the snapshot rather than the ledger: its slot is not below the tip's (0 at
// origin) nor below useLedgerAfterSlot.
func (s *Snapshot) newer(tip uint64, use UseLedger) bool {
	return s.Slot >= tip && (use.Mode != LedgerAfter || s.Slot >= use.Slot)
}

// AppendJSON appends the snapshot in the JSON form of its version. Stakes with a finite decimal form are written exactly, so
// that what was read as JSON is read back the same; others as the nearest double.
func (s *Snapshot) AppendJSON(b []byte) []byte {
	if s.Version == 23 {
		b = append(b, "{\n  \"NetworkMagic\": "...)
		b = strconv.AppendUint(b, uint64(s.Magic), 10)
		b = append(b, ",\n  \"NodeToClientVersion\": 23,\n  \"Point\": "...)
		if s.Origin {
			b = append(b, `"origin"`...)
		} else {
			b = append(b, "{\n    \"blockPointHash\": \""...)
			b = hex.AppendEncode(b, s.Hash)
			b = append(b, "\",\n    \"blockPointSlot\": "...)
			b = strconv.AppendUint(b, s.Slot, 10)
			b = append(b, "\n  }"...)
		}
	} else {
		b = append(b, "{\n  \"version\": "...)
		b = strconv.AppendInt(b, int64(s.Version), 10)
		b = append(b, ",\n  \"slotNo\": "...)
		if s.Origin {
			b = append(b, `"origin"`...)
		} else {
			b = strconv.AppendUint(b, s.Slot, 10)
		}
	}
	if s.All {
		b = append(b, ",\n  \"allLedgerPools\": ["...)
	} else {
		b = append(b, ",\n  \"bigLedgerPools\": ["...)
	}
	for i, p := range s.Pools {
		b = appendComma(b, i)
		b = append(b, "\n    {\n"...)
		if !s.All {
			b = append(b, "      \"accumulatedStake\": "...)
			b = p.Accumulated.appendDecimal(b)
			b = append(b, ",\n"...)
		}
		b = append(b, "      \"relativeStake\": "...)
		b = p.Stake.appendDecimal(b)
		b = append(b, ",\n      \"relays\": "...)
		b = appendAccessPoints(b, p.Relays, "      ")
		b = append(b, "\n    }"...)
	}
	b = appendEnd(b, len(s.Pools), "  ")
	return append(b, "\n}\n"...)
}

// MarshalJSON writes the JSON form of the snapshot's version, which [ParseSnapshot] reads.
func (s *Snapshot) MarshalJSON() ([]byte, error) { return s.AppendJSON(nil), nil }

func appendFloat(b []byte, v float64) []byte { return strconv.AppendFloat(b, v, 'g', -1, 64) }
