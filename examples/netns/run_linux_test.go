package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFoldersTellWhatComesIn(t *testing.T) {
	f, err := newFolders()
	require.NoError(t, err)
	dirs := []string{t.TempDir(), t.TempDir()}
	came := make(chan string, 10)
	for i, d := range dirs {
		require.NoError(t, f.add(d, func(name string, at time.Time) {
			came <- string(rune('0'+i)) + name
		}))
	}
	ended := make(chan error, 1)
	go func() { ended <- f.run() }()
	scratch := filepath.Join(t.TempDir(), "x")
	for i, name := range []string{"one", "a-much-longer-name-than-that", "two"} {
		require.NoError(t, os.WriteFile(filepath.Join(dirs[i%2], "."+name), nil, 0o666), "files that are made there are not told of")
		require.NoError(t, os.WriteFile(scratch, nil, 0o666))
		require.NoError(t, os.Rename(scratch, filepath.Join(dirs[i%2], name)))
	}
	for _, want := range []string{"0one", "1a-much-longer-name-than-that", "0two"} {
		require.Equal(t, want, <-came)
	}
	require.NoError(t, f.close())
	require.NoError(t, <-ended)
}

// TestNetem: how tc is told what a cable is like.
func TestNetem(t *testing.T) {
	e := end{"hearth-1-router-a", "to-c", spans[2].params()}
	require.Equal(t, "-n hearth-1-router-a qdisc add dev to-c root netem limit 480 delay 125000us loss 2% rate 20000000bit", strings.Join(e.netem("add", false), " "))
	require.Contains(t, strings.Join(e.netem("change", true), " "), "qdisc change dev to-c root netem limit 480 delay 125000us loss 100% ")
}

func TestSameFiles(t *testing.T) {
	dir := t.TempDir()
	want := map[string][]byte{"a": []byte("x"), "b": nil}
	for name, b := range want {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o666))
	}
	require.NoError(t, sameFiles(dir, want))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), []byte("y"), 0o666))
	require.ErrorContains(t, sameFiles(dir, want), "not what was put in")
	require.NoError(t, os.Remove(filepath.Join(dir, "a")))
	require.ErrorContains(t, sameFiles(dir, want), "1 files")
}
