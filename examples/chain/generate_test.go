package chain

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGeneratedBlocks(t *testing.T) {
	const n = 2000
	var prev *Header
	var sizes, gaps []int
	total := 0
	for item := range Generate(7, n) {
		blk, err := ParseBlock(item)
		require.NoError(t, err)
		require.Equal(t, Conway, blk.Era)
		require.True(t, blk.Wrapped)
		checked, err := blk.CheckBody()
		require.NoError(t, err)
		require.True(t, checked)
		require.LessOrEqual(t, blk.BodySize, uint64(MaxBody))
		require.InDelta(t, 840, len(blk.Bytes), 25)
		bare, err := ParseBlock(blk.Raw)
		require.NoError(t, err)
		require.Equal(t, Conway, bare.Era)
		if prev == nil {
			require.True(t, blk.First)
			require.Zero(t, blk.Number)
		} else {
			require.Equal(t, prev.Hash, blk.Prev)
			require.Equal(t, prev.Number+1, blk.Number)
			require.Greater(t, blk.Slot, prev.Slot)
			gaps = append(gaps, int(blk.Slot-prev.Slot))
		}
		h := blk.Header
		prev = &h
		sizes = append(sizes, blk.Size)
		total += blk.Size
		if blk.Number < 300 {
			requireTransactions(t, &blk)
		}
	}
	require.Len(t, sizes, n)

	// The documented distribution: bounds are wide against the noise of 2,000 draws.
	slices.Sort(sizes)
	mean, median := total/n, sizes[n/2]
	t.Logf("block size: mean %d, quartiles %d %d %d, 5 %% %d, 95 %% %d, max %d",
		mean, sizes[n/4], median, sizes[n*3/4], sizes[n/20], sizes[n*19/20], sizes[n-1])
	require.InDelta(t, 38<<10, mean, 3<<10)
	require.InDelta(t, 29<<10, median, 3<<10)
	require.Less(t, sizes[n/50], 900)
	require.Greater(t, sizes[n*19/20], 80_000)
	sum := 0
	for _, g := range gaps {
		sum += g
	}
	require.InDelta(t, 20, float64(sum)/float64(len(gaps)), 1.5)
}

// requireTransactions checks the body's own consistency: one witness set a transaction, auxiliary data only where a body has its
// hash.
func requireTransactions(t *testing.T, blk *Block) {
	t.Helper()
	r := reader{b: blk.Raw}
	r.exactly(5, "block")
	r.item(1)
	bodies := r.array("bodies")
	withAux := uint64(0)
	for range bodies {
		tx := reader{b: r.item(1)}
		h := tx.head()
		require.EqualValues(t, majorMap, h.major)
		for range h.arg {
			if tx.uint("key") == 7 {
				withAux++
			}
			tx.item(1)
		}
		require.NoError(t, tx.end())
		require.LessOrEqual(t, len(tx.b), 16384)
	}
	require.Equal(t, bodies, r.array("witnesses"))
	r.item(int(bodies))
	aux := r.head()
	require.EqualValues(t, majorMap, aux.major)
	require.Equal(t, withAux, aux.arg)
	r.item(2 * int(aux.arg))
	r.exactly(0, "invalid transactions")
	require.NoError(t, r.end())
}

func TestGenerateIsDeterministic(t *testing.T) {
	var first [][]byte
	for item := range Generate(3, 40) {
		first = append(first, bytes.Clone(item))
	}
	i := 0
	for item := range Generate(3, -1) {
		if i == len(first) {
			break
		}
		require.Equal(t, first[i], item)
		i++
	}
	for item := range Generate(4, 1) {
		require.NotEqual(t, first[0], item)
	}

	// A producer that starts again goes on from its tip; another seed makes a fork there.
	at, err := ParseBlock(first[24])
	require.NoError(t, err)
	g := NewGenerator(3)
	g.After(Tip{Point: at.Point(), Block: at.Number})
	require.Equal(t, Tip{Point: at.Point(), Block: at.Number}, g.Tip())
	for _, want := range first[25:] {
		require.Equal(t, want, g.Next(nil))
	}
	fork := NewGenerator(5)
	fork.After(Tip{Point: at.Point(), Block: at.Number})
	b, err := ParseBlock(fork.Next(nil))
	require.NoError(t, err)
	require.Equal(t, at.Header.Hash, b.Prev)
	require.NotEqual(t, first[25], b.Raw)
	g.After(Tip{})
	require.Equal(t, first[0], g.Next(nil))
}

func TestGenerateSize(t *testing.T) {
	g := NewGenerator(1)
	size := 0
	g.Size = func(uint64) int { return size }
	for _, size = range []int{300, 1000, 4096, 64 << 10, 90112, 500_000, 2_000_000} {
		for range 20 {
			blk, err := ParseBlock(g.Next(nil))
			require.NoError(t, err)
			require.LessOrEqual(t, blk.BodySize, uint64(size))
			require.GreaterOrEqual(t, blk.BodySize, uint64(size-minTx-10))
		}
	}
	for _, size = range []int{-1, 0, 200} {
		blk, err := ParseBlock(g.Next(nil))
		require.NoError(t, err)
		require.EqualValues(t, 4, blk.BodySize)
	}
}
