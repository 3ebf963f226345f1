package mux

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// blamed is an error of a layer above that knows whose fault it is.
type blamed string

func (b blamed) Error() string { return "broken rule" }
func (b blamed) Fault() string { return string(b) }

// TestStopSaysWhoseFaultItsCauseWas: a connection that a layer above has aborted is blamed on whom that layer blames.
func TestStopSaysWhoseFaultItsCauseWas(t *testing.T) {
	for _, c := range []struct {
		cause error
		want  string
	}{
		{nil, "benign"},
		{errors.New("no opinion"), "benign"},
		{blamed("adversarial"), "adversarial"},
		{fmt.Errorf("wrapped: %w", blamed("network")), "network"},
	} {
		require.Equal(t, c.want, (&Error{Kind: Stopped, Err: c.cause}).Fault())
	}
}
