package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/internal/cli"
)

// listenNodes listens for nodes. Without a host it does on every address of both families, at the same port.
func listenNodes(ctx context.Context, addr string) ([]net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, cli.Usagef("-listen %s: %v", addr, err)
	}
	at, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("-listen: %w", err)
	}
	if host != "" {
		ln, err := connmgr.ListenTCP(ctx, at.AddrPort())
		return []net.Listener{ln}, err
	}
	for tries := 0; ; tries++ {
		lns, err := listenBoth(ctx, uint16(at.Port))
		if err == nil || at.Port != 0 || tries == 10 { // the port that IPv4 has been given may be taken on IPv6
			return lns, err
		}
	}
}

func listenBoth(ctx context.Context, port uint16) ([]net.Listener, error) {
	var lns []net.Listener
	var without error
	for _, ip := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		ln, err := connmgr.ListenTCP(ctx, netip.AddrPortFrom(ip, port))
		switch {
		case err == nil:
			lns = append(lns, ln)
			port = uint16(ln.Addr().(*net.TCPAddr).Port)
		case errors.Is(err, syscall.EAFNOSUPPORT), errors.Is(err, syscall.EADDRNOTAVAIL): // a family that this machine has not
			without = err
		default:
			for _, ln := range lns {
				err = errors.Join(err, ln.Close())
			}
			return nil, err
		}
	}
	if len(lns) == 0 {
		return nil, without
	}
	return lns, nil
}

// listenLocal listens on a Unix socket for whoever may read and write it: this user and its group. A socket file that nobody
// listens on any more is removed first; any other file is left alone.
func listenLocal(ctx context.Context, path string) (net.Listener, error) {
	if fi, err := os.Lstat(path); err == nil {
		if fi.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("%s exists and is no socket", path)
		}
		c, err := net.DialTimeout("unix", path, time.Second)
		switch {
		case err == nil:
			return nil, errors.Join(fmt.Errorf("%s: another process listens there", path), c.Close())
		case !errors.Is(err, syscall.ECONNREFUSED): // perhaps we may only not connect to it
			return nil, fmt.Errorf("%s exists, and whether another process listens there is unknown: %w", path, err)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}
