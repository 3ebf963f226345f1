package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/internal/cli"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols/localtxsubmission"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

// taker takes what is submitted to it locally, once.
type taker struct{ *txsubmission.Memory }

func (a taker) Submit(_ context.Context, tx []byte) error {
	if n, _ := a.Len(); n > 0 {
		return &localtxsubmission.Rejection{Reason: cbor.AppendText(nil, "enough")}
	}
	return a.Add([]byte{1}, tx)
}

func TestSubmit(t *testing.T) {
	raw := append(cbor.AppendArray(nil, 4), 0xa1, 0, 0x18, 42, 0xa0, 0xf5, 0xf6)
	file := filepath.Join(t.TempDir(), "tx")
	require.NoError(t, os.WriteFile(file, raw, 0o600))
	id, tx, err := readTx(file)
	require.NoError(t, err)
	identify := func([]byte) ([]byte, error) { return txsubmission.AppendTxID(nil, id), nil }

	for _, kind := range []string{"tcp", "unix"} {
		t.Run(kind, func(t *testing.T) {
			pool := txsubmission.NewMemory(1<<20, identify)
			addr, flag := "127.0.0.1:0", "-peer"
			if kind == "unix" {
				addr, flag = filepath.Join(t.TempDir(), "s"), "-socket"
			}
			at := serveProtocols(t, kind, addr, connmgr.Serve(
				txsubmission.NewInbound(pool, txsubmission.Limits{}).Responder(), localtxsubmission.Responder(taker{pool})))
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			var out bytes.Buffer
			require.NoError(t, run(ctx, []string{flag, at, "-magic", "2", "-submit", file, "-json"}, &out))
			var line submitLine
			require.NoError(t, json.Unmarshal(out.Bytes(), &line))
			require.Equal(t, 1, strings.Count(out.String(), "\n"))
			require.Equal(t, submitLine{"submitted", line.ID, len(raw), true}, line)
			require.Len(t, line.ID, 64)
			e, ok := pool.Next(0)
			require.True(t, ok)
			require.Equal(t, tx, pool.Tx(e.ID))

			// A second time: the peer has it, the local node refuses.
			out.Reset()
			err := run(ctx, []string{flag, at, "-magic", "2", "-submit", file}, &out)
			var stderr bytes.Buffer
			code := cli.Code("wallet", err, &stderr)
			if kind == "unix" {
				require.Equal(t, 1, code)
				require.Contains(t, stderr.String(), "rejected")
				require.Equal(t, 1, strings.Count(stderr.String(), "\n"))
			} else {
				require.Equal(t, 0, code)
				require.Contains(t, out.String(), "not asked for")
			}
		})
	}
	for name, content := range map[string][]byte{"empty": nil, "no array": {0}, "cut off": raw[:5], "more behind": append(raw, 0)} {
		require.NoError(t, os.WriteFile(file, content, 0o600))
		_, _, err := readTx(file)
		require.Error(t, err, name)
	}
}

// serveProtocols serves mini-protocols for the test's time.
func serveProtocols(t *testing.T, kind, addr string, opts ...connmgr.Option) string {
	t.Helper()
	listen := connmgr.Listen
	if kind == "unix" {
		listen = connmgr.ListenLocal
	}
	l, err := listen(context.Background(), addr, connmgr.Preview, opts...)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, nil) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-served)
		require.NoError(t, l.Close())
	})
	return l.Addr().String()
}
