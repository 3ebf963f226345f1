package node

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/crypto/blake2b"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

const defaultMempoolBytes = 16 << 20

// Mempool is transactions in memory and, the same ones, in a folder: HEXID.tx, with their envelopes.
type Mempool struct {
	*txsubmission.Memory
	dir string
}

// OpenMempool returns a mempool of at most limit bytes (0: 16 MiB) with the transactions that are in the folder, which is made if it
// is not there. The order of files that are equally old is that of their names.
func OpenMempool(dir string, limit int) (*Mempool, error) {
	if limit == 0 {
		limit = defaultMempoolBytes
	}
	p := &Mempool{txsubmission.NewMemory(limit, TxID), dir}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.tx"))
	if err != nil {
		return nil, err
	}
	infos := map[string]fs.FileInfo{}
	for _, name := range names {
		if infos[name], err = os.Stat(name); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return infos[a].ModTime().Compare(infos[b].ModTime()) })
	for _, name := range names {
		tx, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		id, err := TxID(tx)
		if err == nil {
			err = p.Memory.Add(id, tx)
		}
		if err != nil {
			return nil, &fs.PathError{Op: "mempool", Path: name, Err: err}
		}
	}
	return p, nil
}

// Add implements [txsubmission.Sink]: what is in the mempool is on the disk.
func (p *Mempool) Add(id, tx []byte) error {
	if p.Has(id) {
		return nil
	}
	if len(tx) > txsubmission.MaxTx {
		return txsubmission.ErrTooLarge
	}
	if len(tx) > p.Room() {
		return txsubmission.ErrFull
	}
	parsed, err := txsubmission.ParseTxID(id)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(p.dir, "incoming-*")
	if err != nil {
		return err
	}
	_, err = f.Write(tx)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(p.dir, hex.EncodeToString(parsed.Hash[:])+".tx"))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return p.Memory.Add(id, tx)
}

// TxID returns the enveloped id of an enveloped transaction: blake2b-256 of its body's bytes as they stand.
func TxID(item []byte) ([]byte, error) {
	tx, err := txsubmission.ParseTx(item)
	if err != nil {
		return nil, err
	}
	if tx.Era == 0 {
		return nil, errors.New("of the Byron era, which is not relayed")
	}
	r := cbor.NewReader(tx.Bytes)
	if n, indefinite := r.Array(); n == 0 && !indefinite {
		return nil, errors.New("a transaction is an array that begins with its body")
	}
	body := r.Raw()
	if err := r.Err(); err != nil {
		return nil, err
	}
	return txsubmission.AppendTxID(nil, txsubmission.TxID{Era: tx.Era, Hash: blake2b.Sum256(body)}), nil
}
