package node

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/blake2b"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

// rawTx returns a transaction as files hold it, and the name that others give it.
func rawTx(i uint64) (name string, raw []byte) {
	body := cbor.AppendUint(cbor.AppendUint(cbor.AppendMap(nil, 1), 2), i)
	raw = append(cbor.AppendArray(nil, 4), body...)
	raw = append(cbor.AppendBool(cbor.AppendMap(raw, 0), true), 0xf6)
	id := blake2b.Sum256(body)
	return hex.EncodeToString(id[:]) + ".tx", raw
}

func payment(i uint64) []byte {
	_, raw := rawTx(i)
	return txsubmission.AppendTx(nil, txsubmission.Tx{Era: txEra, Bytes: raw})
}

// TestMempoolIsOnDisk: what is in it is in the folder, up to the limit, and there again after a restart.
func TestMempoolIsOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pool")
	p, err := OpenMempool(MempoolConfig{Dir: dir, Bytes: 1000})
	require.NoError(t, err)
	var ids [][]byte
	for i := range uint64(1000) {
		tx := payment(i)
		id, err := TxID(tx)
		require.NoError(t, err)
		if err := p.Add(id, tx); err != nil {
			require.ErrorIs(t, err, txsubmission.ErrFull)
			break
		}
		require.NoError(t, p.Add(id, tx))
		ids = append(ids, id)
	}
	require.Less(t, len(ids), 100)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Len(t, files, len(ids))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bad.tx"), []byte{0x80}, 0o600))
	again, err := OpenMempool(MempoolConfig{Dir: dir, Bytes: 1000})
	require.NoError(t, err, "bad.tx is passed over")
	n, _ := again.Len()
	require.Equal(t, len(ids), n)
	for i, id := range ids {
		require.True(t, bytes.Equal(payment(uint64(i)), again.Tx(id)), i)
	}
	big := make([]byte, txsubmission.MaxTx+1)
	require.ErrorIs(t, again.Add([]byte{0}, big), txsubmission.ErrTooLarge)
}

// TestMempoolFolder: which files are transactions, and in which form others come out.
func TestMempoolFolder(t *testing.T) {
	dir := t.TempDir()
	name, raw := rawTx(1)
	babbage := txsubmission.AppendTx(nil, txsubmission.Tx{Era: 5, Bytes: raw})
	for file, content := range map[string][]byte{"raw": raw, "enveloped": babbage, "junk": []byte("junk"), ".hidden": raw, "half": raw[:4], ".incoming-1": raw} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), content, 0o600))
	}
	p, err := OpenMempool(MempoolConfig{Dir: dir})
	require.NoError(t, err)
	n, _ := p.Len()
	require.Equal(t, 2, n, "eras tell ids apart")
	require.NoFileExists(t, filepath.Join(dir, ".incoming-1"), "a write that was cut off")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "half"), func() []byte { _, r := rawTx(2); return r }(), 0o600))
	require.NoError(t, p.scan(false))
	n, _ = p.Len()
	require.Equal(t, 3, n, "the rest of a file has come")

	other, err := OpenMempool(MempoolConfig{Dir: t.TempDir()})
	require.NoError(t, err)
	for after := uint64(0); ; {
		e, ok := p.Next(after)
		if !ok {
			break
		}
		after = e.Ticket
		require.NoError(t, other.Add(e.ID, p.Tx(e.ID)))
	}
	files, err := os.ReadDir(other.cfg.Dir)
	require.NoError(t, err)
	require.Len(t, files, 2, "the same body under two eras has one name")
	_, err = os.Stat(filepath.Join(other.cfg.Dir, name))
	require.NoError(t, err)
	again, err := OpenMempool(MempoolConfig{Dir: other.cfg.Dir})
	require.NoError(t, err)
	n, _ = again.Len()
	require.Equal(t, 2, n)
}
