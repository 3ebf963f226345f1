package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// relay runs the command and returns its exit status and output.
func relay(args ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	status = run(context.Background(), args, &out, &err)
	return status, out.String(), err.String()
}

func topologyFile(t *testing.T, content string) string {
	name := filepath.Join(t.TempDir(), "topology.json")
	require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
	return name
}

const unreachable = `{"localRoots": [{"accessPoints": [{"address": "10.0.0.1", "port": 3001}], "valency": 2}],
 "publicRoots": [], "comment": 1}`

func TestCheckText(t *testing.T) {
	name := topologyFile(t, unreachable)
	status, stdout, stderr := relay("-check", "-topology", name)
	require.Equal(t, exitFail, status)
	require.Equal(t, []string{
		name + ":1:86: error: /localRoots/0/valency: the hot valency 2 cannot be reached: the group has 1 member(s)",
		name + ":2:21: warning: /comment: unknown field, ignored", "",
	}, strings.Split(stdout, "\n"))
	require.Equal(t, 1, strings.Count(stderr, "\n"), "one clear line")

	status, stdout, stderr = relay("-check", "-topology", name, "-lenient")
	require.Equal(t, exitOK, status)
	require.Contains(t, stdout, ": warning: /localRoots/0/valency")
	require.Contains(t, stdout, `"hotValency": 2`)
	require.Empty(t, stderr)
}

func TestCheckJSON(t *testing.T) {
	name := topologyFile(t, unreachable)
	for _, lenient := range []bool{false, true} {
		args := []string{"-check", "-topology", name, "-json"}
		if lenient {
			args = append(args, "-lenient")
		}
		status, stdout, _ := relay(args...)
		require.Equal(t, 1, strings.Count(stdout, "\n"), "one object a line")
		var got map[string]any
		require.NoError(t, json.Unmarshal([]byte(stdout), &got))
		severity := "error"
		want := exitFail
		if lenient {
			severity, want = "warning", exitOK
		}
		require.Equal(t, want, status)
		require.Equal(t, "p2p", got["format"])
		require.Equal(t, true, got["node_accepts"])
		require.Equal(t, true, got["node_starts"])
		require.Contains(t, got, "json")
		require.Nil(t, got["json"])
		require.Contains(t, got, "old")
		require.Nil(t, got["old"])
		require.NotNil(t, got["parsed"])
		require.Equal(t, map[string]any{"severity": severity, "line": 1.0, "column": 86.0, "field": "/localRoots/0/valency",
			"message": "the hot valency 2 cannot be reached: the group has 1 member(s)"}, got["problems"].([]any)[0])
	}
	status, stdout, _ := relay("-check", "-json", "-topology", topologyFile(t, `{`))
	require.Equal(t, exitFail, status)
	require.True(t, strings.HasPrefix(stdout, `{"format":null,"json":false,"node_accepts":false,"node_starts":null,"parsed":null,"old":null,"problems":[{`), stdout)
	status, stdout, _ = relay("-check", "-json", "-topology", filepath.Join(t.TempDir(), "none"))
	require.Equal(t, exitFail, status)
	require.Contains(t, stdout, "no such file")
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args   []string
		status int
	}{
		{[]string{"-h"}, exitOK}, {nil, exitUsage}, {[]string{"-check"}, exitUsage}, {[]string{"-nonsense"}, exitUsage},
		{[]string{"-check", "-topology", "x", "y"}, exitUsage}, {[]string{"-check", "-topology", "/nowhere/at/all"}, exitFail},
	} {
		status, stdout, stderr := relay(c.args...)
		require.Equal(t, c.status, status, c.args)
		require.Empty(t, stdout)
		require.NotEmpty(t, stderr)
	}
}
