package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/examples/internal/cli"
	"github.com/hearthnet/hearth/internal/testdata"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// source is a chain that can be served.
type source interface {
	chainsync.Source
	blockfetch.Source
}

// serve serves src until stop is called, or the test ends.
func serve(t *testing.T, src source, kind, addr string) (at string, stop func()) {
	t.Helper()
	ln, err := net.Listen(kind, addr)
	require.NoError(t, err)
	l := connmgr.NewListener(ln, connmgr.Preview, kind == "unix",
		connmgr.Serve(chainsync.Responder(src), blockfetch.Responder(src), chainsync.LocalResponder(src)))
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, nil) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		require.NoError(t, <-served)
		require.NoError(t, l.Close())
	}
	t.Cleanup(stop)
	return ln.Addr().String(), stop
}

type eventJSON struct {
	Event string
	Slot  *uint64
	Hash  *string
	Block *uint64
	Bytes *int
	Tip   struct {
		Slot  *uint64
		Hash  *string
		Block *uint64
	}
}

// start runs the wallet and returns its lines as they come; err has its result after the last.
func start(t *testing.T, args ...string) (lines <-chan eventJSON, err <-chan error) {
	t.Helper()
	r, w := io.Pipe()
	out, res := make(chan eventJSON), make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	go func() {
		res <- run(ctx, append(args, "-magic", "2", "-json"), w)
		w.Close()
	}()
	go func() {
		defer close(out)
		for s := bufio.NewScanner(r); s.Scan(); {
			var e eventJSON
			if json.Unmarshal(s.Bytes(), &e) != nil {
				e.Event = "not JSON: " + s.Text()
			}
			out <- e
		}
	}()
	t.Cleanup(func() {
		cancel()
		for range out {
		}
	})
	return out, res
}

func collect(t *testing.T, args ...string) []eventJSON {
	t.Helper()
	lines, err := start(t, args...)
	var all []eventJSON
	for l := range lines {
		all = append(all, l)
	}
	require.NoError(t, <-err)
	return all
}

func grown(t *testing.T, n int) (*chain.Chain, *chain.Generator) {
	t.Helper()
	c, g := chain.NewMemory(), chain.NewGenerator(7)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	extend(t, c, g, n)
	return c, g
}

func extend(t *testing.T, c *chain.Chain, g *chain.Generator, n int) {
	t.Helper()
	for range n {
		_, err := c.Append(g.Next(nil))
		require.NoError(t, err)
	}
}

func requireForward(t *testing.T, v chain.View, i int, l eventJSON, size int) {
	t.Helper()
	at := v.At(i)
	require.Equal(t, "forward", l.Event)
	require.Equal(t, at.Point.Slot, *l.Slot)
	require.Equal(t, hex.EncodeToString(at.Point.Hash[:]), *l.Hash)
	require.Equal(t, at.Number, *l.Block)
	require.Equal(t, size, *l.Bytes)
}

func TestFollowsRealChain(t *testing.T) {
	a, err := chain.Open(testdata.Path(t, "chain", "preview-immutable"))
	require.NoError(t, err)
	defer a.Close()
	addr, _ := serve(t, a, "tcp", "127.0.0.1:0")
	path, _ := serve(t, a, "unix", t.TempDir()+"/socket")
	for name, c := range map[string]struct {
		args []string
		size func(chain.Info) int
	}{
		"headers":       {[]string{"-peer", addr}, func(i chain.Info) int { return i.HeaderBytes }},
		"blocks":        {[]string{"-peer", addr, "-blocks"}, func(i chain.Info) int { return i.Size }},
		"socket":        {[]string{"-socket", path}, func(i chain.Info) int { return i.HeaderBytes }},
		"socket blocks": {[]string{"-socket", path, "-blocks"}, func(i chain.Info) int { return i.Size }},
	} {
		t.Run(name, func(t *testing.T) {
			got := collect(t, append(c.args, "-count", "3024")...)
			require.Len(t, got, 3024)
			for i, l := range got {
				requireForward(t, a.View, i, l, c.size(a.At(i)))
			}
			require.Equal(t, uint64(3023), *got[0].Tip.Block)
		})
	}
}

func TestStartsWhereItIsTold(t *testing.T) {
	c, _ := grown(t, 50)
	v := c.View()
	addr, _ := serve(t, c, "tcp", "127.0.0.1:0")
	got := collect(t, "-peer", addr, "-from", v.At(19).Point.String(), "-count", "3")
	for i, l := range got {
		requireForward(t, v, 20+i, l, v.At(20+i).HeaderBytes)
	}
	_, errs := start(t, "-peer", addr, "-from", "5."+strings.Repeat("ab", 32))
	require.ErrorContains(t, <-errs, "none of the points")
}

