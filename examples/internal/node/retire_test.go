package node

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRetiredTransactions: they do not travel, come in again or return with a restart, and can be read back if they were to be kept.
func TestRetiredTransactions(t *testing.T) {
	dir := t.TempDir()
	p, err := OpenMempool(MempoolConfig{Dir: dir})
	require.NoError(t, err)
	var ids [][]byte
	for i := range uint64(3) {
		id, err := TxID(payment(i))
		require.NoError(t, err)
		require.NoError(t, p.Add(id, payment(i)))
		ids = append(ids, id)
	}
	require.NoError(t, p.Retire(true, ids[0]))
	require.NoError(t, p.Retire(false, ids[1]))
	n, _ := p.Len()
	require.Equal(t, 1, n)
	for i, id := range ids[:2] {
		require.True(t, p.Has(id), "not to be asked for")
		require.NoError(t, p.Add(id, payment(uint64(i))))
		require.Nil(t, p.Tx(id))
	}
	tx, err := p.Retired(ids[0])
	require.NoError(t, err)
	require.Equal(t, payment(0), tx)
	_, err = p.Retired(ids[1])
	require.Error(t, err)
	require.Error(t, p.Retire(true, ids[1]), "its file is gone")

	again, err := OpenMempool(MempoolConfig{Dir: dir})
	require.NoError(t, err)
	n, _ = again.Len()
	require.Equal(t, 1, n)
	require.True(t, again.Has(ids[2]))
	files, err := filepath.Glob(filepath.Join(dir, "*.tx"))
	require.NoError(t, err)
	require.Len(t, files, 1)

	for i := range uint64(remembered) {
		id, err := TxID(payment(10 + i))
		require.NoError(t, err)
		require.NoError(t, p.Add(id, payment(10+i)))
		require.NoError(t, p.Retire(false, id))
	}
	require.False(t, p.Has(ids[0]), "what is remembered is bounded")
	require.Len(t, p.gone.ids, remembered)
}
