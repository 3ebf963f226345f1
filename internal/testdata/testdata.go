// Package testdata finds the real-world inputs that Hearth's tests read: topologies, snapshots, blocks, chunk files and
// wire vectors. They are not part of the repository.
package testdata

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Missing is the line a test is skipped with when the data directory is not there.
const Missing = "skipped: no ../shared/data"

// Dir returns the data directory: $HEARTH_DATA when set, else ../shared/data seen from the repository's root. The test is
// skipped with the line [Missing] when neither exists.
func Dir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("HEARTH_DATA"); dir != "" {
		if _, err := os.Stat(dir); err != nil {
			t.Fatalf("HEARTH_DATA: %v", err)
		}
		return dir
	}
	_, self, _, ok := runtime.Caller(0)
	if ok {
		dir := filepath.Join(filepath.Dir(self), "..", "..", "..", "shared", "data")
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
	}
	t.Skip(Missing)
	return ""
}

// Path joins elements below [Dir].
func Path(t testing.TB, elem ...string) string {
	t.Helper()
	return filepath.Join(append([]string{Dir(t)}, elem...)...)
}

// Read returns the content of a file below [Dir] and fails the test when it cannot be read.
func Read(t testing.TB, elem ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(Path(t, elem...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
