// Package blockfetch is the mini-protocol by which a node fetches ranges of whole blocks from another (wire §7).
//
//	state            agency  message               tag  len  next                 bytes  time limit
//	Idle             client  RequestRange            0    3  Busy                 65535  -
//	Idle             client  ClientDone              1    1  Done                 65535  -
//	Busy             server  StartBatch              2    1  Streaming            65535  1m0s
//	Busy             server  NoBlocks                3    1  Idle                 65535  1m0s
//	Streaming        server  Block                   4    2  Streaming          2500000  1m0s
//	Streaming        server  BatchDone               5    1  Idle               2500000  1m0s
//	Done             nobody
//
// A range includes both its ends. Blocks are opaque: the pair [block tag, block] as chains are stored, byte for byte.
package blockfetch
