package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/artifact/bearer"
	"github.com/hearthnet/hearth/examples/internal/cli"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// replicaTest is one node of a test, which may be stopped and started again on the same address.
type replicaTest struct {
	t    *testing.T
	o    options
	addr string
	g    *node

	mu     sync.Mutex
	events []event
}

func listen(t *testing.T, addr string) net.Listener {
	ln, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	return ln
}

// newReplicaTest prepares a directory and an address; start runs it.
func newReplicaTest(t *testing.T, root string, i int) (*replicaTest, net.Listener) {
	ln := listen(t, "127.0.0.1:0")
	d := filepath.Join(root, fmt.Sprint("d", i))
	require.NoError(t, os.MkdirAll(d, 0o755))
	return &replicaTest{t: t, addr: ln.Addr().String(), o: options{dir: d, state: d + ".state", lanes: 2, urgent: "urgent-*"}}, ln
}

func (r *replicaTest) start(ln net.Listener) {
	if ln == nil {
		ln = listen(r.t, r.addr)
	}
	g, err := start(r.o, ln, func(e event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, e)
	})
	require.NoError(r.t, err)
	r.g = g
}

func (r *replicaTest) stop() { require.NoError(r.t, r.g.close()) }

func (r *replicaTest) saw(what, name string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Event == what && (name == "" || e.Name == name) {
			n++
		}
	}
	return n
}

func (r *replicaTest) put(name string, b []byte) { r.putAt(name, b, time.Now()) }

func (r *replicaTest) putAt(name string, b []byte, at time.Time) {
	tmp := filepath.Join(r.o.dir+".new", name)
	require.NoError(r.t, os.MkdirAll(filepath.Dir(tmp), 0o755))
	require.NoError(r.t, os.WriteFile(tmp, b, 0o644))
	require.NoError(r.t, os.Chtimes(tmp, at, at))
	require.NoError(r.t, os.Rename(tmp, filepath.Join(r.o.dir, name)))
}

// hashes lists a directory.
func hashes(t *testing.T, dir string) map[string]string {
	out := map[string]string{}
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range list {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err == nil {
			s := sha256.Sum256(b)
			out[e.Name()] = hex.EncodeToString(s[:])
		}
	}
	return out
}

func eventually(t *testing.T, limit time.Duration, f func() bool, why ...any) {
	t.Helper()
	require.Eventually(t, f, limit, 25*time.Millisecond, why...)
}

func count(dir string) int {
	list, _ := os.ReadDir(dir)
	return len(list)
}

func content(t *testing.T, dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return "(none)"
	}
	require.NoError(t, err)
	return string(b)
}

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	var s [32]byte
	s[0], s[1] = byte(seed), byte(seed>>8)
	_, _ = rand.NewChaCha8(s).Read(b) // never fails
	return b
}

// spoiler is a proxy that owns no file: it hands on what a node says, with a byte spoilt now and then in long chunks.
type spoiler struct {
	ln   net.Listener
	wg   sync.WaitGroup
	mu   sync.Mutex
	open []net.Conn
	bad  int
}

func newSpoiler(t *testing.T, to string) *spoiler {
	s := &spoiler{ln: listen(t, "127.0.0.1:0")}
	s.wg.Go(func() {
		for {
			in, err := s.ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			s.mu.Lock()
			s.open = append(s.open, in, out)
			s.mu.Unlock()
			s.wg.Go(func() { s.hand(out, in, false) })
			s.wg.Go(func() { s.hand(in, out, true) })
		}
	})
	return s
}

func (s *spoiler) hand(to, from net.Conn, spoil bool) {
	defer to.Close()
	defer from.Close()
	var head [8]byte
	for {
		if _, err := io.ReadFull(from, head[:]); err != nil {
			return
		}
		b := make([]byte, int(head[6])<<8|int(head[7]))
		if _, err := io.ReadFull(from, b); err != nil {
			return
		}
		number := int(head[4]&0x7f)<<8 | int(head[5])
		if spoil && len(b) > 4000 && (number == int(artifact.NumBulk) || number == int(artifact.NumUrgent)) {
			b[len(b)/2] ^= 1
			s.mu.Lock()
			s.bad++
			s.mu.Unlock()
		}
		if _, err := to.Write(append(head[:], b...)); err != nil {
			return
		}
	}
}

