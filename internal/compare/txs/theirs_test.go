package txs

import (
	"context"
	"crypto/sha256"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	ouroboros "github.com/blinklabs-io/gouroboros"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const network = connmgr.Preview

// txEra is the era index of all transactions here: Conway.
const txEra = 6

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func listen(t testing.TB, local bool) net.Listener {
	t.Helper()
	kind, addr := "tcp", "127.0.0.1:0"
	if local {
		kind, addr = "unix", filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(kind, addr)
	require.NoError(t, err)
	return ln
}

// theirEnd does gouroboros's side of the handshake on conn and starts everything that opts say, for the test's time.
func theirEnd(t testing.TB, conn net.Conn, local, server bool, opts ...ouroboros.ConnectionOptionFunc) (*ouroboros.Connection, error) {
	failed := make(chan error, 16)
	c, err := ouroboros.NewConnection(append([]ouroboros.ConnectionOptionFunc{
		ouroboros.WithConnection(conn), ouroboros.WithNetworkMagic(uint32(network)), ouroboros.WithServer(server),
		ouroboros.WithNodeToNode(!local), ouroboros.WithErrorChan(failed),
	}, opts...)...)
	if err != nil {
		conn.Close()
		return nil, err
	}
	t.Cleanup(func() {
		c.Close()
		for range failed { // until it has shut down
		}
	})
	return c, nil
}

// dialTheirs connects us to a gouroboros server.
func dialTheirs(t testing.TB, local bool, ours []connmgr.Option, theirs ...ouroboros.ConnectionOptionFunc) (*connmgr.Conn, *ouroboros.Connection) {
	t.Helper()
	ln := listen(t, local)
	defer ln.Close()
	var their *ouroboros.Connection
	var wg sync.WaitGroup
	var failed error
	wg.Go(func() {
		conn, err := ln.Accept()
		if err != nil {
			failed = err
			return
		}
		their, failed = theirEnd(t, conn, local, true, theirs...)
	})
	dial := connmgr.Dial
	if local {
		dial = connmgr.DialLocal
	}
	c, err := dial(testContext(t), ln.Addr().String(), network, ours...)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	wg.Wait()
	require.NoError(t, failed)
	return c, their
}

// serveOurs runs a listener of ours and connects a gouroboros client to it.
func serveOurs(t testing.TB, local bool, ours []connmgr.Option, theirs ...ouroboros.ConnectionOptionFunc) (*ouroboros.Connection, *connmgr.Conn) {
	t.Helper()
	l := connmgr.NewListener(listen(t, local), network, local, ours...)
	ctx, cancel := context.WithCancel(context.Background())
	accepted := make(chan *connmgr.Conn, 1)
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, func(c *connmgr.Conn) { accepted <- c }) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-served)
		require.NoError(t, l.Close())
	})
	conn, err := net.Dial(l.Addr().Network(), l.Addr().String())
	require.NoError(t, err)
	their, err := theirEnd(t, conn, local, false, theirs...)
	require.NoError(t, err)
	return their, <-accepted
}

// identify stands for a ledger: the id is the hash of all bytes.
func identify(tx []byte) ([]byte, error) {
	parsed, err := txsubmission.ParseTx(tx)
	if err != nil {
		return nil, err
	}
	return txsubmission.AppendTxID(nil, txsubmission.TxID{Era: parsed.Era, Hash: sha256.Sum256(parsed.Bytes)}), nil
}

// makeTx returns transaction i without its envelope: a CBOR byte string of 300 bytes to 16 KiB.
func makeTx(i int) []byte {
	n := 300 + i*7919%16000
	b := make([]byte, 3+n)
	b[0], b[1], b[2] = 0x59, byte(n>>8), byte(n)
	b[3], b[4] = byte(i), byte(i>>8)
	return b
}
