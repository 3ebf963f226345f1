// Package chainsync is the mini-protocol by which a consumer follows a producer's chain: headers between nodes (number 2),
// whole blocks from a node to a local client (number 5), otherwise the same (wire §6).
//
//	state            agency  message               tag  len  next                 bytes  time limit
//	Idle             client  RequestNext             0    1  Next/CanAwait        65535  56m13s
//	Idle             client  FindIntersect           4    2  Intersect            65535  56m13s
//	Idle             client  Done                    7    1  Done                 65535  56m13s
//	Next/CanAwait    server  AwaitReply              1    1  Next/MustReply       65535  10s
//	Next/CanAwait    server  RollForward             2    3  Idle                 65535  10s
//	Next/CanAwait    server  RollBackward            3    3  Idle                 65535  10s
//	Next/MustReply   server  RollForward             2    3  Idle                 65535  10m1s–15m11s
//	Next/MustReply   server  RollBackward            3    3  Idle                 65535  10m1s–15m11s
//	Intersect        server  IntersectFound          5    3  Idle                 65535  10s
//	Intersect        server  IntersectNotFound       6    2  Idle                 65535  10s
//	Done             nobody
//
// The limits are those of node-to-node connections. Headers and blocks are opaque: the package hands out the bytes, and
// [ParseHeader] and [ParseBlock] take them out of the envelope that says of which era they are.
package chainsync
