package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hearthnet/hearth/artifact"
)

// file is the value of an artifact: a file on its way into DIR, or the meta of one that is there.
type file struct {
	meta
	size    int64    // of the content
	content []byte   // in memory, until it is in DIR
	part    *partial // or in the state directory
	// A file that cannot be read back is nobody's fault but ours: err says why, and claimed is the attr it came with.
	err     error
	claimed []byte
}

// replica is the Client of the one kind: whoever offers a version that beats ours is asked for it.
type replica struct {
	d      *dir
	urgent string // glob, "": none
	tell   func(event)

	mu    sync.Mutex
	parts map[artifact.ID]*partial
	names map[artifact.ID]string // of what was wanted lately, for progress
	told  time.Time              // when a failure to write was told last
}

const (
	failEvery = 10 * time.Second
	maxNames  = 8192
	partLife  = 10 * time.Minute
)

func newReplica(d *dir, urgent string, tell func(event)) *replica {
	return &replica{d: d, urgent: urgent, tell: tell, parts: map[artifact.ID]*partial{}, names: map[artifact.ID]string{}}
}

// kind describes files.
func (r *replica) kind() artifact.Kind[*file] {
	return artifact.Kind[*file]{
		ID: kindID, MaxSize: maxSize,
		Sink: func(id artifact.ID, size int64) (io.WriterAt, error) { return r.sink(id, size) },
		Encode: func(f *file) ([]byte, error) {
			return nil, errors.New("files are published from where they are")
		},
		Decode: func(b []byte) (*file, error) {
			m, n, err := parseTrailer(b)
			if err != nil {
				return nil, err
			}
			return &file{meta: m, size: int64(len(b) - n), content: b[:len(b)-n]}, nil
		},
		DecodeFile: r.decodeFile,
		Attr: func(f *file) []byte {
			if f.err != nil {
				return f.claimed
			}
			return f.trailer()
		},
	}
}

// decodeFile looks at a file that has arrived whole. Only a malformed trailer is an error, which is the supplier's fault.
func (r *replica) decodeFile(id artifact.ID, size int64, attr []byte) (*file, error) {
	r.mu.Lock()
	p := r.parts[id]
	r.mu.Unlock()
	if p == nil {
		return &file{err: os.ErrNotExist, claimed: attr}, nil
	}
	tail, err := p.tail()
	if err != nil {
		return &file{err: err, claimed: attr}, nil
	}
	m, n, err := parseTrailer(tail)
	if err != nil {
		return nil, err
	}
	return &file{meta: m, size: size - int64(n), part: p}, nil
}

// class is ours: what others say of a file does not count.
func (r *replica) class(name string) artifact.Class {
	if ok, err := filepath.Match(r.urgent, name); err == nil && ok {
		return artifact.Urgent
	}
	return artifact.Bulk
}

// Bouncer implements artifact.Client.
func (r *replica) Bouncer(artifact.Reader[*file]) func(artifact.ID, []byte) artifact.Interest {
	return r.bounce
}

func (r *replica) bounce(id artifact.ID, attr []byte) artifact.Interest {
	m, err := parseAttr(attr)
	if err != nil {
		return artifact.NotWanted
	}
	switch yes, later := r.d.wants(m, id); {
	case later:
		return artifact.MaybeLater
	case !yes:
		return artifact.NotWanted
	}
	r.mu.Lock()
	if len(r.names) >= maxNames {
		clear(r.names) // progress without a name, for a while
	}
	r.names[id] = m.Name
	r.mu.Unlock()
	return artifact.Wants(r.class(m.Name))
}

// Quota implements artifact.Client.
func (r *replica) Quota(artifact.PeerID) int64 { return 0 }

// OnChange implements artifact.Client: what has arrived whole enters DIR.
func (r *replica) OnChange(pool artifact.Reader[*file]) (changes []artifact.Change[*file]) {
	for _, e := range pool.Unvalidated() {
		v := version{meta: e.Value.meta, id: e.ID, size: e.Value.size}
		if e.Value.err != nil {
			r.tell(event{Event: "error", Error: e.Value.err.Error()})
			changes = append(changes, artifact.Change[*file]{Op: artifact.RemoveFromUnvalidated, ID: e.ID})
			continue
		}
		was, err := r.install(v, e.Value)
		switch {
		case errors.Is(err, errStands):
			changes = append(changes, artifact.Change[*file]{Op: artifact.RemoveFromUnvalidated, ID: e.ID})
			r.forget(e.ID)
			continue
		case err != nil:
			r.tell(event{Event: "error", Name: v.Name, Error: err.Error()})
			changes = append(changes, artifact.Change[*file]{Op: artifact.Defer, ID: e.ID})
			continue
		}
		r.forget(e.ID)
		r.tell(event{Event: "received", Name: v.Name, Size: &v.size})
		changes = append(changes, artifact.Change[*file]{Op: artifact.MoveToValidated, ID: e.ID})
		if was != nil {
			changes = append(changes, artifact.Change[*file]{Op: artifact.RemoveFromValidated, ID: was.id})
		}
	}
	return changes
}

// install writes or cuts the file outside DIR and renames it.
func (r *replica) install(v version, f *file) (was *entry, err error) {
	var tmp string
	if f.part != nil {
		tmp = f.part.path
		if err := os.Truncate(tmp, v.size); err != nil {
			return nil, err
		}
	} else if tmp, err = r.d.stage(f.content); err != nil {
		return nil, err
	}
	was, st, err := r.d.install(v, tmp)
	if err != nil {
		if f.part == nil || errors.Is(err, errStands) {
			err = errors.Join(err, os.Remove(tmp))
		}
		return nil, err
	}
	if f.part != nil {
		f.part.settle(joined{fileContent{r.d, v.Name, st}, v.size, v.trailer()})
	}
	f.content, f.part = nil, nil
	return was, nil
}

func (r *replica) sink(id artifact.ID, size int64) (*partial, error) {
	p, err := r.d.sink(id, size, func(p *partial, err error) {
		if err != nil {
			r.failed(id, err)
		} else if got, due := p.progress(time.Now()); due {
			r.mu.Lock()
			r.parts[id] = p
			name := r.names[id]
			r.mu.Unlock()
			r.tell(event{Event: "progress", Name: name, Received: &got, Size: &p.size})
		}
	})
	if err != nil {
		r.failed(id, err)
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, p := range r.parts { // given up by the node
		if p.idle(time.Now()) > partLife {
			delete(r.parts, id)
		}
	}
	r.parts[id] = p
	return p, nil
}

// failed tells, once in a while, that what arrives cannot be written: the disk is full, mostly. It is asked for again.
func (r *replica) failed(id artifact.ID, err error) {
	r.mu.Lock()
	name, silent := r.names[id], time.Since(r.told) < failEvery
	if !silent {
		r.told = time.Now()
	}
	r.mu.Unlock()
	if !silent {
		r.tell(event{Event: "error", Name: name, Error: err.Error()})
	}
}

func (r *replica) forget(id artifact.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.parts, id)
	delete(r.names, id)
}
