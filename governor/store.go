package governor

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxStored       = 4096    // peers in a store
	maxStoredBucket = 32      // of them with one prefix and one source, so that no network can fill it
	maxStoreBytes   = 1 << 20 // of a file: 4,096 lines are a third of it
	storeHeader     = "hearth peers 1"
)

// StoredPeer is what survives a restart about a peer.
type StoredPeer struct {
	Peer   netip.AddrPort
	Source Source
	Shared bool // others may be told about it
	Fails  int
	RTT    time.Duration // 0 unknown
}

// Stored selects what is worth keeping: peers that are not configured and not big ledger peers, those we were
// connected to first, then those with fewer failures; at most 4,096, at most 32 with one prefix and one source. Its cost is linear in the
// known peers; of those that were never connected to at most some 32,768, spread evenly, are looked at.
func (c *Core) Stored() []StoredPeer {
	var list []*peer
	stride := 1 + len(c.pos)/(8*maxStored)
	for id := range c.pos {
		p := c.at(uint32(id))
		if p.addr.IsValid() && (p.class == classPlain || p.class == classLedger) && (p.has(everConnected) || id%stride == 0) &&
			!p.has(condemned) && !c.bans.has(p.addr, c.now) {
			list = append(list, p)
		}
	}
	order := func(p, q *peer) int {
		if d := cmp.Compare(q.flags&everConnected, p.flags&everConnected); d != 0 {
			return d
		}
		if d := cmp.Compare(p.fails, q.fails); d != 0 {
			return d
		}
		if d := cmp.Compare(saltedHash(c.cfg.Seed, p.addr), saltedHash(c.cfg.Seed, q.addr)); d != 0 {
			return d
		}
		return p.addr.Compare(q.addr)
	}
	slices.SortFunc(list, order)
	type bucketKey struct {
		prefix netip.Prefix
		source Source
	}
	in := map[bucketKey]int{}
	var out []StoredPeer
	for _, p := range list {
		k := bucketKey{c.prefix(p.addr), p.source}
		if in[k] >= maxStoredBucket {
			continue
		}
		in[k]++
		out = append(out, StoredPeer{p.addr, p.source, p.advertise == yes, int(p.fails), microseconds(p.rtt)})
		if len(out) == maxStored {
			break
		}
	}
	return out
}

// ErrStore is why a peer store cannot be used. The host goes on without it.
var ErrStore = errors.New("governor: peer store")

// SavePeers writes a peer store: into a file beside path, synced, then renamed, so that path is always whole.
func SavePeers(path string, peers []StoredPeer) error {
	var b bytes.Buffer
	fmt.Fprintln(&b, storeHeader)
	for _, p := range peers[:min(len(peers), maxStored)] {
		shared := "-"
		if p.Shared {
			shared = "shared"
		}
		fmt.Fprintf(&b, "%s %s %s %d %d\n", p.Peer, p.Source, shared, p.Fails, p.RTT.Microseconds())
	}
	fmt.Fprintf(&b, "crc %08x\n", crc32.Checksum(b.Bytes(), castagnoli))
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	_, err = f.Write(b.Bytes())
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	return nil
}

// LoadPeers reads a peer store. No file is no peers and no error; one that is damaged, too long or of another version is an
// error wrapping ErrStore, and nothing of it is used.
func LoadPeers(path string) ([]StoredPeer, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStore, err)
	}
	defer f.Close()
	b := make([]byte, maxStoreBytes+1)
	n := 0
	for n < len(b) {
		m, err := f.Read(b[n:])
		n += m
		if err != nil {
			break
		}
	}
	return parsePeers(b[:n])
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func parsePeers(b []byte) ([]StoredPeer, error) {
	if len(b) > maxStoreBytes {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrStore, maxStoreBytes)
	}
	end := bytes.LastIndex(b, []byte("\ncrc "))
	if !bytes.HasPrefix(b, []byte(storeHeader+"\n")) || end < 0 {
		return nil, fmt.Errorf("%w: not a peer store of version 1, or cut short", ErrStore)
	}
	body := b[:end+1]
	if want := fmt.Sprintf("crc %08x\n", crc32.Checksum(body, castagnoli)); want != string(b[end+1:]) {
		return nil, fmt.Errorf("%w: the checksum is wrong", ErrStore)
	}
	var peers []StoredPeer
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Scan() // header
	for n := 2; lines.Scan(); n++ {
		p, err := parsePeer(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrStore, n, err)
		}
		if len(peers) == maxStored {
			return nil, fmt.Errorf("%w: more than %d peers", ErrStore, maxStored)
		}
		peers = append(peers, p)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStore, err)
	}
	return peers, nil
}

func parsePeer(line string) (p StoredPeer, err error) {
	f := strings.Split(line, " ")
	if len(f) != 5 {
		return p, fmt.Errorf("%d fields instead of 5", len(f))
	}
	if p.Peer, err = netip.ParseAddrPort(f[0]); err != nil {
		return p, err
	}
	found := false
	for s := Source(0); s < sourceCount; s++ {
		if s.String() == f[1] {
			p.Source, found = s, true
		}
	}
	if !found || f[2] != "-" && f[2] != "shared" {
		return p, fmt.Errorf("source %q, sharing %q", f[1], f[2])
	}
	p.Shared = f[2] == "shared"
	if p.Fails, err = strconv.Atoi(f[3]); err != nil || p.Fails < 0 {
		return p, fmt.Errorf("failures %q", f[3])
	}
	us, err := strconv.ParseUint(f[4], 10, 32)
	if err != nil {
		return p, fmt.Errorf("round-trip time %q", f[4])
	}
	p.RTT = microseconds(uint32(us))
	return p, nil
}
