package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/blake2b"

	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols/localtxsubmission"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

const (
	rescanEvery = 200 * time.Millisecond
	maxTxFile   = 1 << 20
	txEra       = 6 // of files that hold a transaction without its envelope: Conway
)

// mempool is transactions in memory, and in a folder if there is one: what is put there is offered to peers, what peers send is
// written there.
type mempool struct {
	*txsubmission.Memory
	dir   string
	limit int
	chain *chain.Chain
	seen  map[string]time.Time // files read or refused, by name, with their times; owned by run
}

func newMempool(dir string, limit int, c *chain.Chain) (*mempool, error) {
	p := &mempool{Memory: txsubmission.NewMemory(limit, txID), dir: dir, limit: limit, chain: c, seen: map[string]time.Time{}}
	if dir == "" {
		return p, nil
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	return p, p.scan(true)
}

// txID returns the enveloped id of an enveloped transaction: blake2b-256 of its body's bytes, as they stand.
func txID(item []byte) ([]byte, error) {
	tx, err := txsubmission.ParseTx(item)
	if err != nil {
		return nil, err
	}
	if tx.Era == 0 {
		return nil, errors.New("Byron transactions are not relayed")
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

// Add implements [txsubmission.Sink]: a transaction from a peer or a local client is kept, and written to the folder.
func (p *mempool) Add(id, tx []byte) error {
	if err := p.Memory.Add(id, tx); err != nil {
		return err
	}
	if p.dir == "" {
		return nil
	}
	if err := p.write(id, tx); err != nil { // it is in memory: peers get it all the same
		slog.Error("transaction not written", "err", err)
	}
	return nil
}

// write puts a transaction into the folder as HEXID.tx, whole or not at all.
func (p *mempool) write(id, tx []byte) error {
	parsed, err := txsubmission.ParseTxID(id)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(p.dir, ".incoming-*")
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
	return nil
}

// Submit implements [localtxsubmission.Acceptor].
func (p *mempool) Submit(_ context.Context, tx []byte) error {
	id, err := txID(tx)
	if err == nil {
		err = p.Add(id, tx)
	}
	if err != nil {
		return &localtxsubmission.Rejection{Reason: cbor.AppendText(nil, err.Error())}
	}
	return nil
}

// run rescans the folder until ctx ends.
func (p *mempool) run(ctx context.Context) error {
	if p.dir == "" {
		return nil
	}
	t := time.NewTicker(rescanEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
		if err := p.scan(false); err != nil {
			slog.Error("mempool folder", "err", err)
		}
	}
}

// scan reads the files that are new, the oldest first, so that transactions that depend on others come behind them. A file that
// is still being written may be read too early: it is read again when its time changes.
func (p *mempool) scan(first bool) error {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return err
	}
	var fresh []fs.FileInfo
	present := map[string]bool{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		present[e.Name()] = true
		if at, ok := p.seen[e.Name()]; !ok || !at.Equal(info.ModTime()) {
			fresh = append(fresh, info)
		}
	}
	for name := range p.seen {
		if !present[name] {
			delete(p.seen, name)
		}
	}
	slices.SortStableFunc(fresh, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, info := range fresh {
		err := p.read(info)
		if errors.Is(err, txsubmission.ErrFull) {
			continue // again at the next scan
		}
		p.seen[info.Name()] = info.ModTime()
		if err != nil {
			slog.Warn("no transaction", "file", info.Name(), "err", err)
		} else if first {
			slog.Debug("transaction reloaded", "file", info.Name())
		}
	}
	return nil
}

func (p *mempool) read(info fs.FileInfo) error {
	if info.Size() > maxTxFile {
		return fmt.Errorf("%d bytes, at most %d", info.Size(), maxTxFile)
	}
	b, err := os.ReadFile(filepath.Join(p.dir, info.Name()))
	if err != nil {
		return err
	}
	tx := b
	if _, err := txsubmission.ParseTx(b); err != nil { // not enveloped
		if err := cbor.Wellformed(b); err != nil {
			return err
		}
		tx = txsubmission.AppendTx(nil, txsubmission.Tx{Era: txEra, Bytes: b})
	}
	id, err := txID(tx)
	if err != nil {
		return err
	}
	return p.Memory.Add(id, tx)
}
