package deps

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/hearthnet/hearth"

const list = "testdata/deps.txt"

// heavy are the packages of the standard library that only the packages named may bring in.
var heavy = map[string][]string{
	"net/http":   nil,
	"crypto/tls": {"connmgr/tlsbearer", "topology/dns"}, // miekg/dns has it for DNS over TLS
}

// pkg is what this test needs of go list's output.
type pkg struct {
	ImportPath string
	Standard   bool
	Module     *struct{ Path string }
	Imports    []string
	Deps       []string
}

// packages returns every package of the library and everything below it.
func packages(t *testing.T) map[string]pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Module,Imports,Deps", "./...")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	all := map[string]pkg{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all[p.ImportPath] = p
	}
}

// unit returns the part of the library that a package of it is listed under: its top-level directory, or the sub-package that a
// dependency is confined to.
func unit(path string) string {
	rel := strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
	for _, confined := range []string{"topology/dns", "connmgr/tlsbearer"} {
		if rel == confined || strings.HasPrefix(rel, confined+"/") {
			return confined
		}
	}
	top, _, _ := strings.Cut(rel, "/")
	return top
}

// library reports whether a package is one that users import. What those need of internal packages counts for them; the rest of
// the internal packages serves tests.
func library(path string) bool {
	if strings.Contains(path, "/internal/") {
		return false
	}
	switch u := unit(path); u {
	case "", "internal", "examples":
		return false
	default:
		return strings.HasPrefix(path, module+"/")
	}
}

// found returns, for every part of the library, the modules it depends on.
func found(all map[string]pkg) map[string][]string {
	units := map[string]map[string]bool{}
	for path, p := range all {
		if !library(path) {
			continue
		}
		u := unit(path)
		if units[u] == nil {
			units[u] = map[string]bool{}
		}
		for _, d := range p.Deps {
			if q := all[d]; !q.Standard && q.Module != nil && q.Module.Path != module {
				units[u][q.Module.Path] = true
			}
		}
	}
	out := map[string][]string{}
	for u, mods := range units {
		out[u] = slices.Sorted(maps.Keys(mods))
	}
	return out
}

// allowed reads the list: a line for each part of the library, its name and the modules it may depend on.
func allowed(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile(list)
	require.NoError(t, err)
	out := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, mods, ok := strings.Cut(line, ":")
		require.True(t, ok, "%s: %q", list, line)
		out[name] = strings.Fields(mods)
	}
	return out
}

// TestDependencies fails when a part of the library depends on a module that testdata/deps.txt does not allow it. With
// HEARTH_UPDATE_DEPS=1 it writes the list anew, of what is depended on now and what was allowed before.
func TestDependencies(t *testing.T) {
	all := packages(t)
	now, may := found(all), allowed(t)
	if os.Getenv("HEARTH_UPDATE_DEPS") != "" {
		update(t, now, may)
		return
	}
	for _, u := range slices.Sorted(maps.Keys(now)) {
		require.Contains(t, may, u, "%s: no line for %s", list, u)
		for _, m := range now[u] {
			require.Contains(t, may[u], m, "%s depends on %s, which %s does not allow; if it must: HEARTH_UPDATE_DEPS=1", u, m, list)
		}
	}
}

func update(t *testing.T, now, may map[string][]string) {
	t.Helper()
	old, err := os.ReadFile(list)
	require.NoError(t, err)
	var b strings.Builder
	for line := range strings.Lines(string(old)) {
		if strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	for u := range now {
		may[u] = slices.Compact(slices.Sorted(slices.Values(append(may[u], now[u]...))))
	}
	for _, u := range slices.Sorted(maps.Keys(may)) {
		b.WriteString(strings.TrimSpace(fmt.Sprintf("%s: %s", u, strings.Join(may[u], " "))) + "\n")
	}
	require.NoError(t, os.WriteFile(list, []byte(b.String()), 0o644))
}

// TestHeavyStandardPackages keeps what would make every binary large to the packages that are for it.
func TestHeavyStandardPackages(t *testing.T) {
	for path, p := range packages(t) {
		if !library(path) {
			continue
		}
		for _, d := range p.Deps {
			if only, ok := heavy[d]; ok {
				require.Contains(t, only, unit(path), "%s depends on %s", path, d)
			}
		}
	}
}

// TestImportsGoDown holds the layers of the library: governor, artifact and topology know nothing of connections, protocols nothing
// of the connection manager, and the multiplexer nothing of either.
func TestImportsGoDown(t *testing.T) {
	below := map[string][]string{
		"mux":       {"internal"},
		"protocols": {"mux", "internal"},
		"topology":  {"internal"},
		"governor":  {"internal"},
		"artifact":  {"mux", "protocols", "internal"},
		"connmgr":   {"mux", "protocols", "internal"},
	}
	for path, p := range packages(t) {
		top, _, _ := strings.Cut(unit(path), "/")
		if !library(path) {
			continue
		}
		require.Contains(t, below, top, "%s: a new top-level package", path)
		for _, d := range p.Imports {
			if !strings.HasPrefix(d, module+"/") {
				continue
			}
			to, _, _ := strings.Cut(unit(d), "/")
			require.True(t, to == top || slices.Contains(below[top], to), "%s imports %s", path, d)
		}
	}
}
