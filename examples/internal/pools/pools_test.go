package pools

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/artifact"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return ln
}

func start(t *testing.T, id byte, dir string, floor uint64, ln net.Listener, peers ...string) *Pools {
	t.Helper()
	p, err := Open(Config{NodeID: artifact.PeerID{id}, Seed: uint64(id), Dir: dir, Network: 42, Listener: ln, Peers: peers, Floor: floor})
	require.NoError(t, err)
	return p
}

// body is one of some size.
func body(class artifact.Class, serial uint64, size int) []byte {
	b := bytes.Repeat([]byte{byte(serial)}, size)
	b[0] = byte(class)
	binary.BigEndian.PutUint64(b[1:], serial)
	return b
}

type named struct {
	kind uint32
	id   artifact.ID
}

func everywhere(t *testing.T, want []named, all ...*Pools) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, p := range all {
			for _, w := range want {
				if !p.Has(w.kind, w.id) {
					return false
				}
			}
		}
		return true
	}, 20*time.Second, 10*time.Millisecond)
	for _, p := range all {
		for _, w := range want {
			require.NoError(t, p.Check(w.kind, w.id))
		}
	}
}

// TestArtifactsOfEverySizeSurvive: they reach the other node's disk, a restart, and the loss of a node's disk.
func TestArtifactsOfEverySizeSurvive(t *testing.T) {
	t.Parallel()
	dirs := []string{t.TempDir(), t.TempDir()}
	ln := listen(t)
	at := ln.Addr().String()
	a := start(t, 1, dirs[0], 0, ln)
	b := start(t, 2, dirs[1], 0, listen(t), at)
	var want []named
	for i, size := range []int{headerBytes, 64, 1024, 1025, 16 << 10, 64 << 10, 64<<10 + 1, 300_000, 1 << 20} {
		for _, k := range Kinds {
			if size > k.Limit {
				continue
			}
			p := []*Pools{a, b}[i%2]
			id, err := p.Publish(k.ID, body(artifact.Class(i%4), uint64(len(want)+1), size))
			require.NoError(t, err)
			want = append(want, named{k.ID, id})
		}
	}
	everywhere(t, want, a, b)
	m := b.Metrics()
	require.Equal(t, len(want), m.Held)
	require.Equal(t, 1, m.Peers)
	require.Positive(t, m.Delivered[artifact.Bulk])
	require.NoError(t, b.Close())
	require.NoError(t, a.Close())

	a = start(t, 1, dirs[0], 0, listen(t))
	for _, w := range want {
		require.True(t, a.Has(w.kind, w.id), "loaded before anybody was met")
	}
	require.Equal(t, len(want), a.Len())
	b = start(t, 2, t.TempDir(), 0, listen(t), a.net.Addr().String())
	everywhere(t, want, b)
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
}

