//go:build !linux

package connmgr

import "syscall"

// shareAddress does nothing where Hearth does not know how: a dial from the listening port then fails, and the manager has to be
// configured without local addresses.
func shareAddress(network, address string, c syscall.RawConn) error { return nil }