// spoilt is how many pieces it has spoilt so far.
func (s *spoiler) spoilt() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bad
}

func (s *spoiler) close() int {
	s.ln.Close()
	s.mu.Lock()
	for _, c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return s.bad
}

// TestRing: five nodes in a ring, one neighbour behind a proxy that spoils chunks, two of them stopped and started again on the way.
func TestRing(t *testing.T) {
	root := t.TempDir()
	var rs [5]*replicaTest
	var lns [5]net.Listener
	for i := range rs {
		rs[i], lns[i] = newReplicaTest(t, root, i)
	}
	proxy := newSpoiler(t, rs[1].addr)
	for i, r := range rs {
		r.o.peers = []string{rs[(i+1)%5].addr}
		if i == 0 {
			r.o.peers[0] = proxy.ln.Addr().String()
		}
	}
	sizes := []int{0, 1, 100, 1024, 5000, 20000, 65536, 65537, 150000}
	for i := range 250 {
		rs[i%5].put(fmt.Sprintf("f%04d", i), noise(uint64(i), sizes[i%len(sizes)]))
	}
	rs[0].put("big", noise(999, 12<<20))
	for i, r := range rs {
		r.start(lns[i])
	}
	for _, i := range []int{2, 4} {
		eventually(t, 30*time.Second, func() bool { return count(rs[i].o.dir) > 60 })
		rs[i].stop()
	}
	rs[3].put("urgent-1", noise(1, 16<<10))
	for _, i := range []int{2, 4} {
		rs[i].start(nil)
	}
	t.Cleanup(func() {
		for i, r := range rs {
			if t.Failed() {
				t.Logf("node %d: %d files, %d partial, counters %+v", i, count(r.o.dir), count(filepath.Join(r.o.state, "partial")), r.g.node.Counters())
				for _, e := range r.events {
					if e.Event != "received" && e.Event != "published" {
						t.Logf("  %+v", e)
					}
				}
			}
		}
	})
	eventually(t, 30*time.Second, func() bool {
		for _, r := range rs {
			if count(r.o.dir) != 252 {
				return false
			}
		}
		return true
	})
	want := hashes(t, rs[0].o.dir)
	for _, r := range rs[1:] {
		require.Equal(t, want, hashes(t, r.o.dir))
	}
	for _, r := range rs {
		r.stop()
		require.Zero(t, r.saw("error", ""), "%v", r.events)
	}
	require.Positive(t, proxy.close(), "chunks were spoilt")
	require.Positive(t, rs[0].saw("misbehaviour", ""))
	for _, r := range rs { // nothing is left over but the id
		left, err := filepath.Glob(filepath.Join(r.o.state, "new-*"))
		require.NoError(t, err)
		require.Empty(t, left)
		require.Equal(t, 2, count(r.o.state))
	}
}

