package pools

import (
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearthnet/hearth/artifact"
)

// maxInMemory is the size up to which a body is in memory while it is within the window; larger ones are read from their files.
const maxInMemory = 64 << 10

// partLife is how long an unfinished artifact is kept that nothing arrives of any more.
const partLife = 10 * time.Minute

// item is the value of an artifact.
type item struct {
	header [headerBytes]byte
	size   int64
	body   []byte // until it is on the disk; nil for one that arrived in a file
	file   *file
	err    error // our own disk's: nobody else is to blame
}

// pool is one kind's: a folder of files HEXID, those under way beside them as HEXID.part, and in the folder "settled" those that have
// fallen out of the window and are kept: a start need not look at them, however many they have become. It is the kind's [artifact.Client].
type pool struct {
	kind   Kind
	dir    string
	got    func(kind uint32, class artifact.Class, id artifact.ID)
	tell   func(what string, peer artifact.PeerID, err error)
	count  func(items int, bytes int64)
	floor  atomic.Uint64
	handle *artifact.Handle[*item]

	mu    sync.Mutex
	held  map[artifact.ID]entry // on the disk and within the window
	parts map[artifact.ID]*file // that are arriving, until validated or expired
}

type entry struct {
	serial uint64
	size   int64
}

func newPool(k Kind, dir string, cfg Config, count func(int, int64)) (*pool, error) {
	x := &pool{kind: k, dir: dir, got: cfg.Got, tell: cfg.Tell, count: count, held: map[artifact.ID]entry{}, parts: map[artifact.ID]*file{}}
	x.floor.Store(cfg.Floor)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	x.handle = artifact.Register(artifact.Kind[*item]{
		ID: k.ID, MaxSize: int64(k.Limit), ChunkSize: k.Chunk, Push: k.Push,
		Sink:       x.sink,
		Encode:     func(v *item) ([]byte, error) { return v.body, nil },
		Decode:     decode,
		DecodeFile: x.decodeFile,
		Attr:       func(v *item) []byte { return v.header[:] },
	}, artifact.Client[*item](x))
	x.handle.OnError(func(err error) { cfg.Tell("artifacts: pool", artifact.PeerID{}, err) })
	return x, nil
}

func (x *pool) path(id artifact.ID) string { return filepath.Join(x.dir, hex.EncodeToString(id[:])) }

const settledDir = "settled"

func (x *pool) settled(path string) string {
	return filepath.Join(x.dir, settledDir, filepath.Base(path))
}

// putAside keeps the file of what has fallen out of the window.
func (x *pool) putAside(path string) error {
	if err := os.MkdirAll(filepath.Join(x.dir, settledDir), 0o777); err != nil {
		return err
	}
	return os.Rename(path, x.settled(path))
}

// read returns the body of an artifact that is on the disk.
func (x *pool) read(id artifact.ID) ([]byte, error) {
	body, err := os.ReadFile(x.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		if settled, err := os.ReadFile(x.settled(x.path(id))); err == nil {
			return settled, nil
		}
	}
	return body, err
}

// load publishes what is on the disk. What is below the floor is put aside; what was arriving waits for the rest.
func (x *pool) load() error {
	list, err := os.ReadDir(x.dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		path := filepath.Join(x.dir, e.Name())
		if strings.HasPrefix(e.Name(), "new-") { // not finished when the process ended
			if err := os.Remove(path); err != nil {
				return err
			}
			continue
		}
		if strings.HasSuffix(e.Name(), ".part") || e.Name() == settledDir {
			continue
		}
		v, err := open(path)
		var id artifact.ID
		if err == nil && v.serial() < x.floor.Load() {
			if err = x.putAside(path); err == nil {
				continue
			}
		}
		if err == nil {
			id, err = x.offer(v)
		}
		if err == nil && hex.EncodeToString(id[:]) != e.Name() {
			err = errors.New("the content is not what the name says")
		}
		if err != nil {
			return &fs.PathError{Op: "artifact pool", Path: path, Err: err}
		}
	}
	return nil
}

// open makes an item of a whole file.
func open(path string) (*item, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	v := &item{size: info.Size(), file: &file{path: path}}
	if v.size <= maxInMemory {
		if v.body, err = os.ReadFile(path); err != nil {
			return nil, err
		}
		return decode(v.body)
	}
	return v, v.file.header(v)
}

// publish stores an artifact of our own and offers it.
func (x *pool) publish(body []byte) (artifact.ID, error) {
	v, err := decode(body)
	if err != nil {
		return artifact.ID{}, err
	}
	id, err := Name(x.kind, body)
	if err == nil {
		err = x.store(id, v)
	}
	if err != nil {
		return id, err
	}
	if v.size > maxInMemory {
		v.file, v.body = &file{path: x.path(id)}, nil
	}
	if _, err = x.offer(v); err != nil {
		err = errors.Join(err, os.Remove(x.path(id)))
	}
	return id, err
}

