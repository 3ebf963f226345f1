// Package handshake is mini-protocol 0, with which every connection begins: the initiator proposes versions, the responder
// picks the greatest common one, and both combine what they said about themselves (wire §4). The package is pure: values
// and bytes in, values and bytes out.
//
//	state            agency  message               tag  len  next                 bytes  time limit
//	Propose          client  ProposeVersions         0    2  Confirm               5760  10s
//	Confirm          server  ReplyVersions           0    2  Done                  5760  10s
//	Confirm          server  AcceptVersion           1    3  Done                  5760  10s
//	Confirm          server  Refuse                  2    2  Done                  5760  10s
//	Confirm          server  QueryReply              3    2  Done                  5760  10s
//	Done             nobody
//
// The table has the limits of node-to-node connections; node-to-client ones have no time limits. A responder calls
// [Negotiate] on the proposal it receives, an initiator [Confirm] on the answer. Both also cover the query mode and, on
// the initiator's side, the simultaneous open, in which either side finds the other's proposal where it expects an answer.
package handshake
