package interop

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/protocols/chainsync"
)

// walletLine is one line of the wallet example with -json.
type walletLine struct {
	Event string  `json:"event"`
	Slot  *uint64 `json:"slot"`
	Hash  *string `json:"hash"`
	Block uint64  `json:"block"`
	Bytes int     `json:"bytes"`
}

// wallet is a running wallet example.
type wallet struct {
	t      *testing.T
	lines  *bufio.Scanner
	output io.Closer
	cmd    *exec.Cmd
}

// build compiles an example as a user does, in the workspace of the repository.
func build(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	build := exec.Command("go", "build", "-o", path, "./examples/"+name)
	build.Dir = filepath.Join("..", "..", "..")
	build.Env = append(os.Environ(), "GOWORK=")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

func runWallet(t *testing.T, path string, args ...string) *wallet {
	t.Helper()
	w := &wallet{t: t, cmd: exec.CommandContext(testContext(t), path, append(args, "-magic", strconv.Itoa(int(network)), "-json")...)}
	w.cmd.Stderr = os.Stderr
	out, err := w.cmd.StdoutPipe()
	require.NoError(t, err)
	w.lines, w.output = bufio.NewScanner(out), out
	require.NoError(t, w.cmd.Start())
	return w
}

func (w *wallet) next() (l walletLine) {
	w.t.Helper()
	require.True(w.t, w.lines.Scan(), "the wallet has ended: %v", w.lines.Err())
	require.NoError(w.t, json.Unmarshal(w.lines.Bytes(), &l), "%s", w.lines.Bytes())
	return l
}

func (w *wallet) forward(links []link) {
	w.t.Helper()
	for _, want := range links {
		l := w.next()
		require.Equal(w.t, "forward", l.Event)
		require.Equal(w.t, want.point.Slot, *l.Slot)
		require.Equal(w.t, hex.EncodeToString(want.point.Hash[:]), *l.Hash)
		require.Equal(w.t, want.number, l.Block)
		require.Positive(w.t, l.Bytes)
	}
}

func (w *wallet) backward(want chainsync.Point) {
	w.t.Helper()
	l := w.next()
	require.Equal(w.t, "backward", l.Event)
	require.Equal(w.t, want.Slot, *l.Slot)
	require.Equal(w.t, hex.EncodeToString(want.Hash[:]), *l.Hash)
}

// end waits for the wallet to stop by itself, having printed nothing more.
func (w *wallet) end() {
	w.t.Helper()
	require.False(w.t, w.lines.Scan(), "%s", w.lines.Bytes())
	require.NoError(w.t, w.cmd.Wait())
}

// TestWallet runs the wallet example against gouroboros servers: real blocks, a roll back of five, a server that goes away and comes back with
// another fork.
func TestWallet(t *testing.T) {
	all := realLinks(t)
	path := build(t, "wallet")
	for _, local := range []bool{false, true} {
		name, kind, flag, where := "TCP", "tcp", "-peer", func() string { return "127.0.0.1:0" }
		if local {
			name, kind, flag, where = "Unix socket", "unix", "-socket", func() string { return socketPath(t) }
		}
		t.Run(name+"/whole blocks", func(t *testing.T) {
			addr, _ := serveTheirs(t, kind, where(), theirConfig{serve: newLedger(all), nodeToNode: !local})
			w := runWallet(t, path, flag, addr, "-blocks", "-count", strconv.Itoa(realBlocks))
			w.forward(all)
			w.end()
		})
		t.Run(name+"/roll back", func(t *testing.T) {
			short, fork, long := all[:300], all[:295], all[:310]
			source := newLedger(short)
			addr, _ := serveTheirs(t, kind, where(), theirConfig{serve: source, nodeToNode: !local})
			w := runWallet(t, path, flag, addr, "-count", strconv.Itoa(300+1+15))
			w.forward(short)
			source.set(fork)
			w.backward(fork[len(fork)-1].point)
			source.set(long)
			w.forward(long[len(fork):])
			w.end()
		})
		t.Run(name+"/restart", func(t *testing.T) {
			short, fork, long := all[:300], all[:295], all[:310]
			var addr string
			var w *wallet
			t.Run("before", func(before *testing.T) { // at whose end the server goes
				var accepted <-chan *theirs
				addr, accepted = serveTheirs(before, kind, where(), theirConfig{serve: newLedger(short), nodeToNode: !local})
				w = runWallet(t, path, flag, addr, "-count", strconv.Itoa(300+1+15))
				w.forward(short)
				require.NoError(t, (<-accepted).conn.Close())
			})
			source := newLedger(fork)
			serveTheirs(t, kind, addr, theirConfig{serve: source, nodeToNode: !local})
			w.backward(fork[len(fork)-1].point)
			source.set(long)
			w.forward(long[len(fork):])
			w.end()
		})
	}
}
