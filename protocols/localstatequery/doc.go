// Package localstatequery is the node-to-client mini-protocol by which a client asks its node about the state of the ledger
// at a point (wire §12.4).
//
//	state            agency  message               tag  len  next                 bytes  time limit
//	Idle             client  AcquirePoint            0    2  Acquiring                -  -
//	Idle             client  AcquireVolatile         8    1  Acquiring                -  -
//	Idle             client  AcquireImmutable       10    1  Acquiring                -  -
//	Idle             client  Done                    7    1  Done                     -  -
//	Acquiring        server  Acquired                1    1  Acquired                 -  -
//	Acquiring        server  Failure                 2    2  Idle                     -  -
//	Acquired         client  Query                   3    2  Querying                 -  -
//	Acquired         client  ReAcquirePoint          6    2  Acquiring                -  -
//	Acquired         client  ReAcquireVolatile       9    1  Acquiring                -  -
//	Acquired         client  ReAcquireImmutable     11    1  Acquiring                -  -
//	Acquired         client  Release                 5    1  Idle                     -  -
//	Querying         server  Result                  4    2  Acquired                 -  -
//	Done             nobody
//
// Queries and results are opaque CBOR items. A result does not say which query it answers: it is the one sent last. A
// failed re-acquisition gives up what was acquired before.
package localstatequery