func TestFromTipWaitsForTheNextBlock(t *testing.T) {
	c, g := grown(t, 5)
	addr, _ := serve(t, c, "tcp", "127.0.0.1:0")
	lines, errs := start(t, "-peer", addr, "-from", "tip", "-count", "1")
	for {
		extend(t, c, g, 1) // whenever the wallet has begun to wait, the next one is the one
		select {
		case l := <-lines:
			require.Equal(t, "forward", l.Event)
			require.GreaterOrEqual(t, *l.Block, uint64(5))
			require.NoError(t, <-errs)
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestReportsRollBack(t *testing.T) {
	for _, mode := range [][]string{nil, {"-blocks"}} {
		t.Run(strings.Join(mode, ""), func(t *testing.T) {
			c, _ := grown(t, 20)
			v := c.View()
			addr, _ := serve(t, c, "tcp", "127.0.0.1:0")
			lines, _ := start(t, append(mode, "-peer", addr)...)
			for range 20 {
				require.Equal(t, "forward", (<-lines).Event)
			}
			back := v.At(14)
			fork := chain.NewGenerator(8)
			fork.After(chain.Tip{Point: back.Point, Block: back.Number})
			var items [][]byte
			for range 7 {
				items = append(items, fork.Next(nil))
			}
			require.NoError(t, c.Switch(back.Point, items))
			l := <-lines
			require.Equal(t, "backward", l.Event)
			require.Equal(t, back.Point.Slot, *l.Slot)
			require.Nil(t, l.Block)
			require.Nil(t, l.Bytes)
			for i := range 7 {
				l := <-lines
				require.Equal(t, "forward", l.Event)
				now := c.View()
				require.Equal(t, now.At(15+i).Point.Slot, *l.Slot)
			}
		})
	}
}

func TestRollBackToOriginHasNulls(t *testing.T) {
	c, _ := grown(t, 3)
	addr, _ := serve(t, c, "tcp", "127.0.0.1:0")
	lines, _ := start(t, "-peer", addr)
	for range 3 {
		<-lines
	}
	require.NoError(t, c.RollBack(chain.Origin))
	l := <-lines
	require.Equal(t, "backward", l.Event)
	require.Nil(t, l.Slot)
	require.Nil(t, l.Hash)
	require.Nil(t, l.Tip.Slot)
}

func TestSurvivesRestartAndMissesNothing(t *testing.T) {
	c, g := grown(t, 30)
	addr, stop := serve(t, c, "tcp", "127.0.0.1:0")
	lines, _ := start(t, "-peer", addr)
	for range 30 {
		<-lines
	}
	stop()
	// While nobody listens the chain loses five blocks and grows ten others.
	v := c.View()
	back := v.At(24)
	g.After(chain.Tip{Point: back.Point, Block: back.Number})
	fork := chain.NewGenerator(9)
	fork.After(chain.Tip{Point: back.Point, Block: back.Number})
	var items [][]byte
	for range 10 {
		items = append(items, fork.Next(nil))
	}
	require.NoError(t, c.Switch(back.Point, items))
	serve(t, c, "tcp", addr)
	l := <-lines
	require.Equal(t, "backward", l.Event, "the intersection was found again, and it is five blocks back")
	require.Equal(t, back.Point.Slot, *l.Slot)
	v = c.View()
	for i := range 10 {
		requireForward(t, v, 25+i, <-lines, v.At(25+i).HeaderBytes)
	}
}

func TestCommandLine(t *testing.T) {
	for args, want := range map[string]int{
		"":                                   2,
		"-peer x -socket y":                  2,
		"-peer x -topology y":                2,
		"-topology /nonexistent.json":        1,
		"-peer x -magic 5000000000":          2,
		"-peer x -from yesterday":            2,
		"-peer x -count -1":                  2,
		"-peer x extra":                      2,
		"-nonsense":                          2,
		"-peer 127.0.0.1:1 -count 1":         1,
		"-socket /nonexistent/socket":        1,
		"-h":                                 0,
		"-peer x -from 7." + "ab" + " -json": 2,
	} {
		var stderr bytes.Buffer
		err := run(context.Background(), strings.Fields(args), io.Discard)
		require.Equal(t, want, cli.Code("wallet", err, &stderr), args)
		if want > 0 {
			require.Equal(t, 1, strings.Count(stderr.String(), "\n"), "one line: %q", stderr.String())
		}
	}
}
