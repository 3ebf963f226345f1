package topology

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxInput is the largest file that is read, in bytes (governor §8.3).
const MaxInput = 16 << 20

// maxDepth bounds the nesting of arrays and objects in a file. No field we know lies deeper than eight.
const maxDepth = 512

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

// syntaxError is the first place where a text stops being JSON.
type syntaxError struct {
	offset  int
	field   string // JSON pointer of the value being read
	message string
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

// scanner is a recursive descent reader of RFC 8259, as strict as aeson: no byte order mark, valid UTF-8, paired surrogates.
type scanner struct {
	src   []byte
	pos   int
	depth int
	count int
	keep  bool
	toks  []jsonToken
	path  [maxDepth]pathElem // where we are, for the pointer of a syntax error
}

// pathElem is a key (its text in src, quotes excluded) or, when end is negative, an index in start.
type pathElem struct{ start, end int }

func (s *scanner) document() *syntaxError {
	s.space()
	if err := s.value(); err != nil {
		return err
	}
	s.space()
	if s.pos < len(s.src) {
		return s.fail("text behind the end of the document")
	}
	return nil
}

func (s *scanner) value() *syntaxError {
	if s.pos >= len(s.src) {
		return s.fail("the text ends where a value is expected")
	}
	switch c := s.src[s.pos]; {
	case c == '{':
		return s.object()
	case c == '[':
		return s.array()
	case c == '"':
		return s.str()
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	case c == 't':
		return s.word("true", jsonBool)
	case c == 'f':
		return s.word("false", jsonBool)
	case c == 'n':
		return s.word("null", jsonNull)
	}
	return s.fail("a value is expected, not " + s.here())
}

func (s *scanner) object() *syntaxError {
	i := s.open(jsonObject)
	if err := s.enter(); err != nil {
		return err
	}
	s.pos++
	s.space()
	if !s.take('}') {
		for {
			if s.pos >= len(s.src) || s.src[s.pos] != '"' {
				return s.fail("a key in quotes is expected, not " + s.here())
			}
			start := s.pos
			if err := s.str(); err != nil {
				return err
			}
			s.path[s.depth-1] = pathElem{start + 1, s.pos - 1}
			s.space()
			if !s.take(':') {
				return s.fail("a colon is expected, not " + s.here())
			}
			s.space()
			if err := s.value(); err != nil {
				return err
			}
			s.path[s.depth-1] = pathElem{}
			s.space()
			if s.take('}') {
				break
			}
			if !s.take(',') {
				return s.fail("a comma or a closing brace is expected, not " + s.here())
			}
			s.space()
		}
	}
	s.depth--
	s.close(i)
	return nil
}

func (s *scanner) array() *syntaxError {
	i := s.open(jsonArray)
	if err := s.enter(); err != nil {
		return err
	}
	s.pos++
	s.space()
	if !s.take(']') {
		for n := 0; ; n++ {
			s.path[s.depth-1] = pathElem{n, -1}
			if err := s.value(); err != nil {
				return err
			}
			s.path[s.depth-1] = pathElem{}
			s.space()
			if s.take(']') {
				break
			}
			if !s.take(',') {
				return s.fail("a comma or a closing bracket is expected, not " + s.here())
			}
			s.space()
		}
	}
	s.depth--
	s.close(i)
	return nil
}

func (s *scanner) str() *syntaxError {
	i := s.open(jsonString)
	s.pos++
	for {
		if s.pos >= len(s.src) {
			return s.fail("the text ends inside a string")
		}
		c := s.src[s.pos]
		switch {
		case c == '"':
			s.pos++
			s.close(i)
			return nil
		case c < 0x20:
			return s.fail("a control character inside a string must be escaped")
		case c == '\\':
			if err := s.escape(); err != nil {
				return err
			}
		case c < utf8.RuneSelf:
			s.pos++
		default:
			r, n := utf8.DecodeRune(s.src[s.pos:])
			if r == utf8.RuneError && n == 1 {
				return s.fail("a string is not valid UTF-8")
			}
			s.pos += n
		}
	}
}

func (s *scanner) escape() *syntaxError {
	rest := s.src[s.pos+1:]
	if len(rest) == 0 {
		return s.fail("the text ends inside a string")
	}
	switch rest[0] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos += 2
		return nil
	case 'u':
		r, ok := hex4(rest[1:])
		if !ok {
			return s.fail("\\u needs four hexadecimal digits")
		}
		if !utf16.IsSurrogate(r) {
			s.pos += 6
			return nil
		}
		if len(rest) >= 7 && rest[5] == '\\' && rest[6] == 'u' {
			if low, ok := hex4(rest[7:]); ok && utf16.DecodeRune(r, low) != utf8.RuneError {
				s.pos += 12
				return nil
			}
		}
		return s.fail("half of a surrogate pair")
	}
	return s.fail("an unknown escape in a string")
}

func (s *scanner) number() *syntaxError {
	i := s.open(jsonNumber)
	s.take('-')
	if !s.take('0') {
		if !s.digits() {
			return s.fail("a digit is expected, not " + s.here())
		}
	} else if s.pos < len(s.src) && '0' <= s.src[s.pos] && s.src[s.pos] <= '9' {
		return s.fail("a number must not start with a zero")
	}
	if s.take('.') && !s.digits() {
		return s.fail("a digit is expected behind the decimal point, not " + s.here())
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		if !s.digits() {
			return s.fail("a digit is expected in the exponent, not " + s.here())
		}
	}
	s.close(i)
	return nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.src) && '0' <= s.src[s.pos] && s.src[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}

func (s *scanner) word(w string, k jsonKind) *syntaxError {
	if len(s.src)-s.pos < len(w) || string(s.src[s.pos:s.pos+len(w)]) != w {
		return s.fail("a value is expected, not " + s.here())
	}
	i := s.open(k)
	s.pos += len(w)
	s.close(i)
	return nil
}

func (s *scanner) open(k jsonKind) int {
	s.count++
	if s.keep {
		s.toks = append(s.toks, jsonToken{start: uint32(s.pos), kind: k})
	}
	return s.count - 1
}

func (s *scanner) close(i int) {
	if s.keep {
		s.toks[i].end = uint32(s.pos)
		s.toks[i].next = uint32(s.count)
	}
}

func (s *scanner) enter() *syntaxError {
	if s.depth == maxDepth {
		return s.fail("nested more than " + strconv.Itoa(maxDepth) + " deep")
	}
	s.path[s.depth] = pathElem{}
	s.depth++
	return nil
}

func (s *scanner) take(c byte) bool {
	if s.pos < len(s.src) && s.src[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

func (s *scanner) space() {
	for s.pos < len(s.src) {
		switch s.src[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// here names what stands at the current position.
func (s *scanner) here() string {
	if s.pos >= len(s.src) {
		return "the end of the text"
	}
	r, n := utf8.DecodeRune(s.src[s.pos:])
	if r == utf8.RuneError && n <= 1 {
		return "byte 0x" + strconv.FormatUint(uint64(s.src[s.pos]), 16)
	}
	return strconv.QuoteRune(r)
}

func (s *scanner) fail(message string) *syntaxError {
	var b strings.Builder
	for _, e := range s.path[:s.depth] {
		switch {
		case e.end < 0:
			b.WriteString("/" + strconv.Itoa(e.start))
		case e.start > 0: // 0, 0: between two members
			writePointerKey(&b, unquote(s.src[e.start:e.end]))
		}
	}
	return &syntaxError{offset: s.pos, field: b.String(), message: message}
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

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
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
