//go:build !unix

package mux

import "net"

func newPollReader(net.Conn) bearerReader { return nil }

type pollWriter struct{}

func newPollWriter(net.Conn) *pollWriter { return nil }

func (*pollWriter) write(*batch) int { return 0 }
