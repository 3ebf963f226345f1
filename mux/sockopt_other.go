//go:build !linux

package mux

import "net"

func setNotSentLowat(net.Conn, int) {}
