package node

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
)

// remembered is how many of the transactions retired last are not taken in again when a peer still offers them.
const remembered = 128

// retired is the ids of the latest transactions that were retired, a ring.
type retired struct {
	mu     sync.Mutex
	ids    map[string]bool
	order  [remembered]string
	oldest int
}

func (r *retired) has(id []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ids[string(id)]
}

func (r *retired) add(id []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids == nil {
		r.ids = map[string]bool{}
	}
	delete(r.ids, r.order[r.oldest])
	r.order[r.oldest] = string(id)
	r.ids[string(id)] = true
	r.oldest = (r.oldest + 1) % remembered
}

// Retire takes transactions out of memory that everybody has, as a node does with those that are in a block: they are not offered any
// more, nor taken in again for a while. Their files go to the folder "retired", unless they shall not be kept.
func (p *Mempool) Retire(keep bool, ids ...[]byte) error {
	p.changing.Lock()
	defer p.changing.Unlock()
	var errs []error
	for _, id := range ids {
		p.gone.add(id)
		if p.cfg.Dir == "" {
			continue
		}
		name, err := fileName(id)
		if err == nil && keep {
			if err = os.MkdirAll(filepath.Join(p.cfg.Dir, retiredDir), 0o777); err != nil {
				return err
			}
			err = os.Rename(filepath.Join(p.cfg.Dir, name), filepath.Join(p.cfg.Dir, retiredDir, name))
		} else if err == nil {
			err = os.Remove(filepath.Join(p.cfg.Dir, name))
		}
		errs = append(errs, err)
	}
	p.Memory.Remove(ids...)
	return errors.Join(errs...)
}

const retiredDir = "retired"

// Retired reads a retired transaction, in its envelope, from the disk.
func (p *Mempool) Retired(id []byte) ([]byte, error) {
	name, err := fileName(id)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(p.cfg.Dir, retiredDir, name))
	if err != nil {
		return nil, err
	}
	return envelope(b)
}

// Has implements [txsubmission.Sink].
func (p *Mempool) Has(id []byte) bool { return p.gone.has(id) || p.Memory.Has(id) }
