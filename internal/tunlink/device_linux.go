package tunlink

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"unsafe"
)

const (
	namespaces  = "/run/netns" // of ip-netns(8)
	iffTun      = 0x0001
	iffNoPI     = 0x1000 // no header in front of packets
	tunSetIff   = 0x400454ca
	cloneNewNet = 0x40000000
)

// setns is the number of the system call, which package syscall does not have everywhere.
var setns = map[string]uintptr{
	"386": 346, "amd64": 308, "arm": 375, "arm64": 268, "loong64": 268, "riscv64": 268, "s390x": 339,
}

// Open makes a TUN device in the network namespace that ip-netns(8) knows by the name ns, and in this process's own if ns is empty.
// The device is down, has no address, and is gone when it is closed. Each Read gives an IP packet, each Write takes one. It needs
// CAP_NET_ADMIN in the namespace, and CAP_SYS_ADMIN to get there.
func Open(ns, name string) (*os.File, error) {
	if len(name) == 0 || len(name) >= syscall.IFNAMSIZ {
		return nil, fmt.Errorf("tunlink: device name %q: want 1 to %d bytes", name, syscall.IFNAMSIZ-1)
	}
	if ns == "" {
		return open(name)
	}
	var f *os.File
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine, and takes the namespace with it
		if err = enter(ns); err == nil {
			f, err = open(name)
		}
	}()
	<-done
	return f, err
}

// enter moves this thread into a network namespace.
func enter(ns string) error {
	number, ok := setns[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("tunlink: setns: %w on %s", errors.ErrUnsupported, runtime.GOARCH)
	}
	f, err := os.Open(filepath.Join(namespaces, ns))
	if err != nil {
		return fmt.Errorf("tunlink: %w", err)
	}
	defer f.Close()
	if _, _, errno := syscall.RawSyscall(number, f.Fd(), cloneNewNet, 0); errno != 0 {
		return fmt.Errorf("tunlink: setns %s: %w", ns, errno)
	}
	return nil
}

func open(name string) (*os.File, error) {
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("tunlink: /dev/net/tun: %w", err)
	}
	var request struct { // ifreq
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(request.name[:], name)
	request.flags = iffTun | iffNoPI
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), tunSetIff, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		err = errno
	} else {
		err = syscall.SetNonblock(fd, true) // Close then ends a Read
	}
	if err != nil {
		_ = syscall.Close(fd)
		return nil, fmt.Errorf("tunlink: device %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), "tun:"+name), nil
}
