// Package txsubmission is the mini-protocol by which a node pulls transactions from another (version 2, wire §8). The
// initiator owns the transactions, the responder asks for them.
//
//	state            agency  message               tag  len  next                 bytes  time limit
//	Init             client  Init                    6    1  Idle                 65535  -
//	Idle             server  RequestTxIds            0    4  TxIds/blocking       65535  -
//	Idle             server  RequestTxIds            0    4  TxIds/non-block      65535  -
//	Idle             server  RequestTxs              2    2  Txs                  65535  -
//	TxIds/blocking   client  ReplyTxIds              1    2  Idle               2500000  -
//	TxIds/blocking   client  Done                    4    1  Done               2500000  -
//	TxIds/non-block  client  ReplyTxIds              1    2  Idle               2500000  10s
//	Txs              client  ReplyTxs                3    2  Idle               2500000  10s
//	Done             nobody
//
// Transactions and their ids are opaque CBOR items that carry the era; [ParseTx] and [ParseTxID] open them.
package txsubmission
