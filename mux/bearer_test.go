package mux

import (
	"bytes"
	"net"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// TestBlockingReaderTakesWhatItNeeds: the buffer follows what comes, and is given back when nothing does.
func TestBlockingReaderTakesWhatItNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer b.Close()
		sent := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
		go func() { _, _ = a.Write(sent) }()
		r := &blockingReader{conn: b}
		var got []byte
		sizes := []int{}
		for len(got) < len(sent) {
			p, err := r.read(false)
			require.NoError(t, err)
			got = append(got, p...)
			if len(sizes) == 0 || sizes[len(sizes)-1] != len(p) {
				sizes = append(sizes, len(p))
			}
		}
		require.Equal(t, sent, got)
		require.Equal(t, []int{256, blockingFirst, blockingBuffer}, sizes[:3])
		p, err := r.read(false)
		require.NoError(t, err)
		require.Empty(t, p)
		require.Nil(t, r.large)

		go func() { _, _ = a.Write(sent[:300]) }()
		for got = nil; len(got) < 300; {
			p, err := r.read(false)
			require.NoError(t, err)
			got = append(got, p...)
		}
		require.Equal(t, blockingFirst, cap(r.large.buf))
		r.release()
		a.Close()
	})
}
