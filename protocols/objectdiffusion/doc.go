// Package objectdiffusion is the mini-protocol that spreads the certificates and votes of Peras (wire §11). It is that of
// transactions with ordinary roles: the initiator asks.
//
//	state            agency  message               tag  len  next                 bytes  time limit
//	Init             client  Init                    0    1  Idle                 65535  -
//	Idle             client  RequestObjectIds        1    4  ObjIds/blocking      65535  -
//	Idle             client  RequestObjectIds        1    4  ObjIds/non-block     65535  -
//	Idle             client  RequestObjects          3    2  Objects              65535  -
//	Idle             client  Done                    5    1  Done                 65535  -
//	ObjIds/blocking  server  ReplyObjectIds          2    2  Idle               2500000  -
//	ObjIds/non-block server  ReplyObjectIds          2    2  Idle               2500000  10s
//	Objects          server  ReplyObjects            4    2  Idle               2500000  10s
//	Done             nobody
//
// Objects and their ids are opaque CBOR items. The protocol is experimental and runs only under node-to-node version 16.
package objectdiffusion
