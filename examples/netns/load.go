package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/internal/node"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols/localtxsubmission"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

// How often something enters the network.
const (
	blockEvery    = 1500 * time.Millisecond
	txEvery       = 400 * time.Millisecond
	artifactEvery = 1200 * time.Millisecond
)

// load puts things into the network.
type load struct {
	track    *tracker
	rnd      *rand.Rand
	producer io.Writer // takes a line for each block
	places   []place
	files    int

	txs       map[string][]byte // file name → content, of all transactions
	artifacts map[string][]byte
}

// place is where things enter at a relay.
type place struct {
	submit  *localtxsubmission.Client
	conn    *connmgr.Conn
	dir     string // of the gossip process
	scratch string // on the same file system
}

// block has the producer make one, which tells when it has.
func (l *load) block() error {
	_, err := io.WriteString(l.producer, "\n")
	return err
}

// transaction gives one to a relay, as a wallet does.
func (l *load) transaction(ctx context.Context, relay int) error {
	raw := newTransaction(l.rnd)
	tx := txsubmission.AppendTx(nil, txsubmission.Tx{Era: conway, Bytes: raw})
	id, err := node.TxID(tx)
	if err != nil {
		return err
	}
	parsed, err := txsubmission.ParseTxID(id)
	if err != nil {
		return err
	}
	file := hex.EncodeToString(parsed.Hash[:]) + ".tx"
	l.txs[file] = raw
	l.track.bornAt(name{transaction, file}, relay, time.Now())
	if err := l.places[relay].submit.Submit(ctx, tx); err != nil {
		return fmt.Errorf("transaction given to relay %d: %w", relay, err)
	}
	return nil
}

// artifactPrefix begins the names of artifacts.
const artifactPrefix = "artifact-"

// artifact puts a file of 1 KiB to 256 KiB into a gossip process's folder, which tells when it has published it.
func (l *load) artifact(relay int) error {
	b := make([]byte, int(math.Exp2(10+8*l.rnd.Float64())))
	for i := range b {
		b[i] = byte(l.rnd.Uint32())
	}
	l.files++
	file, at := fmt.Sprintf("%s%04d", artifactPrefix, l.files), l.places[relay]
	l.artifacts[file] = b
	tmp := filepath.Join(at.scratch, file)
	if err := os.WriteFile(tmp, b, 0o666); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(at.dir, file))
}

// run puts things in at random until ctx ends.
func (l *load) run(ctx context.Context) error {
	blocks, txs, artifacts := time.NewTicker(blockEvery), time.NewTicker(txEvery), time.NewTicker(artifactEvery)
	defer blocks.Stop()
	defer txs.Stop()
	defer artifacts.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-blocks.C:
			err = l.block()
		case <-txs.C:
			err = l.transaction(context.WithoutCancel(ctx), l.rnd.IntN(len(l.places)))
		case <-artifacts.C:
			err = l.artifact(l.rnd.IntN(len(l.places)))
		}
		if err != nil {
			return err
		}
	}
}

// close hangs up on the relays.
func (l *load) close() error {
	var errs []error
	for _, p := range l.places {
		errs = append(errs, p.conn.Close())
	}
	return errors.Join(errs...)
}

const conway = 6 // era index

// newTransaction makes one whose shape is that of a transaction; its size is log-normal with median 600 bytes, up to 16 KiB.
func newTransaction(rnd *rand.Rand) []byte {
	random := make([]byte, int(min(max(600*math.Exp(0.9*rnd.NormFloat64()), 250), 16_000)))
	for i := range random {
		random[i] = byte(rnd.Uint32())
	}
	b := cbor.AppendMap(cbor.AppendArray(nil, 4), 1)
	b = cbor.AppendMap(cbor.AppendBytes(cbor.AppendUint(b, 7), random), 0)
	return append(cbor.AppendBool(b, true), 0xf6)
}
