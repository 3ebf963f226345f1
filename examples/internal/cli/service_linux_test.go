package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestJournalHasItsOwnTime: lines have no time if, and only if, they go to the stream that is the journal.
func TestJournalHasItsOwnTime(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "journal"))
	require.NoError(t, err)
	defer f.Close()
	info, err := f.Stat()
	require.NoError(t, err)
	st := info.Sys().(*syscall.Stat_t)
	this := fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	for i, c := range []struct {
		stream string
		time   bool
	}{{"", true}, {"1:2", true}, {this, false}} {
		require.NoError(t, f.Truncate(0))
		t.Setenv("JOURNAL_STREAM", c.stream)
		Logger(f).Info("hello", "time", "flies")
		b, err := os.ReadFile(f.Name())
		require.NoError(t, err)
		b = bytes.TrimLeft(b, "\x00")
		require.Equal(t, c.time, bytes.HasPrefix(b, []byte("time=2")), "%d: %s", i, b)
		require.Contains(t, string(b), "level=INFO msg=hello")
		require.NotContains(t, string(b), "\x1b", "no colours")
	}
	t.Setenv("JOURNAL_STREAM", this)
	var b bytes.Buffer
	Logger(&b).Info("hello")
	require.Contains(t, b.String(), "time=")
}

// TestNotify: without a service manager nothing happens; one that does not listen is only mentioned.
func TestNotify(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	Notify("READY=1")
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	Notify("RELOADING=1")
}
