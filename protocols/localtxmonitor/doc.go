// Package localtxmonitor is the node-to-client mini-protocol by which a client looks into its node's mempool (wire §12.3).
//
//	state            agency  message               tag  len  next                 bytes  time limit
//	Idle             client  Acquire                 1    1  Acquiring                -  -
//	Idle             client  Done                    0    1  Done                     -  -
//	Acquiring        server  Acquired                2    2  Acquired                 -  -
//	Acquired         client  AwaitAcquire            1    1  Acquiring                -  -
//	Acquired         client  Release                 3    1  Idle                     -  -
//	Acquired         client  NextTx                  5    1  Busy/NextTx              -  -
//	Acquired         client  HasTx                   7    2  Busy/HasTx               -  -
//	Acquired         client  GetSizes                9    1  Busy/GetSizes            -  -
//	Acquired         client  GetMeasures            11    1  Busy/GetMeasures         -  -
//	Busy/NextTx      server  ReplyNextTx             6    1  Acquired                 -  -
//	Busy/NextTx      server  ReplyNextTx             6    2  Acquired                 -  -
//	Busy/HasTx       server  ReplyHasTx              8    2  Acquired                 -  -
//	Busy/GetSizes    server  ReplyGetSizes          10    2  Acquired                 -  -
//	Busy/GetMeasures server  ReplyGetMeasures       12    3  Acquired                 -  -
//	Done             nobody
//
// There is no way from Acquired to Done but through Release. AwaitAcquire has the bytes of Acquire and waits until the
// mempool is another one than the snapshot acquired. Transactions and their ids are in the envelopes of tx-submission.
package localtxmonitor
