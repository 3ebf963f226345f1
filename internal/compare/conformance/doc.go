// Package conformance is tests only: the conformance example, as anybody would run it, against a server of another implementation,
// gouroboros. What it finds is listed with the reason.
package conformance