// TestLaterWins: of two contents of a name the later stays, everywhere, whoever had it; an equal time is decided by the hash.
func TestLaterWins(t *testing.T) {
	root := t.TempDir()
	a, lna := newReplicaTest(t, root, 0)
	b, lnb := newReplicaTest(t, root, 1)
	b.o.peers = []string{a.addr}
	at := func(r *replicaTest, name, text string, sec int64) {
		r.putAt(name, []byte(text), time.Unix(sec, 0))
	}
	at(a, "x", "older", 1000)
	at(b, "x", "newer", 2000)
	at(a, "y", "newer", 2000)
	at(b, "y", "older", 1000)
	at(a, "same", "one", 1000)
	at(b, "same", "two", 1000)
	a.start(lna)
	b.start(lnb)
	eventually(t, 20*time.Second, func() bool {
		return content(t, a.o.dir, "x") == "newer" && content(t, b.o.dir, "y") == "newer" &&
			content(t, a.o.dir, "same") == content(t, b.o.dir, "same")
	})
	// a change while they run
	a.put("x", []byte("newest"))
	eventually(t, 20*time.Second, func() bool { return content(t, b.o.dir, "x") == "newest" })
	// a deletion stays where it is
	require.NoError(t, os.Remove(filepath.Join(b.o.dir, "y")))
	b.put("after", []byte("z"))
	eventually(t, 10*time.Second, func() bool { return content(t, a.o.dir, "after") == "z" })
	require.Equal(t, "newer", content(t, a.o.dir, "y"))
	require.Zero(t, a.saw("error", "")+b.saw("error", ""))
	// what is older loses, also when it is put in the newer one's place; a restart brings that back
	at(b, "x", "outdated", 500)
	eventually(t, 10*time.Second, func() bool { return b.saw("error", "x") > 0 })
	b.stop()
	b.start(nil)
	eventually(t, 20*time.Second, func() bool { return content(t, b.o.dir, "x") == "newest" })
	require.Equal(t, "newest", content(t, a.o.dir, "x"))
	a.stop()
	b.stop()
}

// TestPartialFilesResume: what was there of a large file is verified, and only the rest is fetched.
func TestPartialFilesResume(t *testing.T) {
	root := t.TempDir()
	a, lna := newReplicaTest(t, root, 0)
	b, lnb := newReplicaTest(t, root, 1)
	b.o.peers = []string{a.addr}
	big := noise(7, 16<<20)
	a.put("big", big)
	fi, err := os.Stat(filepath.Join(a.o.dir, "big"))
	require.NoError(t, err)
	a.start(lna)
	eventually(t, 10*time.Second, func() bool { return a.saw("published", "big") == 1 })
	// as a killed process leaves it: three quarters, one chunk of them torn
	m := meta{Name: "big", MTime: fi.ModTime().UnixNano()}
	whole := append(bytes.Clone(big), m.trailer()...)
	manifest, err := artifact.BuildManifest(bytes.NewReader(whole), int64(len(whole)), artifact.DefaultChunkSize)
	require.NoError(t, err)
	id := artifact.RootID(kindID, manifest.Root)
	part := bytes.Clone(whole[:12<<20])
	part[100000] ^= 1
	path := filepath.Join(b.o.state, "partial", hex.EncodeToString(id[:]))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, part, 0o644))
	b.start(lnb)
	eventually(t, 20*time.Second, func() bool { return b.saw("received", "big") == 1 })
	require.Equal(t, string(big), content(t, b.o.dir, "big"))
	got := b.g.node.Counters().BodyBytes
	require.LessOrEqual(t, got, uint64(4<<20+2*artifact.DefaultChunkSize), "a quarter and the torn chunk")
	b.stop()
	// a restart finds everything in place
	b.start(nil)
	eventually(t, 10*time.Second, func() bool { return b.saw("published", "big") == 1 })
	require.Zero(t, b.g.node.Counters().BodyBytes)
	a.stop()
	b.stop()
}

// rawClient publishes whatever a test wants under the kind of files.
type rawClient struct{}

func (rawClient) OnChange(artifact.Reader[[]byte]) []artifact.Change[[]byte] { return nil }
func (rawClient) Bouncer(artifact.Reader[[]byte]) func(artifact.ID, []byte) artifact.Interest {
	return func(artifact.ID, []byte) artifact.Interest { return artifact.NotWanted }
}
func (rawClient) Quota(artifact.PeerID) int64 { return 0 }

var hostileNames = []string{"", ".", "..", "../escape", "/etc/passwd", "a/b", `a\b`, "a\x00b", "a\nb", "\x1b[31m", "\xff\xfe", strings.Repeat("n", maxName+1)}