// offer makes an artifact that is on the disk known to the peers.
func (x *pool) offer(v *item) (id artifact.ID, err error) {
	class := artifact.Class(v.header[0])
	if v.body == nil {
		id, err = x.handle.PublishFile(v, v.file, v.size, class)
	} else {
		id, err = x.handle.Publish(v, class)
	}
	if err == nil {
		v.body = nil // the node has it
		x.hold(id, v)
	}
	return id, err
}

func (x *pool) hold(id artifact.ID, v *item) {
	x.mu.Lock()
	_, had := x.held[id]
	x.held[id] = entry{v.serial(), v.size}
	delete(x.parts, id)
	x.mu.Unlock()
	if !had {
		x.count(1, v.size)
	}
}

func (x *pool) has(id artifact.ID) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	_, ok := x.held[id]
	return ok
}

// store writes a body to its file, whole or not at all.
func (x *pool) store(id artifact.ID, v *item) error {
	f, err := os.CreateTemp(x.dir, "new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(v.body)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), x.path(id))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// expire forgets what has a smaller serial number.
func (x *pool) expire(floor uint64, keep bool) error {
	x.floor.Store(max(floor, x.floor.Load()))
	var old []artifact.ID
	bytes := int64(0)
	x.mu.Lock()
	for id, e := range x.held {
		if e.serial < floor {
			old = append(old, id)
			bytes += e.size
			delete(x.held, id)
		}
	}
	x.mu.Unlock()
	x.count(-len(old), -bytes)
	var errs []error
	for _, id := range old {
		x.handle.Abort(id)
		if keep {
			errs = append(errs, x.putAside(x.path(id)))
		} else {
			errs = append(errs, os.Remove(x.path(id)))
		}
	}
	return errors.Join(errs...)
}

// OnChange implements [artifact.Client]: what has arrived whole goes to the disk.
func (x *pool) OnChange(r artifact.Reader[*item]) (changes []artifact.Change[*item]) {
	for _, e := range r.Unvalidated() {
		change := artifact.Change[*item]{Op: artifact.MoveToValidated, ID: e.ID}
		if err := x.settle(e.ID, e.Value); err != nil {
			x.tell("artifacts: disk", artifact.PeerID{}, err)
			change.Op = artifact.Defer // until there is room again
		}
		changes = append(changes, change)
	}
	return changes
}

// settle puts an artifact of a peer where it belongs.
func (x *pool) settle(id artifact.ID, v *item) (err error) {
	switch {
	case v.file == nil && v.err != nil:
		return v.err
	case v.err != nil:
		if v.err = v.file.header(v); v.err != nil {
			return v.err
		}
		fallthrough
	case v.file != nil:
		err = v.file.rename(x.path(id))
	default:
		err = x.store(id, v)
	}
	if err != nil {
		return err
	}
	v.body = nil // the node has it
	x.hold(id, v)
	if x.got != nil {
		x.got(x.kind.ID, artifact.Class(v.header[0]), id)
	}
	return nil
}

// Bouncer implements [artifact.Client]: everything in the window is wanted, as urgently as it says itself.
func (x *pool) Bouncer(artifact.Reader[*item]) func(artifact.ID, []byte) artifact.Interest {
	return func(_ artifact.ID, attr []byte) artifact.Interest {
		h, err := parseHeader(attr)
		if err != nil || len(attr) != headerBytes || h.Serial < x.floor.Load() {
			return artifact.NotWanted
		}
		return artifact.Wants(h.Class)
	}
}

// Quota implements [artifact.Client].
func (x *pool) Quota(artifact.PeerID) int64 { return 0 }

func (x *pool) sink(id artifact.ID, size int64) (io.WriterAt, error) {
	f, err := create(x.path(id)+".part", size)
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, old := range x.parts {
		if old.idle() > partLife {
			delete(x.parts, id)
			_ = os.Remove(x.path(id) + ".part") // it may have gone
		}
	}
	x.parts[id] = f
	return f, nil
}

// decode makes an item of a body.
func decode(body []byte) (*item, error) {
	if _, err := parseHeader(body); err != nil {
		return nil, err
	}
	v := &item{size: int64(len(body)), body: body}
	copy(v.header[:], body)
	return v, nil
}

// decodeFile makes an item of a body that has arrived in a file. Only a malformed header is an error, which is the supplier's fault.
func (x *pool) decodeFile(id artifact.ID, size int64, attr []byte) (*item, error) {
	x.mu.Lock()
	f := x.parts[id]
	x.mu.Unlock()
	v := &item{size: size, file: f}
	if f == nil {
		v.err = fs.ErrNotExist
	} else {
		v.err = f.header(v)
	}
	if v.err != nil { // ours: the attr stands until it can be read
		copy(v.header[:], attr)
		return v, nil
	}
	_, err := parseHeader(v.header[:])
	return v, err
}

func (v *item) serial() uint64 {
	h, _ := parseHeader(v.header[:]) // it was parsed when it came
	return h.Serial
}
