package localtxsubmission_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/internal/rawpeer"
	lts "github.com/hearthnet/hearth/protocols/localtxsubmission"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// acceptor accepts transactions whose first byte says so.
type acceptor struct{ reason []byte }

var errLedger = errors.New("ledger is gone")

func (a acceptor) Submit(_ context.Context, tx []byte) error {
	parsed, err := txsubmission.ParseTx(tx)
	if err != nil {
		return err
	}
	switch parsed.Bytes[0] {
	case 1:
		return fmt.Errorf("wrapped: %w", &lts.Rejection{Reason: a.reason})
	case 2:
		return errLedger
	}
	return nil
}

func tx(first byte) []byte {
	return txsubmission.AppendTx(nil, txsubmission.Tx{Era: 6, Bytes: []byte{first}})
}

func TestAcceptAndReject(t *testing.T) {
	reason := cbor.AppendText(cbor.AppendArray(nil, 1), "no")
	addr, _ := rawpeer.Serve(t, true, connmgr.Serve(lts.Responder(acceptor{reason})))
	c := rawpeer.Dial(t, addr, true)
	ctx := rawpeer.Context(t)
	for range 2 { // Done in between
		client := lts.NewClient(c)
		require.NoError(t, client.Submit(ctx, tx(0)))
		err := client.Submit(ctx, tx(1))
		var r *lts.Rejection
		require.ErrorAs(t, err, &r)
		require.Equal(t, reason, r.Reason)
		require.Equal(t, "benign", r.Fault())
		require.NoError(t, client.Submit(ctx, tx(0)))
		require.NoError(t, client.Finish(ctx))
	}
	rawpeer.Alive(t, c)
}

// TestHostErrorEndsTheConnection: and it is not the client's fault.
func TestHostErrorEndsTheConnection(t *testing.T) {
	for name, a := range map[string]struct {
		reason []byte
		first  byte
	}{"failure": {nil, 2}, "reason that is none": {[]byte{0x82}, 1}} {
		t.Run(name, func(t *testing.T) {
			addr, conns := rawpeer.Serve(t, true, connmgr.Serve(lts.Responder(acceptor{a.reason})))
			err := lts.NewClient(rawpeer.Dial(t, addr, true)).Submit(rawpeer.Context(t), tx(a.first))
			require.Error(t, err)
			var e *protocols.Error
			require.ErrorAs(t, (<-conns).Wait(rawpeer.Context(t)), &e)
			require.Equal(t, protocols.Failed, e.Kind)
			require.Equal(t, "internal", e.Fault())
		})
	}
}

func TestHostileClients(t *testing.T) {
	for name, c := range map[string]struct {
		say  [][]byte
		kind protocols.ErrorKind
	}{
		"answers itself":      {[][]byte{lts.AppendAcceptTx(nil)}, protocols.Unexpected},
		"no transaction":      {[][]byte{{0x81, lts.TagSubmitTx}}, protocols.Unexpected},
		"no CBOR":             {[][]byte{{0x1f}}, protocols.Malformed},
		"more than 4 MiB":     {[][]byte{append([]byte{0x82, 0, 0x82, 6, 0xd8, 24, 0x5a, 0x00, 0x50, 0, 0}, make([]byte, 4<<20)...)}, protocols.TooLarge},
		"nesting without end": {[][]byte{append([]byte{0x82, 0}, nested(1000)...)}, protocols.Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			addr, conns := rawpeer.Serve(t, true, connmgr.Serve(lts.Responder(acceptor{})))
			unaffected := lts.NewClient(rawpeer.Dial(t, addr, true))
			<-conns
			p := rawpeer.Connect(t, addr, true, lts.Number)
			server := <-conns // before it is gone
			p.Say(c.say...)
			rawpeer.Violated(t, server, c.kind, nil)
			require.NoError(t, unaffected.Submit(rawpeer.Context(t), tx(0)))
		})
	}
}

func nested(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 0x81
	}
	return append(b, 0)
}

func TestHostileServers(t *testing.T) {
	for name, c := range map[string]struct {
		say  []byte
		kind protocols.ErrorKind
	}{
		"a request":     {lts.AppendSubmitTx(nil, tx(0)), protocols.Unexpected},
		"two reasons":   {[]byte{0x83, lts.TagRejectTx, 0, 0}, protocols.Unexpected},
		"broken reason": {[]byte{0x82, lts.TagRejectTx, 0xff}, protocols.Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			p, conn := rawpeer.Accept(t, true, lts.Number)
			go func() {
				p.Hear()
				p.Say(c.say)
			}()
			require.Error(t, lts.NewClient(conn).Submit(rawpeer.Context(t), tx(0)))
			rawpeer.Violated(t, conn, c.kind, nil)
		})
	}
}

// TestOnlyOnNodeToClient: node-to-node connections do not carry it.
func TestOnlyOnNodeToClient(t *testing.T) {
	addr, _ := rawpeer.Serve(t, false)
	err := lts.NewClient(rawpeer.Dial(t, addr, false)).Submit(rawpeer.Context(t), tx(0))
	require.ErrorIs(t, err, protocols.ErrUnsupported)
}

// TestAnswerNotAwaited: a call that is given up leaves the client unusable, and ending it ends the connection.
func TestAnswerNotAwaited(t *testing.T) {
	p, conn := rawpeer.Accept(t, true, lts.Number)
	ctx, cancel := context.WithCancel(rawpeer.Context(t))
	go func() { p.Hear(); cancel() }()
	client := lts.NewClient(conn)
	require.ErrorIs(t, client.Submit(ctx, tx(0)), context.Canceled)
	require.Error(t, client.Submit(rawpeer.Context(t), tx(0)))
	require.Error(t, client.Finish(rawpeer.Context(t)))
	require.Error(t, conn.Wait(rawpeer.Context(t)))
}
