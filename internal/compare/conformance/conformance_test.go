package conformance

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// line is one of the command's.
type line struct {
	Event  string `json:"event"`
	ID     string `json:"id"`
	Seen   string `json:"seen"`
	Result any    `json:"result"`
	Fail   int    `json:"fail"`
	Pass   int    `json:"pass"`
}

// TestGouroboros runs the command against gouroboros v0.194.0. It must complete, and find exactly what is listed.
func TestGouroboros(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "conformance")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "github.com/hearthnet/hearth/examples/conformance")
	build.Env = append(os.Environ(), "GOWORK=off")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))

	began := time.Now()
	cmd := exec.CommandContext(t.Context(), bin, "-peer", serve(t), "-magic", strconv.Itoa(magic), "-json")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	var status *exec.ExitError
	require.True(t, errors.As(err, &status), "%v %s", err, stderr.String())
	require.Equal(t, 1, status.ExitCode(), stderr.String())

	results := map[string]line{}
	var summary *line
	for s := bufio.NewScanner(bytes.NewReader(stdout)); s.Scan(); {
		var l line
		require.NoError(t, json.Unmarshal(s.Bytes(), &l), s.Text())
		require.Nil(t, summary, "the summary comes last")
		if l.Event == "summary" {
			summary = &l
			continue
		}
		results[l.ID] = l
	}
	require.NotNil(t, summary)
	require.Greater(t, len(results), 100)
	for id := range findings {
		assert.Contains(t, results, id)
	}
	for _, id := range slices.Sorted(maps.Keys(results)) {
		l := results[id]
		want, listed := findings[id]
		switch {
		case l.Result == "fail":
			t.Logf("%s: %s (%s)", id, l.Seen, want.why)
			assert.True(t, listed, "a new finding: %s: %s", id, l.Seen)
		case !want.sometimes:
			assert.False(t, listed, "no finding any more: %s: %v %s", id, l.Result, l.Seen)
		}
	}
	t.Logf("%d passed, %d failed in %v", summary.Pass, summary.Fail, time.Since(began).Round(time.Second))
}

// finding is why a check fails. Sometimes: the answer is written by one goroutine while another closes the connection, and may arrive.
type finding struct {
	why       string
	sometimes bool
}

const (
	ownData    = "wire §15, handshake accept: the server replies with its own data, not the combination"
	lostReply  = "wire §15, handshake decode error and query; beyond it: the connection is closed before the refusal, or the query's answer, is sent"
	noCheck    = "wire §15, key order: the decoder accepts any order; beyond it: indefinite forms and any size as well"
	reassembly = "beyond wire §15: the multiplexer reads a single SDU before the handshake is over"
	clock      = "wire §15, mux timestamp: nanoseconds of the wall clock"
	ingress    = "wire §15, mux ingress: no byte limits"
	sdus       = "beyond wire §15: the handshake stays registered when it is over"
	limits     = "wire §15, chain-sync: per-message limit 462,000"
	txRules    = "wire §15, tx-submission: the rules are not enforced, definite lists accepted"
	lax        = "beyond wire §15: indefinite outer arrays and points of any shape are accepted"
	restart    = "beyond wire §15: what comes right behind Done is lost, and keep-alive is never started again"
	origin     = "beyond wire §15: what to do about origin is left to the host, which is asked for a range"
	skipping   = "beyond wire §15: a version that is no integer, or an unknown one named twice, ends the connection"
)

// findings are the checks that gouroboros v0.194.0 fails, and why. One that is found no more says that a departure is gone.
var findings = map[string]finding{
	"handshake.combined":            {why: ownData},
	"handshake.fragmented":          {why: reassembly},
	"handshake.one-byte-sdus":       {why: reassembly},
	"handshake.unknown-keys":        {why: skipping},
	"handshake.unknown-unordered":   {why: skipping},
	"handshake.query":               {lostReply, true},
	"handshake.query-magic":         {lostReply, false}, // the query is answered whatever the magic
	"handshake.magic":               {lostReply, true},
	"handshake.no-fall-back":        {lostReply, true},
	"handshake.mismatch":            {lostReply, true},
	"handshake.node-to-client":      {lostReply, true},
	"handshake.empty":               {lostReply, true},
	"handshake.wide-magic":          {lostReply, true},
	"handshake.field-type":          {lostReply, true},
	"handshake.field-count":         {lostReply, true},
	"handshake.peer-sharing-2":      {why: "beyond wire §15: peer sharing 2 is taken for a value of older versions"},
	"handshake.unordered":           {why: noCheck},
	"handshake.indefinite-map":      {why: noCheck},
	"handshake.indefinite-outer":    {why: noCheck},
	"handshake.over-limit":          {why: noCheck},
	"mux.timestamps":                {why: clock},
	"mux.handshake-again":           {why: sdus},
	"mux.not-negotiated":            {why: ownData}, // which has peer sharing on
	"mux.ingress":                   {why: ingress},
	"peer-sharing.ingress":          {why: ingress},
	"keep-alive.indefinite":         {why: lax},
	"keep-alive.done":               {why: restart},
	"chain-sync.done":               {restart, true},
	"block-fetch.done":              {restart, true},
	"peer-sharing.done":             {restart, true},
	"chain-sync.over-limit":         {why: limits},
	"chain-sync.indefinite-outer":   {why: lax},
	"chain-sync.point-length":       {why: lax},
	"chain-sync.short-hash":         {why: lax},
	"block-fetch.from-origin":       {why: origin},
	"block-fetch.to-origin":         {why: origin},
	"tx-submission.empty":           {why: txRules},
	"tx-submission.too-many":        {why: txRules},
	"tx-submission.definite":        {why: txRules},
	"tx-submission.definite-bodies": {why: txRules},
	"tx-submission.unrequested":     {why: txRules},
	"tx-submission.done":            {restart, true},
}