// TestNothingEscapes: names are data from the network.
func TestNothingEscapes(t *testing.T) {
	root := t.TempDir()
	a, lna := newReplicaTest(t, root, 0)
	outside := filepath.Join(root, "outside")
	require.NoError(t, os.WriteFile(outside, []byte("untouched"), 0o644))
	require.NoError(t, os.Symlink(outside, filepath.Join(a.o.dir, "link")))
	require.NoError(t, os.Mkdir(filepath.Join(a.o.dir, "sub"), 0o755))
	a.start(lna)
	honest := func(name string) []byte { return meta{Name: name, MTime: 1 << 60}.trailer() }
	h := artifact.Register(artifact.BytesKind(artifact.Kind[[]byte]{
		ID: kindID, MaxSize: maxSize, Sink: func(artifact.ID, int64) (io.WriterAt, error) { return nil, os.ErrInvalid },
		Attr: func(b []byte) []byte { // a liar: the name offered is a good one, the one inside is not
			if i := bytes.IndexByte(b, '!'); i > 0 {
				return honest(string(b[:i]))
			}
			_, n, _ := parseTrailer(b)
			return b[len(b)-n:]
		},
	}), artifact.Client[[]byte](rawClient{}))
	n, err := artifact.NewNode(artifact.Config{NodeID: artifact.PeerID{1}, MaxPeers: 4}, nil, h)
	require.NoError(t, err)
	for i, name := range hostileNames {
		_, err := h.Publish(append([]byte(fmt.Sprint("lie", i, "!")), honest(name)...), artifact.Normal)
		require.NoError(t, err)
	}
	for _, name := range []string{"link", "sub", "fine"} {
		_, err = h.Publish(append([]byte("evil"), honest(name)...), artifact.Normal)
		require.NoError(t, err)
	}
	net, err := bearer.New(n, bearer.Config{Network: network, Peers: []string{a.addr}})
	require.NoError(t, err)
	eventually(t, 20*time.Second, func() bool { return a.saw("misbehaviour", "") >= 2 })
	require.NoError(t, net.Close())
	require.NoError(t, n.Close())
	a.stop()
	list, err := os.ReadDir(root)
	require.NoError(t, err)
	require.Len(t, list, 3, "%v", list)
	require.Equal(t, "untouched", content(t, root, "outside"))
	fi, err := os.Lstat(filepath.Join(a.o.dir, "link"))
	require.NoError(t, err)
	require.NotZero(t, fi.Mode()&os.ModeSymlink)
	left, err := os.ReadDir(a.o.dir)
	require.NoError(t, err)
	for _, e := range left {
		require.Contains(t, []string{"link", "sub", "fine"}, e.Name())
	}
	require.Zero(t, a.saw("published", ""), "neither links nor directories are published")
}

func TestNames(t *testing.T) {
	for _, name := range hostileNames {
		require.Error(t, checkName(name), "%q", name)
		_, err := parseAttr(meta{Name: name}.trailer())
		require.Error(t, err, "%q", name)
	}
	for _, name := range []string{"a", "...", ".hidden", "häuser und gärten", "-rf", strings.Repeat("n", maxName)} {
		require.NoError(t, checkName(name))
		m, err := parseAttr(meta{Name: name, MTime: 5}.trailer())
		require.NoError(t, err)
		require.Equal(t, meta{Name: name, MTime: 5}, m)
	}
	_, err := parseAttr(append([]byte("x"), meta{Name: "a"}.trailer()...))
	require.Error(t, err)
}

