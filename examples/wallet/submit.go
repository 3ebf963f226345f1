package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/crypto/blake2b"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols/localtxsubmission"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

// rawEra is the era index of files that hold a transaction without its envelope: Conway.
const rawEra = 6

// submitLine says what has become of a transaction. Taken is false if the peer did not want it, because it had it already most likely.
type submitLine struct {
	Event string `json:"event"`
	ID    string `json:"id"`
	Bytes int    `json:"bytes"` // of the transaction without its envelope
	Taken bool   `json:"taken"`
}

// readTx reads a transaction from a file, raw or in its envelope, and returns it in its envelope.
func readTx(file string) (id txsubmission.TxID, tx []byte, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return id, nil, err
	}
	parsed, err := txsubmission.ParseTx(b)
	if err != nil { // not enveloped
		parsed = txsubmission.Tx{Era: rawEra, Bytes: b}
	}
	r := cbor.NewReader(parsed.Bytes)
	r.Array()
	body := r.Raw()
	if err := errors.Join(r.Err(), cbor.Wellformed(parsed.Bytes)); err != nil || parsed.Era == 0 {
		return id, nil, fmt.Errorf("%s: not a transaction, which is an array that begins with its body: %w", file, err)
	}
	return txsubmission.TxID{Era: parsed.Era, Hash: blake2b.Sum256(body)}, txsubmission.AppendTx(nil, parsed), nil
}

// submit gives the transaction in a file to the node: to a local one for its verdict, to a peer by offering it until it has taken it.
func (w *wallet) submit(ctx context.Context, file string) error {
	id, tx, err := readTx(file)
	if err != nil {
		return err
	}
	dialling, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	c, err := w.dial(dialling)
	if err != nil {
		return err
	}
	defer c.Close()
	taken := true
	if c.Negotiated().NodeToClient {
		client := localtxsubmission.NewClient(c)
		if err := client.Submit(ctx, tx); err != nil {
			return err
		}
		err = client.Finish(ctx)
	} else {
		taken, err = offer(ctx, c, id, tx)
	}
	if err != nil {
		return err
	}
	parsed, err := txsubmission.ParseTx(tx)
	if err != nil {
		return err
	}
	return w.printSubmitted(submitLine{"submitted", hex.EncodeToString(id.Hash[:]), len(parsed.Bytes), taken})
}

func offer(ctx context.Context, c *connmgr.Conn, id txsubmission.TxID, tx []byte) (taken bool, err error) {
	pool := txsubmission.NewMemory(len(tx), nil)
	if err := pool.Add(txsubmission.AppendTxID(nil, id), tx); err != nil {
		return false, err
	}
	n, err := txsubmission.Submit(ctx, c, pool)
	return n > 0, err
}

func (w *wallet) printSubmitted(l submitLine) error {
	if w.json {
		return json.NewEncoder(w.out).Encode(l)
	}
	verdict := "taken"
	if !l.Taken {
		verdict = "not asked for: the node has it already, or does not want it"
	}
	_, err := io.WriteString(w.out, fmt.Sprintf("submitted %s, %d bytes: %s\n", l.ID, l.Bytes, verdict))
	return err
}
