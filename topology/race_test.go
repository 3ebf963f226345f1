//go:build race

package topology

// The race detector makes reading an order of magnitude slower and allocates on its own account.
const (
	boundSize   = 128 << 10
	boundFactor = 4
)
