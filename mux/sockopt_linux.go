package mux

import (
	"net"
	"syscall"
)

// tcpNotSentLowat is TCP_NOTSENT_LOWAT, which package syscall does not name.
const tcpNotSentLowat = 25

// setNotSentLowat limits what the kernel queues unsent. Bearers without the option work as well, so errors are ignored.
func setNotSentLowat(conn net.Conn, bytes int) {
	tcp, ok := socketOf(conn).(*net.TCPConn)
	if !ok || bytes < 0 {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, bytes)
	})
}
