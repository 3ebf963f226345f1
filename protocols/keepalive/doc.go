// Package keepalive is the mini-protocol that shows a connection to be alive and measures its round trip (wire §10).
//
//	state            agency  message               tag  len  next                 bytes  time limit
//	Client           client  KeepAlive               0    2  Server               65535  1m37s
//	Client           client  Done                    2    1  Done                 65535  1m37s
//	Server           server  KeepAliveResponse       1    2  Client               65535  1m0s
//	Done             nobody
//
// The cookie of a response is that of its request.
package keepalive
