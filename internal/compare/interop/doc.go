// Package interop is tests only: Hearth's clients and servers against those of an implementation that is not ours, gouroboros, over
// TCP and Unix sockets, with real blocks. Where that implementation departs from the reference (wire §15) the test says so and
// the reference wins.
package interop
