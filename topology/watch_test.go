package topology

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// text is a topology with one local root per byte.
func text(lasts ...byte) string {
	t := &Topology{}
	for _, l := range lasts {
		t.LocalRoots = append(t.LocalRoots, Group{AccessPoints: []AccessPoint{ipPoint(l)}, HotValency: 1, WarmValency: 1})
	}
	return string(t.AppendJSON(nil))
}

func write(t testing.TB, name, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
}

// replace writes a file beside and renames it over the name.
func replace(t testing.TB, name, content string) {
	t.Helper()
	write(t, name+".new", content)
	require.NoError(t, os.Rename(name+".new", name))
}

// watched is a running watcher and what it had said when settle was last called.
type watched struct {
	*Watcher
	said

	mu  sync.Mutex
	all said
}

type said struct {
	applied  []*Topology
	changes  []Changes
	rejected []*ReloadError
}

// settle waits until the watcher has nothing left to do.
func (w *watched) settle() {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = w.all
}

// pass lets the watcher notice a change and believe it.
func (w *watched) pass() {
	pass()
	w.settle()
}

// watch starts a watcher inside a synctest bubble; it ends with the test.
func watch(t *testing.T, path string) *watched {
	w := &watched{}
	var err error
	w.Watcher, err = NewWatcher(WatchConfig{Path: path,
		Apply: func(n *Topology, c Changes) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.all.applied, w.all.changes = append(w.all.applied, n), append(w.all.changes, c)
		},
		Reject: func(err *ReloadError) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.all.rejected = append(w.all.rejected, err)
		},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
	synctest.Wait()
	return w
}

// pass lets the watcher notice and settle.
func pass() {
	time.Sleep(DefaultWatchInterval + 2*settleTime)
	synctest.Wait()
}

// members counts the local roots in force.
func (w *watched) members() int { return len(w.Current().LocalRoots) }

// TestWatchReplacements: writing in place, renaming over, and switching links, each noticed once.
func TestWatchReplacements(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "topology.json")
		write(t, path, text(1))
		w := watch(t, path)
		w.pass()
		require.Empty(t, w.applied, "an unchanged file is no news")

		write(t, path, text(1, 2))
		w.pass()
		require.Len(t, w.applied, 1)
		require.Equal(t, []AccessPoint{ipPoint(2)}, w.changes[0].Local.Connect)
		require.Equal(t, []AccessPoint{ipPoint(1)}, w.changes[0].Local.Keep)

		replace(t, path, text(1, 2, 3))
		w.pass()
		require.Len(t, w.applied, 2)
		require.Equal(t, 3, w.members())

		// The same times and size, other content: as after unpacking an archive.
		info, err := os.Stat(path)
		require.NoError(t, err)
		replace(t, path, text(1, 2, 4))
		require.NoError(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
		w.pass()
		require.Len(t, w.applied, 3)

		// The way container orchestrators replace files: path → link → folder/file, and the inner link is switched.
		require.NoError(t, os.Remove(path))
		for _, v := range []string{"v1", "v2"} {
			require.NoError(t, os.Mkdir(filepath.Join(dir, v), 0o700))
		}
		write(t, filepath.Join(dir, "v1", "topology.json"), text(5))
		write(t, filepath.Join(dir, "v2", "topology.json"), text(5, 6))
		require.NoError(t, os.Symlink("v1", filepath.Join(dir, "data")))
		require.NoError(t, os.Symlink(filepath.Join("data", "topology.json"), path))
		w.pass()
		require.Len(t, w.applied, 4)
		require.NoError(t, os.Symlink("v2", filepath.Join(dir, "data.new")))
		require.NoError(t, os.Rename(filepath.Join(dir, "data.new"), filepath.Join(dir, "data")))
		w.pass()
		require.Len(t, w.applied, 5)
		require.Equal(t, 2, w.members())
		require.Empty(t, w.rejected)

		// Blanks only: another content, the same topology.
		replace(t, path, text(5, 6)+"\n\n")
		w.pass()
		require.Len(t, w.applied, 6)
		require.True(t, w.changes[5].Empty())
	})
}

// TestWatchOldFile: files that have been at rest for long are not read again, but a replacement as old as they is noticed.
func TestWatchOldFile(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "topology.json")
		long := time.Now().Add(-time.Hour)
		write(t, path, text(1))
		require.NoError(t, os.Chtimes(path, long, long))
		w := watch(t, path)
		w.pass()
		write(t, path+".new", text(2))
		require.NoError(t, os.Chtimes(path+".new", long, long))
		require.NoError(t, os.Rename(path+".new", path))
		w.pass()
		require.Len(t, w.applied, 1, "another file, though of the same size and time")

		// Nobody else may use the file's inode now: written in place with its times put back it looks the same, until asked for.
		w.pass()
		write(t, path, text(3))
		require.NoError(t, os.Chtimes(path, long, long))
		w.pass()
		require.Len(t, w.applied, 1)
		w.Reload()
		w.settle()
		require.Len(t, w.applied, 2)
	})
}

