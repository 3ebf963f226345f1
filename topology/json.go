package topology

import (
	"bytes"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxInput is the largest file that is read, in bytes (governor §8.3).
const MaxInput = 16 << 20

// jsonKind is the type of a JSON value.
type jsonKind uint8

const (
	jsonNull jsonKind = iota
	jsonBool
	jsonNumber
	jsonString
	jsonArray
	jsonObject
)

func (k jsonKind) String() string {
	return [...]string{"null", "a boolean", "a number", "a string", "an array", "an object"}[k]
}

// jsonToken is one value, or one key of an object. Tokens lie in document order; those of an array or object follow it, a
// key before its value. 16 bytes a token and at least two bytes of input for each keep a document's cost below 8 bytes a byte.
type jsonToken struct {
	start, end uint32 // the value's text is src[start:end]
	next       uint32 // index of the first token behind this value
	kind       jsonKind
}

// document is a well-formed JSON text as a flat list of tokens. encoding/json is not used for reading because it forgets
// positions, folds the case of keys and hides duplicates.
type document struct {
	src  []byte
	toks []jsonToken
}

// parseDocument checks that src is exactly one JSON value and indexes it. It reads the text twice, first to count the
// tokens, so that the index is allocated once at its final size.
func parseDocument(src []byte) (*document, *syntaxError) {
	s := scanner{src: src}
	if err := s.document(); err != nil {
		return nil, err
	}
	toks := make([]jsonToken, 0, s.count)
	s = scanner{src: src, toks: toks, keep: true}
	if err := s.document(); err != nil {
		return nil, err // unreachable: the same text was accepted above
	}
	return &document{src: src, toks: s.toks}, nil
}

// text returns the string or key at token i, with escapes resolved.
func (d *document) text(i int) string {
	t := d.toks[i]
	return unquote(d.src[t.start+1 : t.end-1])
}

// raw returns the text of the value at token i as it stands.
func (d *document) raw(i int) []byte { return d.src[d.toks[i].start:d.toks[i].end] }

// isTrue tells the two booleans apart.
func (d *document) isTrue(i int) bool { return d.src[d.toks[i].start] == 't' }

// keyIs compares the key at token i without allocating.
func (d *document) keyIs(i int, name string) bool {
	t := d.toks[i]
	b := d.src[t.start+1 : t.end-1]
	if string(b) == name {
		return true
	}
	// Escapes make a key up to six times longer.
	return len(b) > len(name) && len(b) <= 6*len(name) && bytes.IndexByte(b, '\\') >= 0 && unquote(b) == name
}

// members calls f with the token of each key and value of the object at token i.
func (d *document) members(i int, f func(key, value int)) {
	for k, end := i+1, int(d.toks[i].next); k < end; {
		v := k + 1
		f(k, v)
		k = int(d.toks[v].next)
	}
}

// elements calls f with the token of each element of the array at token i.
func (d *document) elements(i int, f func(n, value int)) {
	n := 0
	for v, end := i+1, int(d.toks[i].next); v < end; v = int(d.toks[v].next) {
		f(n, v)
		n++
	}
}

// length counts the elements of the array at token i.
func (d *document) length(i int) int {
	n := 0
	for v, end := i+1, int(d.toks[i].next); v < end; v = int(d.toks[v].next) {
		n++
	}
	return n
}

// lookup returns the value of a key of the object at token i; the last one counts.
func (d *document) lookup(i int, name string) (value int, ok bool) {
	d.members(i, func(k, v int) {
		if d.keyIs(k, name) {
			value, ok = v, true
		}
	})
	return value, ok
}

// unquote resolves the escapes of a string that the scanner accepted.
func unquote(b []byte) string {
	i := 0
	for i < len(b) && b[i] != '\\' {
		i++
	}
	if i == len(b) {
		return string(b)
	}
	out := make([]byte, i, len(b))
	copy(out, b)
	for i < len(b) {
		if b[i] != '\\' {
			out = append(out, b[i])
			i++
			continue
		}
		i++
		if i == len(b) {
			break // only a cut-off key of a syntax error gets here
		}
		switch c := b[i]; c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, _ := hex4(b[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				low, _ := hex4(b[i+3:])
				r = utf16.DecodeRune(r, low)
				i += 6
			}
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, c)
		}
		i++
	}
	return string(out)
}

// writePointerKey appends one reference token of a JSON pointer (RFC 6901).
func writePointerKey(b *strings.Builder, key string) {
	b.WriteByte('/')
	if !strings.ContainsAny(key, "~/") {
		b.WriteString(key)
		return
	}
	for i := 0; i < len(key); i++ {
		switch key[i] {
		case '~':
			b.WriteString("~0")
		case '/':
			b.WriteString("~1")
		default:
			b.WriteByte(key[i])
		}
	}
}
