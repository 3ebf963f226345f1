//go:build !linux

package cli

import "io"

func isJournal(io.Writer) bool { return false }

func monotonic() string { return "" }
