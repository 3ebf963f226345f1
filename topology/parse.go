package topology

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
)

// Format is the kind of file, found by its keys alone (governor §8.1). The first that fits counts.
type Format string

// The formats of topology files. A text that is not JSON has the empty format.
const (
	FormatP2P     Format = "p2p"     // localRoots or publicRoots: the format of today
	FormatP2POld  Format = "p2p-old" // LocalRoots or PublicRoots: two retired drafts
	FormatLegacy  Format = "legacy"  // Producers: from before P2P
	FormatMock    Format = "mock"    // MockProducers: never a real network's
	FormatUnknown Format = "unknown" // anything else, and everything that is not an object
)

// Options of reading a topology file. The zero value reads strictly, for a relay in Praos mode.
type Options struct {
	// File is the name used in problems.
	File string
	// Lenient accepts exactly what cardano-node accepts: bad ports and unreachable valencies are warnings then. No value
	// that is read depends on it.
	Lenient bool
	// Convert turns the retired formats into the present one (with a warning instead of the error that cardano-node gives).
	Convert bool
	// Genesis says that the node runs in Genesis mode, Producer that it makes blocks, PeerSharing that it shares peers. They
	// change warnings only.
	Genesis, Producer, PeerSharing bool
	// Listen holds our own addresses; an access point that is one of them gets a warning.
	Listen []netip.AddrPort
}

// Result is all that there is to know about a topology file.
type Result struct {
	Format Format
	// JSON is false when the text is not JSON at all.
	JSON bool
	// NodeAccepts tells whether cardano-node's parser takes the file, NodeStarts whether it then starts with it. Neither
	// depends on the options.
	NodeAccepts, NodeStarts bool
	// Topology holds the values as cardano-node reads them, nil when it refuses the file. With Options.Convert it is the
	// converted content of a file in a retired format.
	Topology *Topology
	// Old holds the values of a file in a retired format, nil in all other cases.
	Old *Old
	// Problems lists errors and warnings in document order, at most MaxProblems and one that counts the rest.
	Problems []Problem
	file     string
}

// Err returns an *InvalidError when the file is to be refused, nil when it may be used.
func (r *Result) Err() error { return invalid(r.file, r.Problems) }

// Parse reads and checks a topology file (governor §8). It never fails as such: what is wrong is in the result. Memory is at
// most 1 MiB plus 64 bytes for each byte of data; data longer than [MaxInput] is refused unread.
func Parse(data []byte, opt Options) *Result {
	w := &walker{opt: opt, file: opt.File, seen: map[AccessPoint]struct{}{}}
	r := &Result{file: opt.File}
	if len(data) > MaxInput {
		w.list.add(Error, 0, "", fmt.Sprintf("the file has more than %d MiB", MaxInput>>20))
		r.Problems = w.list.finish(nil, opt.File)
		return r
	}
	doc, bad := parseDocument(data)
	if bad != nil {
		w.list.add(Error, bad.offset, bad.field, bad.message)
		r.Problems = w.list.finish(data, opt.File)
		return r
	}
	w.doc = doc
	r.JSON = true
	r.Format = w.format()
	switch r.Format {
	case FormatP2P:
		t := w.topology()
		r.NodeAccepts = !w.refused
		r.NodeStarts = !w.refused && !w.stops
		if r.NodeAccepts {
			r.Topology = t
		}
	case FormatP2POld, FormatLegacy:
		r.Old = w.old(r.Format)
		if r.Old != nil && opt.Convert {
			r.Topology = w.convert(r.Old)
		}
	case FormatMock:
		w.refuse(0, nil, "MockProducers is the retired format of a test network; it is not converted")
	default:
		w.refuse(0, nil, "not a topology: neither localRoots nor publicRoots is there")
	}
	r.Problems = w.list.finish(data, opt.File)
	return r
}

// ReadFile reads and checks a topology file. The error is about reading only; see [Result.Err] for the content.
func ReadFile(name string, opt Options) (*Result, error) {
	if opt.File == "" {
		opt.File = name
	}
	data, err := readBounded(name)
	if err != nil && !errors.Is(err, errTooLong) {
		return nil, err
	}
	return Parse(data, opt), nil
}

// Load is [ReadFile] for who wants the content or nothing: every problem that refuses the file is in the error.
func Load(name string, opt Options) (*Topology, error) {
	r, err := ReadFile(name, opt)
	if err != nil {
		return nil, err
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	return r.Topology, nil
}

var errTooLong = errors.New("file too long")

// readBounded reads a file up to one byte more than MaxInput, which is enough to refuse it.
func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > MaxInput {
		return make([]byte, MaxInput+1), errTooLong
	}
	// One buffer of the file's size; it grows only when the file does while it is read.
	data := make([]byte, 0, info.Size()+512)
	for len(data) <= MaxInput {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
		n, err := f.Read(data[len(data):min(cap(data), MaxInput+1)])
		data = data[:len(data)+n]
		if err == io.EOF {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return data, errTooLong
}
