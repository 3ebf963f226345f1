package page

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLogKeepsTheLatest(t *testing.T) {
	var l Log
	require.Empty(t, l.Events(0, 5))
	const more = 10
	for i := range KeptEvents + more {
		l.Add(Event{Name: fmt.Sprint(i)})
	}
	all := l.Events(0, 2*KeptEvents)
	require.Len(t, all, KeptEvents)
	for i, e := range all {
		require.Equal(t, uint64(more+i+1), e.Number)
		require.Equal(t, fmt.Sprint(more+i), e.Name)
	}
	last := all[KeptEvents-1].Number
	require.Equal(t, all[KeptEvents-2:], l.Events(0, 2))
	require.Equal(t, all[KeptEvents-2:], l.Events(last-2, 100))
	require.Empty(t, l.Events(last, 100))
	require.Empty(t, l.Events(last+10, 100))
}