// TestWindow: what is below it is neither offered nor asked for, not even after a restart, and on the disk it stays only if it shall.
func TestWindow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := start(t, 1, dir, 0, listen(t))
	b := start(t, 2, t.TempDir(), 0, listen(t), a.net.Addr().String())
	var want []named
	for i := range uint64(6) {
		id, err := a.Publish(2, body(artifact.Normal, i, 1000+70_000*int(i%2)))
		require.NoError(t, err)
		want = append(want, named{2, id})
	}
	everywhere(t, want, a, b)
	require.NoError(t, a.Expire(2, true))
	require.NoError(t, a.Expire(4, false))
	require.NoError(t, b.Expire(4, false))
	require.Equal(t, 2, a.Len())
	require.False(t, a.Has(2, want[3].id))
	require.NoError(t, a.Check(2, want[1].id), "kept")
	require.Error(t, a.Check(2, want[3].id), "removed")
	require.NoError(t, b.Close())
	require.NoError(t, a.Close())
	a = start(t, 1, dir, 4, listen(t))
	require.Equal(t, 2, a.Len())
	require.NoError(t, a.Check(2, want[1].id), "still kept")
	require.NoError(t, a.Close())
	a = start(t, 1, dir, 5, listen(t)) // the window has moved meanwhile
	require.Equal(t, 1, a.Len())
	for _, i := range []int{0, 1, 4} {
		require.NoError(t, a.Check(2, want[i].id))
		require.NoFileExists(t, a.pools[2].path(want[i].id), "a start does not read what is settled")
	}
	want = want[1:]
	c := start(t, 3, t.TempDir(), 4, listen(t), a.net.Addr().String())
	everywhere(t, want[4:], c)
	id, err := a.Publish(2, body(artifact.Normal, 1, 500)) // ours, and below: c does not want it
	require.NoError(t, err)
	late, err := a.Publish(2, body(artifact.Idle, 9, 500))
	require.NoError(t, err)
	everywhere(t, []named{{2, late}}, c)
	require.Eventually(t, func() bool { return c.Metrics().Verdicts[artifact.Unwanted] == 1 }, 10*time.Second, 10*time.Millisecond)
	require.False(t, c.Has(2, id))
	require.NoError(t, c.Close())
	require.NoError(t, a.Close())
}

// TestDiskThatRefuses: an artifact waits until it can be stored, and nobody is blamed.
func TestDiskThatRefuses(t *testing.T) {
	t.Parallel()
	told := make(chan string, 1000)
	dir := t.TempDir()
	a := start(t, 1, t.TempDir(), 0, listen(t))
	p, err := Open(Config{NodeID: artifact.PeerID{2}, Dir: dir, Network: 42, Listener: listen(t), Peers: []string{a.net.Addr().String()},
		Tell: func(what string, _ artifact.PeerID, err error) {
			select {
			case told <- what:
			default:
			}
		}})
	require.NoError(t, err)
	x := p.pools[1]
	require.NoError(t, os.Rename(x.dir, x.dir+".away"))
	id, err := a.Publish(1, body(artifact.Normal, 1, 300))
	require.NoError(t, err)
	require.Equal(t, "artifacts: disk", <-told)
	require.False(t, p.Has(1, id))
	require.NoError(t, os.Rename(x.dir+".away", x.dir))
	everywhere(t, []named{{1, id}}, p)
	require.NoError(t, a.Close())
	require.NoError(t, p.Close())
}

func TestDamagedFileIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := start(t, 1, dir, 0, listen(t))
	id, err := a.Publish(1, body(artifact.Normal, 1, 300))
	require.NoError(t, err)
	_, err = a.Publish(1, []byte("short"))
	require.ErrorIs(t, err, errHeader)
	_, err = a.Publish(1, body(4, 1, 300))
	require.ErrorIs(t, err, errHeader)
	_, err = a.Publish(9, body(0, 1, 300))
	require.Error(t, err)
	require.NoError(t, a.Close())
	path := filepath.Join(dir, Kinds[0].Name, hex.EncodeToString(id[:]))
	require.NoError(t, os.WriteFile(path, body(artifact.Normal, 2, 300), 0o600))
	require.ErrorContains(t, a.Check(1, id), "not what its name says")
	_, err = Open(Config{Dir: dir, Listener: listen(t)})
	require.ErrorContains(t, err, path)
}

func TestRandomBodies(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	urgent, small, large := 0, 0, 0
	for i := range uint64(2000) {
		k, class, b := Random(rnd, i)
		h, err := parseHeader(b)
		require.NoError(t, err)
		require.Equal(t, Header{class, i}, h)
		require.GreaterOrEqual(t, len(b), MinSize)
		require.LessOrEqual(t, len(b), k.Limit)
		if class == artifact.Urgent {
			urgent++
		}
		if len(b) < 1000 {
			small++
		}
		if len(b) > 500_000 {
			large++
		}
	}
	require.InDelta(t, 250, urgent, 80)
	require.Greater(t, small, 400)
	require.Greater(t, large, 40)
}
