package connmgr

import "syscall"

// soReusePort is SO_REUSEPORT, which package syscall does not have on every Linux.
const soReusePort = 0xf

// shareAddress lets several sockets bind to one address before bind: the listener and every connection that we open from its
// port (connmgr §1.6).
func shareAddress(network, address string, c syscall.RawConn) error {
	var err error
	if ctl := c.Control(func(fd uintptr) {
		if err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err == nil {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soReusePort, 1)
		}
	}); ctl != nil {
		return ctl
	}
	return err
}