// TestChangedFilesAreNotServed: bytes that do not have their hash any more are an error, never an answer.
func TestChangedFilesAreNotServed(t *testing.T) {
	root := t.TempDir()
	d, err := openDir(filepath.Join(root, "d"), filepath.Join(root, "s"))
	require.NoError(t, err)
	path := filepath.Join(d.path, "f")
	require.NoError(t, os.WriteFile(path, []byte("0123456789"), 0o644))
	fi, err := os.Stat(path)
	require.NoError(t, err)
	j := joined{content: contentOf(d, "f", stampOf(fi)), size: 10, trailer: []byte("tail")}
	for off := range 15 {
		for n := range 16 {
			b := make([]byte, n)
			k, err := j.ReadAt(b, int64(off))
			want := "0123456789tail"[min(off, 14):min(off+n, 14)]
			require.Equal(t, want, string(b[:k]))
			require.Equal(t, k < n, err != nil, "%d %d %v", off, n, err)
		}
	}
	require.NoError(t, os.WriteFile(path, []byte("0123456789x"), 0o644))
	_, err = j.ReadAt(make([]byte, 5), 0)
	require.Error(t, err)
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Symlink("/etc/passwd", path))
	_, err = j.ReadAt(make([]byte, 5), 0)
	require.Error(t, err)
}

func contentOf(d *dir, name string, st stamp) io.ReaderAt { return fileContent{d, name, st} }

// TestCommandLine: what is wrong with it, and a start and a stop.
func TestCommandLine(t *testing.T) {
	for _, args := range [][]string{{}, {"-listen", ":0"}, {"-dir", "x"}, {"-listen", ":0", "-dir", "x", "y"},
		{"-listen", ":0", "-dir", "x", "-lanes", "5"}, {"-listen", ":0", "-dir", "x", "-rate", "-1"}, {"-listen", ":0", "-dir", "x", "-urgent", "["},
		{"-listen", "nowhere", "-dir", "x"}, {"-listen", ":0", "-dir", "x", "-peer", "nowhere"},
		{"-listen", ":0", "-dir", "x", "-state", "x"}, {"-listen", ":0", "-dir", "x", "-state", "./x/../x/y"}, {"-listen", ":0", "-dir", ".", "-state", "y"}} {
		_, err := parse(args)
		require.ErrorAs(t, err, new(*cli.UsageError), "%q", args)
	}
	for _, state := range []string{"xy", "../x", "x.state"} {
		_, err := parse([]string{"-listen", ":0", "-dir", "x", "-state", state})
		require.NoError(t, err, state)
	}
	dir := filepath.Join(t.TempDir(), "d")
	ctx, stop := context.WithCancel(t.Context())
	var out bytes.Buffer
	stop()
	require.NoError(t, run(ctx, []string{"-listen", "127.0.0.1:0", "-dir", dir + "/", "-json"}, &out))
	require.Contains(t, out.String(), `{"event":"listening","addr":"127.0.0.1:`)
	require.DirExists(t, dir+".state")
	first, err := os.ReadFile(dir + ".state/id")
	require.NoError(t, err)
	ctx, stop = context.WithCancel(t.Context())
	stop()
	require.NoError(t, run(ctx, []string{"-listen", "127.0.0.1:0", "-dir", dir}, io.Discard))
	again, err := os.ReadFile(dir + ".state/id")
	require.NoError(t, err)
	require.Equal(t, first, again)
}

// TestFailedWritesAreTold: a disk that is full is said, once in a while, by the name of the file.
func TestFailedWritesAreTold(t *testing.T) {
	root := t.TempDir()
	d, err := openDir(filepath.Join(root, "d"), filepath.Join(root, "s"))
	require.NoError(t, err)
	var events []event
	r := newReplica(d, "", func(e event) { events = append(events, e) })
	id := artifact.ID{1}
	require.Equal(t, artifact.Wants(artifact.Bulk), r.bounce(id, meta{Name: "big", MTime: 1}.trailer()))
	p, err := r.sink(id, 1<<20)
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(d.partials()))
	for range 3 {
		_, err = p.WriteAt([]byte("x"), 0)
		require.Error(t, err)
	}
	require.Len(t, events, 1)
	require.Equal(t, "error", events[0].Event)
	require.Equal(t, "big", events[0].Name)
	_, err = r.sink(artifact.ID{2}, 1)
	require.Error(t, err, "nor can another be begun")
}
