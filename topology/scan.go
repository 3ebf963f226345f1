package topology

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// syntaxError is the first place where a text stops being JSON.
type syntaxError struct {
	offset  int
	field   string // JSON pointer of the value being read
	message string
}

// maxDepth bounds the nesting of arrays and objects in a file. No field we know lies deeper than eight.
const maxDepth = 512

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
