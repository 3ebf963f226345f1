//go:build !linux

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
)

// simulate says why there is nothing to do.
func simulate(context.Context, options, io.Writer) error {
	fmt.Fprintf(os.Stderr, "skipped: %s has no network namespaces\n", runtime.GOOS)
	return nil
}
