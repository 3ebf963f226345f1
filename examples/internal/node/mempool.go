package node

import (
	"cmp"
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
	"sync"
	"time"

	"golang.org/x/crypto/blake2b"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols/localtxsubmission"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

const (
	defaultMempoolBytes = 16 << 20
	txEra               = 6            // of files that hold a transaction without its envelope: Conway
	incoming            = ".incoming-" // what the names of files that are being written begin with
)

// MempoolConfig of a [Mempool].
type MempoolConfig struct {
	Dir    string        // folder of the transactions, made if it is not there; empty: in memory only
	Bytes  int           // bounds the transactions held: when they are reached no new ones are asked for; default 16 MiB
	Rescan time.Duration // how often the folder is looked at for what others have put there; 0: only when it is opened
}

// Mempool is transactions in memory, and in a folder if there is one: what is put there is offered to peers, what peers send is
// written there. It only grows, unless the host retires what everybody has.
type Mempool struct {
	*txsubmission.Memory
	cfg  MempoolConfig
	seen map[string]seenFile // files read or refused, by name; owned by Run
	gone retired

	changing sync.Mutex // held while a transaction comes into memory and folder, or leaves both
}

// seenFile is when a file was read. One that has the name of what it holds cannot come to hold anything else.
type seenFile struct {
	at    time.Time
	size  int64
	named bool
}

// OpenMempool returns a mempool with the transactions that are in the folder, the oldest first.
func OpenMempool(cfg MempoolConfig) (*Mempool, error) {
	cfg.Bytes = cmp.Or(cfg.Bytes, defaultMempoolBytes)
	p := &Mempool{Memory: txsubmission.NewMemory(cfg.Bytes, TxID), cfg: cfg, seen: map[string]seenFile{}}
	if cfg.Dir == "" {
		return p, nil
	}
	if err := os.MkdirAll(cfg.Dir, 0o777); err != nil {
		return nil, err
	}
	return p, p.scan(true)
}

// TxID returns the enveloped id of an enveloped transaction: blake2b-256 of its body's bytes, as they stand.
func TxID(item []byte) ([]byte, error) {
	tx, err := txsubmission.ParseTx(item)
	if err != nil {
		return nil, err
	}
	if tx.Era == 0 {
		return nil, errors.New("transactions of the Byron era are not relayed")
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
func (p *Mempool) Add(id, tx []byte) error {
	p.changing.Lock()
	defer p.changing.Unlock()
	if p.Has(id) {
		return nil
	}
	if err := p.Memory.Add(id, tx); err != nil {
		return err
	}
	if p.cfg.Dir == "" {
		return nil
	}
	if err := p.write(id, tx); err != nil { // it is in memory: peers get it all the same
		slog.Error("transaction not written", "err", err)
	}
	return nil
}

// fileName is what a received transaction's file is called.
func fileName(id []byte) (string, error) {
	parsed, err := txsubmission.ParseTxID(id)
	return hex.EncodeToString(parsed.Hash[:]) + ".tx", err
}

// write puts a transaction into the folder as HEXID.tx, whole or not at all: raw if it is of the era that raw files are of, so that it
// reads as it was written into the first relay's folder, in its envelope otherwise.
func (p *Mempool) write(id, tx []byte) error {
	name, err := fileName(id)
	if err != nil {
		return err
	}
	if parsed, err := txsubmission.ParseTx(tx); err == nil && parsed.Era == txEra {
		tx = parsed.Bytes
	}
	f, err := os.CreateTemp(p.cfg.Dir, incoming+"*")
	if err != nil {
		return err
	}
	_, err = f.Write(tx)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(p.cfg.Dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Submit implements [localtxsubmission.Acceptor].
func (p *Mempool) Submit(_ context.Context, tx []byte) error {
	id, err := TxID(tx)
	if err == nil {
		err = p.Add(id, tx)
	}
	if err != nil {
		slog.Info("transaction refused", "from", "local client", "err", err)
		// As a node of the same era puts it: [[era, what the ledger says]] (wire §12.2).
		reason := cbor.AppendUint(cbor.AppendArray(cbor.AppendArray(nil, 1), 2), txEra)
		return &localtxsubmission.Rejection{Reason: cbor.AppendText(reason, err.Error())}
	}
	return nil
}

// Run looks at the folder again and again until ctx ends, if it is to be looked at.
func (p *Mempool) Run(ctx context.Context) {
	if p.cfg.Dir == "" || p.cfg.Rescan <= 0 {
		return
	}
	t := time.NewTicker(p.cfg.Rescan)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		if err := p.scan(false); err != nil {
			slog.Error("mempool folder", "err", err)
		}
	}
}

// scan reads the files that are new, the oldest first, so that transactions that depend on others come behind them. A file that
// is still being written may be read too early: it is read again when its time or size changes. What there is no room for is read
// when there is.
func (p *Mempool) scan(first bool) error {
	entries, err := os.ReadDir(p.cfg.Dir)
	if err != nil {
		return err
	}
	var fresh []fs.FileInfo
	present := make(map[string]bool, len(entries))
	for _, e := range entries {
		present[e.Name()] = true
		if first && strings.HasPrefix(e.Name(), incoming) { // of a process that was killed
			if err := os.Remove(filepath.Join(p.cfg.Dir, e.Name())); err != nil {
				return err
			}
			continue
		}
		if p.seen[e.Name()].named || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if f, ok := p.seen[e.Name()]; !ok || !f.at.Equal(info.ModTime()) || f.size != info.Size() {
			fresh = append(fresh, info)
		}
	}
	for name := range p.seen {
		if !present[name] {
			delete(p.seen, name)
		}
	}
	slices.SortStableFunc(fresh, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	read := 0
	for _, info := range fresh {
		f := seenFile{at: info.ModTime(), size: info.Size()}
		name, err := p.read(info)
		switch {
		case errors.Is(err, txsubmission.ErrFull):
			continue // again at the next scan
		case err != nil:
			slog.Warn("no transaction", "file", info.Name(), "err", err)
		default:
			f.named = info.Name() == name
			read++
		}
		p.seen[info.Name()] = f
	}
	if first && read > 0 {
		slog.Info("transactions reloaded", "dir", p.cfg.Dir, "files", read)
	}
	return nil
}

// read takes in one file and returns the name that it would have if it had been received.
func (p *Mempool) read(info fs.FileInfo) (name string, err error) {
	if info.Size() > txsubmission.MaxTx {
		return "", fmt.Errorf("%d bytes, at most %d", info.Size(), txsubmission.MaxTx)
	}
	if id, err := hex.DecodeString(strings.TrimSuffix(info.Name(), ".tx")); err == nil && len(id) == 32 {
		known := txsubmission.TxID{Era: txEra, Hash: [32]byte(id)}
		if p.Has(txsubmission.AppendTxID(nil, known)) { // we have written it, most likely
			return info.Name(), nil
		}
	}
	if int(info.Size()) > p.Room() {
		return "", txsubmission.ErrFull
	}
	b, err := os.ReadFile(filepath.Join(p.cfg.Dir, info.Name()))
	if err != nil {
		return "", err
	}
	tx, err := envelope(b)
	if err != nil {
		return "", err
	}
	id, err := TxID(tx)
	if err != nil {
		return "", err
	}
	if err := p.Memory.Add(id, tx); err != nil {
		return "", err
	}
	return fileName(id)
}

// envelope puts the content of a file into its envelope, if it is not in one.
func envelope(b []byte) ([]byte, error) {
	if _, err := txsubmission.ParseTx(b); err == nil {
		return b, nil
	}
	if err := cbor.Wellformed(b); err != nil {
		return nil, err
	}
	return txsubmission.AppendTx(nil, txsubmission.Tx{Era: txEra, Bytes: b}), nil
}
