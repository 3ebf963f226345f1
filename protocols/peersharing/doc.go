// Package peersharing is the mini-protocol by which a node asks another for addresses of peers (wire §9).
//
//	state            agency  message               tag  len  next                 bytes  time limit
//	Idle             client  ShareRequest            0    2  Busy                  5760  -
//	Idle             client  Done                    2    1  Done                  5760  -
//	Busy             server  SharePeers              1    2  Idle                  5760  1m0s
//	Done             nobody
//
// On the wire an IPv4 address is one number, its octets read as little-endian; an IPv6 address is four, each of its groups
// of four octets read as big-endian.
package peersharing
