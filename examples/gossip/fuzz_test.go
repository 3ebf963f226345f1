package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzTrailer: what is accepted is a plain name, and says the same when it is written again.
func FuzzTrailer(f *testing.F) {
	for _, name := range append([]string{"a", "häuser"}, hostileNames...) {
		f.Add(append([]byte("body"), meta{Name: name, MTime: 77}.trailer()...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, n, err := parseTrailer(b)
		if err != nil {
			return
		}
		require.NoError(t, checkName(m.Name))
		require.Equal(t, b[len(b)-n:], m.trailer())
		require.GreaterOrEqual(t, m.MTime, int64(0))
	})
}
