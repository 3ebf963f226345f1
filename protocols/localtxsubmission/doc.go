// Package localtxsubmission is the node-to-client mini-protocol by which a wallet hands a transaction to its node (wire
// §12.2).
//
//	state            agency  message               tag  len  next                 bytes  time limit
//	Idle             client  SubmitTx                0    2  Busy                     -  -
//	Idle             client  Done                    3    1  Done                     -  -
//	Busy             server  AcceptTx                1    1  Idle                     -  -
//	Busy             server  RejectTx                2    2  Idle                     -  -
//	Done             nobody
//
// Transactions are in the envelope of tx-submission, see its ParseTx; the reason of a rejection is the ledger's, an opaque
// CBOR item. Accepted means that the transaction is in the node's mempool.
package localtxsubmission
