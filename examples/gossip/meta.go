package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/hearthnet/hearth/artifact"
)

// Limits of the contract between gossip nodes.
const (
	kindID   = 0x66696c65 // "file"
	maxSize  = 4 << 30    // bytes of an artifact: content and trailer
	maxName  = 200        // bytes
	maxTrail = 2 + 8 + maxName
)

// meta is what an artifact says beside a file's content. On the wire it stands behind the content, so that a file that has arrived whole
// only has to be cut and renamed:
//
//	content ‖ name ‖ u64be(modification time, ns) ‖ u16be(length of name)
//
// attr is the same trailer, which lets a node decide before it downloads.
type meta struct {
	Name  string
	MTime int64 // ns since 1970, ≥ 0
}

var errTrailer = errors.New("malformed trailer")

// checkName accepts plain base names: nothing that names another place, or that a terminal would take for something else.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("%q is not a file name", name)
	case len(name) > maxName:
		return fmt.Errorf("a file name of %d bytes, more than %d", len(name), maxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("%q is not UTF-8", name)
	case strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f || c == '/' || c == '\\' }):
		return fmt.Errorf("%q is not a plain file name", name)
	}
	return nil
}

func (m meta) trailer() []byte {
	b := binary.BigEndian.AppendUint64([]byte(m.Name), uint64(m.MTime))
	return binary.BigEndian.AppendUint16(b, uint16(len(m.Name)))
}

// parseTrailer reads the trailer at the end of b.
func parseTrailer(b []byte) (m meta, size int, err error) {
	if len(b) < 10 {
		return m, 0, errTrailer
	}
	n := int(binary.BigEndian.Uint16(b[len(b)-2:]))
	size = n + 10
	t := binary.BigEndian.Uint64(b[len(b)-10:])
	if n > maxName || size > len(b) || t > 1<<63-1 {
		return m, 0, errTrailer
	}
	m = meta{Name: string(b[len(b)-size : len(b)-10]), MTime: int64(t)}
	return m, size, checkName(m.Name)
}

// parseAttr reads an attr, which is a trailer and nothing else.
func parseAttr(b []byte) (meta, error) {
	m, n, err := parseTrailer(b)
	if err == nil && n != len(b) {
		err = errTrailer
	}
	return m, err
}

// version is one content of a name. Of two the later wins, then the one with the larger hash.
type version struct {
	meta
	id   artifact.ID
	size int64 // of the content
}

func (v *version) beats(w *version) bool {
	if v.MTime != w.MTime {
		return v.MTime > w.MTime
	}
	return bytes.Compare(v.id[:], w.id[:]) > 0
}

// joined reads content and trailer as one.
type joined struct {
	content io.ReaderAt
	size    int64
	trailer []byte
}

// ReadAt implements io.ReaderAt.
func (j joined) ReadAt(p []byte, off int64) (n int, err error) {
	if off < j.size {
		n, err = j.content.ReadAt(p[:min(int64(len(p)), j.size-off)], off)
		if err != nil && (err != io.EOF || int64(n) < min(int64(len(p)), j.size-off)) {
			return n, io.ErrUnexpectedEOF
		}
	}
	if rest := p[n:]; len(rest) > 0 {
		t := off + int64(n) - j.size
		if t > int64(len(j.trailer)) {
			return n, io.EOF
		}
		k := copy(rest, j.trailer[t:])
		n += k
		if k < len(rest) {
			return n, io.EOF
		}
	}
	return n, nil
}
