//go:build !race

package topology

const (
	boundSize   = 1 << 20
	boundFactor = 1
)
