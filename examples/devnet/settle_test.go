package main

import (
	"context"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/examples/chain"
)

// TestWhatEverybodyHasIsSettled: it leaves memory, and the disk unless there is an end at which all is checked; what somebody lacks
// stays open.
func TestWhatEverybodyHasIsSettled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]config{"with an end": {nodes: 3, seed: 1, duration: time.Hour}, "endless": {nodes: 3, seed: 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			n, err := newNetwork(c, dir)
			require.NoError(t, err)
			defer func() { require.NoError(t, n.close()) }()
			rnd := rand.New(rand.NewPCG(1, 2))
			g := chain.NewGenerator(1)
			some := func() {
				require.NoError(t, n.make(g.Next(nil)))
				for range 4 {
					require.NoError(t, n.submit(n.members[1], transaction(rnd)))
					require.NoError(t, n.publish(n.members[2], rnd))
				}
			}
			complete := func() {
				require.Eventually(t, func() bool { s := n.state(); return s.complete == 3 }, 20*time.Second, 20*time.Millisecond)
			}
			open := func() (out [3]int) {
				_, out[0] = n.blocks.count()
				_, out[1] = n.txs.count()
				_, out[2] = n.artifacts.count()
				return out
			}
			some()
			complete()
			before := time.Now()
			require.NoError(t, n.settleBefore(before.Add(-time.Hour)))
			require.Equal(t, [3]int{1, 4, 4}, open(), "too young")
			n.partition([]int{0})
			some()
			require.NoError(t, n.settleBefore(time.Now()))
			require.Equal(t, [3]int{1, 4, 4}, open(), "a node lacks the second half; it made the block, which the others lack")
			require.Eventually(t, func() bool { // those two go on with what is open
				for _, m := range n.members[1:] {
					if txs, _ := m.up().Mempool().Len(); txs != 4 || m.up().pools.Len() != 4 {
						return false
					}
				}
				return true
			}, 20*time.Second, 20*time.Millisecond)
			require.NoError(t, n.kill(1))
			require.NoError(t, n.settleBefore(time.Now()))
			require.Equal(t, [3]int{1, 4, 4}, open(), "a node is down")
			require.NoError(t, n.restart(1))
			n.partition(nil)
			complete()
			require.NoError(t, n.settleBefore(time.Now()))
			require.Equal(t, [3]int{0, 0, 0}, open())
			s := n.state()
			require.Equal(t, []int{2, 8, 8, 3}, []int{s.blocks, s.txs, s.artifacts, s.complete})
			for _, m := range n.members {
				txs, _ := m.up().Mempool().Len()
				require.Zero(t, txs+m.up().pools.Len())
			}
			files := 0
			require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() && (strings.Contains(path, "/artifacts/") || strings.HasSuffix(path, ".tx")) {
					files++
				}
				return err
			}))
			if c.duration == 0 {
				require.Zero(t, files)
				return
			}
			require.Equal(t, 3*16, files)
			_, err = n.check()
			require.NoError(t, err)
			require.NoError(t, n.kill(1)) // and it is found again after a restart
			require.NoError(t, n.restart(1))
			_, err = n.check()
			require.NoError(t, err)
			damage(t, filepath.Join(dir, "node001", "artifacts"))
			_, err = n.check()
			require.ErrorContains(t, err, "node 1: lacks 1 of 8 artifacts")
		})
	}
}

// damage changes a byte of one file under a folder.
func damage(t *testing.T, dir string) {
	t.Helper()
	done := false
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || done {
			return err
		}
		done = true
		b, err := os.ReadFile(path)
		if err == nil {
			b[len(b)-1] ^= 1
			err = os.WriteFile(path, b, 0o600)
		}
		return err
	}))
	require.True(t, done)
}

// TestJournalIsBounded: what is settled is dropped unless it is to be kept.
func TestJournalIsBounded(t *testing.T) {
	for _, room := range []int{0, 5} {
		j := newJournal[int](room)
		for i := range 10 {
			undo := j.enter(i)
			if i == 9 {
				undo()
			}
		}
		_, open := j.since(9)
		require.False(t, open)
		before, list := j.open(time.Now().Add(time.Second))
		require.Zero(t, before)
		require.Len(t, list, 9)
		j.settle(4)
		before, list = j.open(time.Now().Add(time.Second))
		require.Equal(t, 4, before)
		require.Equal(t, []int{4, 5, 6, 7, 8}, list)
		_, list = j.open(time.Now().Add(-time.Hour))
		require.Empty(t, list)
		all, left := j.count()
		require.Equal(t, []int{9, 5}, []int{all, left})
		_, open = j.since(3)
		require.False(t, open)
		kept, settled := j.all()
		if room > 0 {
			require.Len(t, kept, 9)
			require.Equal(t, 4, settled)
		} else {
			require.Len(t, kept, 5)
			require.Zero(t, settled)
		}
	}
}

// TestFatalFailureEndsTheRun: a node that cannot go on is not passed over.
func TestFatalFailureEndsTheRun(t *testing.T) {
	n, err := newNetwork(config{nodes: 2, seed: 1}, t.TempDir())
	require.NoError(t, err)
	n.failed <- fs.ErrInvalid
	require.ErrorIs(t, n.run(context.Background(), nil, newReport(os.Stdout, n.c)), fs.ErrInvalid)
}
