package artifact

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestLastChunkWrittenAfterTheLastAdvertiserLeft: a sink answers when it likes, and a body that is whole by then is judged.
func TestLastChunkWrittenAfterTheLastAdvertiserLeft(t *testing.T) {
	c, err := NewCore(0, Config{Kinds: []KindConfig{{ID: 7, MaxSize: 1 << 20, Disk: true}}})
	require.NoError(t, err)
	m, err := BuildManifest(bytes.NewReader(make([]byte, 100000)), 100000, DefaultChunkSize)
	require.NoError(t, err)
	id := RootID(7, m.Root)
	d := &download{id: id, state: downWant, size: 100000, known: true, man: m, sink: sinkOpen, ndone: 1,
		done: newBitmap(2), asked: newBitmap(2)}
	d.retry, d.grace = timer{what: timerRetry, d: d}, timer{what: timerGrace, d: d}
	c.con.downs[id] = d
	d.orphaned = time.Second
	c.con.orphan.pushBack(&d.judge, d)
	c.Written(2*time.Second, id, 1, nil)
	require.Zero(t, c.con.orphan.n)
	us, more := c.con.Take(7, 10)
	require.Len(t, us, 1)
	require.False(t, more)
}
