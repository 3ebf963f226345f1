// Package chain reads, generates, indexes, stores and serves Cardano chains for Hearth's examples.
//
// A block is one of four things here, all of them bytes that are never re-encoded:
//
//   - a stored item `[era, block]`, the form of immutable-DB chunk files ([ParseBlock]);
//   - a bare block, the second element of that pair (its era is then derived, see [ParseBlock]);
//   - a block payload `#24([era, block])`, what block-fetch and node-to-client chain-sync carry ([BlockItem],
//     [AppendBlockPayload]);
//   - a header payload `[eraIndex, #24(header)]`, what node-to-node chain-sync carries ([ParseHeaderPayload],
//     [AppendHeaderPayload]); Byron has a form of its own (wire §5.4).
//
// Chains come in three flavours that share one reading side, [View]: an immutable snapshot of a chain, a hundred bytes, that
// reads any block in O(1) with one positioned read and no lock. [Open] indexes a directory ([Archive]); [Generate] and
// [Generator] make blocks up from a seed; [Chain] is the mutable chain of a node. [Cursor] follows an Archive or a Chain on
// behalf of one chain-sync client.
//
// # Memory
//
// The index has 64 bytes a block ([EntryBytes]), in pages of 64 blocks. Those of an Archive, and of a Chain without a
// directory, are in memory, with 24 bytes a page. Those of a Chain on disk are on disk, but for the last page and the 8
// read last; the 24 bytes a page stay in memory. A directory of single-block files adds each file's name and 4 bytes.
//
// Blocks stay on disk; at most [DefaultOpenFiles] files are open at a time (never more than asked for, plus one per read
// that is under way), and one for the index of a Chain. A block is at most [MaxBlock] bytes, a header at most [MaxHeader],
// CBOR nests at most [MaxDepth] deep: beyond that bytes are refused with an error, whatever they declare about
// themselves.
package chain