// TestWatchBadFile: a bad file never replaces a good one, is reported once with its problems, and a good one behind it counts.
func TestWatchBadFile(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "topology.json")
		write(t, path, text(1))
		w := watch(t, path)
		replace(t, path, `{"localRoots": []}`)
		w.pass()
		w.pass()
		require.Empty(t, w.applied)
		require.Equal(t, 1, w.members())
		require.Len(t, w.rejected, 1)
		var invalid *InvalidError
		require.ErrorAs(t, w.rejected[0], &invalid)
		require.Contains(t, w.rejected[0].Error(), path+":1:1: error: /publicRoots")

		replace(t, path, text(1)) // back to what is in force
		w.pass()
		require.Empty(t, w.applied)
		replace(t, path, `{"localRoots": []}`) // the same mistake again
		w.pass()
		require.Len(t, w.rejected, 2)

		require.NoError(t, os.Remove(path))
		w.pass()
		require.Len(t, w.rejected, 3)
		require.ErrorIs(t, w.rejected[2], os.ErrNotExist)
		replace(t, path, text(1, 2))
		w.pass()
		require.Len(t, w.applied, 1)
		require.Equal(t, 2, w.members())
	})
}

// TestWatchHalfWritten writes a new file byte by byte in every way there is: over the old one, cut first, and with the old
// rest still behind. Nothing but the old and the whole new content ever counts, though mixtures of the two can be valid JSON.
func TestWatchHalfWritten(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "topology.json")
		write(t, path, text(1))
		w := watch(t, path)
		old := text(1)
		for round, cut := range []bool{true, false} {
			next := text(byte(100+round), byte(110+round))
			for n := 0; n < len(next); n += 2 {
				content := next[:n]
				if !cut && n < len(old) {
					content += old[n:]
				}
				write(t, path, content)
				require.NoError(t, os.Chtimes(path, time.Now(), time.Now())) // as it were, had the time really passed
				time.Sleep(settleTime - 10*time.Millisecond)
				w.settle()
				require.Len(t, w.applied, round, "after %d bytes", n)
			}
			write(t, path, next)
			w.pass()
			require.Len(t, w.applied, round+1)
			require.Equal(t, ipPoint(byte(100+round)), w.Current().LocalRoots[0].AccessPoints[0])
			old = next
		}
		// A writer that stalls in the middle for longer: refused, reported, and finished later.
		next := text(7)
		write(t, path, next[:len(next)/2])
		w.pass()
		require.Len(t, w.applied, 2)
		require.Len(t, w.rejected, 1)
		write(t, path, next)
		w.pass()
		require.Len(t, w.applied, 3)
	})
}

// TestReload: a signal takes effect without waiting, also for an unchanged file, but not for a bad one.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "topology.json")
		write(t, path, text(1))
		w := watch(t, path)
		start := time.Now()
		w.Reload()
		w.Reload()
		w.settle()
		require.NotEmpty(t, w.applied, "the snapshot beside the file may be new")
		require.True(t, w.changes[0].Empty())
		n := len(w.applied)
		replace(t, path, text(2))
		w.Reload()
		w.settle()
		require.Len(t, w.applied, n+1)
		replace(t, path, `{`)
		w.Reload()
		w.settle()
		require.Len(t, w.applied, n+1)
		require.Len(t, w.rejected, 1)
		require.Equal(t, start, time.Now())
	})
}

func TestNewWatcher(t *testing.T) {
	path := filepath.Join(t.TempDir(), "topology.json")
	apply := func(*Topology, Changes) {}
	_, err := NewWatcher(WatchConfig{Path: path, Apply: apply})
	require.ErrorIs(t, err, os.ErrNotExist)
	write(t, path, `{}`)
	_, err = NewWatcher(WatchConfig{Path: path, Apply: apply})
	var invalid *InvalidError
	require.ErrorAs(t, err, &invalid)
	write(t, path, text(1))
	_, err = NewWatcher(WatchConfig{Path: path})
	require.Error(t, err)
	_, err = NewWatcher(WatchConfig{Path: path, Apply: apply, Interval: -1})
	require.Error(t, err)
	w, err := NewWatcher(WatchConfig{Path: path, Apply: apply})
	require.NoError(t, err)
	require.Len(t, w.Current().LocalRoots, 1)
	require.NoError(t, os.Truncate(path, MaxInput+1))
	_, err = NewWatcher(WatchConfig{Path: path, Apply: apply})
	require.ErrorContains(t, err, "16 MiB")
}
