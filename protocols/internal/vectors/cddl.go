package vectors

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/internal/testdata"
	"github.com/hearthnet/hearth/protocols"
)

// Grammar is a wire grammar: the part of CDDL (RFC 8610) that the grammars of the mini-protocols use. These are choices,
// arrays and maps with occurrences, integers and ranges, .size, the names of the prelude, and ";# import file as name".
type Grammar struct {
	root  node
	rules map[string]node // by "file.rule"
}

// node is a type of the grammar.
type node interface {
	// match reads one item.
	match(g *Grammar, r *cbor.Reader) error
	// draw appends a random item.
	draw(g *Grammar, dst []byte, rnd *rand.Rand) []byte
}

type (
	choice []node
	number struct{ lo, hi uint64 }
	name   string // of a rule, "file.rule"
	prim   string // of the prelude
	array  []entry
	mapped []entry
	entry  struct {
		key, value node // key is nil in arrays
		many       bool // any number of them
	}
)

// Override replaces a rule where the grammar is narrower than the wire.
type Override struct {
	Rule, With string
	Why        string // the line of wire §14
}

// LoadGrammar reads cddl/<file>.cddl and what it imports. The first rule is the root.
func LoadGrammar(t testing.TB, file string, overrides ...Override) *Grammar {
	t.Helper()
	g := &Grammar{rules: map[string]node{}}
	first, err := g.load(file, func(f string) string { return string(testdata.Read(t, "cddl", f+".cddl")) })
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range overrides {
		p := parser{g: g, file: file, tokens: tokenize(o.With)}
		if _, ok := g.rules[file+"."+o.Rule]; !ok || o.Why == "" {
			t.Fatalf("override of %s in %s: no such rule or no reason", o.Rule, file)
		}
		g.rules[file+"."+o.Rule] = p.choice()
	}
	g.root = name(first)
	return g
}

var (
	importLine = regexp.MustCompile(`(?m)^;# import (\S+) as (\S+)`)
	comment    = regexp.MustCompile(`;[^\n]*`)
	token      = regexp.MustCompile(`=>|\.\.|\.size|[A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)?|\d+|[=/\[\]{},*]|\S`)
)

func tokenize(s string) []string { return token.FindAllString(comment.ReplaceAllString(s, ""), -1) }

// load parses a file into g.rules and returns the full name of its first rule.
func (g *Grammar) load(file string, read func(string) string) (first string, err error) {
	src := read(file)
	p := parser{g: g, file: file, imports: map[string]string{}, tokens: tokenize(src)}
	for _, m := range importLine.FindAllStringSubmatch(src, -1) {
		p.imports[m[2]] = m[1]
		if _, err := g.load(m[1], read); err != nil {
			return "", err
		}
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s.cddl: %v", file, r)
		}
	}()
	for len(p.tokens) > 0 {
		rule := file + "." + p.next()
		p.want("=")
		g.rules[rule] = p.choice()
		if first == "" {
			first = rule
		}
	}
	return first, nil
}

// parser is a recursive descent; it panics on what it does not know, so that no rule is silently ignored.
type parser struct {
	g       *Grammar
	file    string
	imports map[string]string
	tokens  []string
}

func (p *parser) peek(n int) string {
	if n < len(p.tokens) {
		return p.tokens[n]
	}
	return ""
}

func (p *parser) next() string {
	s := p.peek(0)
	if s == "" {
		panic("unexpected end")
	}
	p.tokens = p.tokens[1:]
	return s
}

func (p *parser) want(s string) {
	if got := p.next(); got != s {
		panic(fmt.Sprintf("%q where %q is due", got, s))
	}
}

func (p *parser) choice() node {
	c := choice{p.single()}
	for p.peek(0) == "/" {
		p.next()
		c = append(c, p.single())
	}
	if len(c) == 1 {
		return c[0]
	}
	return c
}

func (p *parser) number() uint64 {
	n, err := strconv.ParseUint(p.next(), 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func (p *parser) single() node {
	switch s := p.peek(0); {
	case s == "[":
		p.next()
		return array(p.entries("]", false))
	case s == "{":
		p.next()
		return mapped(p.entries("}", true))
	case s != "" && s[0] >= '0' && s[0] <= '9':
		n := number{}
		n.lo = p.number()
		n.hi = n.lo
		if p.peek(0) == ".." {
			p.next()
			n.hi = p.number()
		}
		return n
	}
	s := p.next()
	if p.peek(0) == ".size" {
		p.next()
		if bytes := p.number(); s == "uint" && bytes <= 8 {
			return number{0, 1<<(8*bytes) - 1} // 1<<64 is 0: all 64 bits
		}
		panic(".size of " + s)
	}
	switch s {
	case "any", "bool", "true", "false", "uint", "int", "integer", "tstr", "text", "bstr":
		return prim(s)
	}
	if alias, rule, ok := strings.Cut(s, "."); ok {
		if p.imports[alias] == "" {
			panic("no import " + alias)
		}
		return name(p.imports[alias] + "." + rule)
	}
	if !regexp.MustCompile(`^[A-Za-z_]`).MatchString(s) {
		panic("unknown " + s)
	}
	return name(p.file + "." + s)
}

func (p *parser) entries(end string, keys bool) (list []entry) {
	for p.peek(0) != end {
		var e entry
		if p.peek(0) == "*" {
			p.next()
			e.many = true
		}
		if e.value = p.choice(); keys {
			e.key = e.value
			p.want("=>")
			e.value = p.choice()
		}
		list = append(list, e)
		if p.peek(0) != end {
			p.want(",")
		}
	}
	p.next()
	return list
}

// Match reports whether msg is what the grammar's root describes.
func (g *Grammar) Match(msg []byte) error {
	r := cbor.NewReader(msg)
	if err := g.root.match(g, &r); err != nil {
		return err
	}
	return r.Done()
}

var errMatch = errors.New("no match")

func (c choice) match(g *Grammar, r *cbor.Reader) error {
	for _, n := range c {
		attempt := *r
		if n.match(g, &attempt) == nil {
			*r = attempt
			return nil
		}
	}
	return errMatch
}

func (n number) match(_ *Grammar, r *cbor.Reader) error {
	if v := r.Uint(); r.Err() == nil && (v < n.lo || v > n.hi) {
		return errMatch
	}
	return r.Err()
}

func (n name) match(g *Grammar, r *cbor.Reader) error {
	rule := g.rules[string(n)]
	if rule == nil {
		return fmt.Errorf("no rule %s", n)
	}
	return rule.match(g, r)
}

func (p prim) match(_ *Grammar, r *cbor.Reader) error {
	switch p {
	case "any":
		r.Raw()
	case "bool":
		r.Bool()
	case "true", "false":
		if r.Bool() != (p == "true") {
			return errMatch
		}
	case "uint":
		r.Uint()
	case "int":
		if r.Peek() != cbor.TypeUint && r.Peek() != cbor.TypeNegative {
			return errMatch
		}
		r.Raw()
	case "integer":
		r.BigInt()
	case "tstr", "text":
		r.Text()
	case "bstr":
		r.Bytes()
	}
	return r.Err()
}

func (a array) match(g *Grammar, r *cbor.Reader) error {
	var items [][]byte
	for l := r.List(); r.More(&l); {
		items = append(items, r.Raw())
	}
	if r.Err() != nil {
		return r.Err()
	}
	return sequence(g, a, items)
}

// sequence matches items with entries, trying all numbers of repetition.
func sequence(g *Grammar, entries []entry, items [][]byte) error {
	if len(entries) == 0 {
		if len(items) > 0 {
			return errMatch
		}
		return nil
	}
	e := entries[0]
	if e.many && sequence(g, entries[1:], items) == nil {
		return nil
	}
	if len(items) == 0 {
		return errMatch
	}
	one := cbor.NewReader(items[0])
	if err := e.value.match(g, &one); err != nil {
		return err
	}
	if e.many {
		return sequence(g, entries, items[1:])
	}
	return sequence(g, entries[1:], items[1:])
}

func (m mapped) match(g *Grammar, r *cbor.Reader) error {
	n, indefinite := r.Map()
	for i := 0; r.Err() == nil && (indefinite && !r.Break() || !indefinite && i < n); i++ {
		key, value := r.Raw(), r.Raw()
		ok := r.Err() == nil
		for j := range m {
			k, v := cbor.NewReader(key), cbor.NewReader(value)
			if ok = m[j].many && m[j].key.match(g, &k) == nil && m[j].value.match(g, &v) == nil; ok {
				break
			}
		}
		if !ok {
			return errMatch
		}
	}
	return r.Err()
}

// Draw returns a random message of the grammar. The rules named in hooks are drawn by them instead, for what the grammar
// leaves open ("any") or cannot say, such as the order of a map's keys.
func (g *Grammar) Draw(rnd *rand.Rand, hooks map[string]func(*rand.Rand) []byte) []byte {
	with := &Grammar{root: g.root, rules: map[string]node{}}
	for k, v := range g.rules {
		with.rules[k] = v
	}
	for k, f := range hooks {
		with.rules[k] = hook(f)
	}
	return with.root.draw(with, nil, rnd)
}

type hook func(*rand.Rand) []byte

func (h hook) match(*Grammar, *cbor.Reader) error { return errMatch }
func (h hook) draw(_ *Grammar, dst []byte, rnd *rand.Rand) []byte {
	return append(dst, h(rnd)...)
}

func (c choice) draw(g *Grammar, dst []byte, rnd *rand.Rand) []byte {
	return c[rnd.IntN(len(c))].draw(g, dst, rnd)
}

func (n number) draw(_ *Grammar, dst []byte, rnd *rand.Rand) []byte {
	v := rnd.Uint64() >> rnd.IntN(64)
	if span := n.hi - n.lo + 1; span != 0 {
		v %= span
	}
	return cbor.AppendUint(dst, n.lo+v)
}

func (n name) draw(g *Grammar, dst []byte, rnd *rand.Rand) []byte {
	return g.rules[string(n)].draw(g, dst, rnd)
}

func (p prim) draw(_ *Grammar, dst []byte, rnd *rand.Rand) []byte {
	switch p {
	case "bool":
		return cbor.AppendBool(dst, rnd.IntN(2) == 0)
	case "true", "false":
		return cbor.AppendBool(dst, p == "true")
	case "uint":
		return cbor.AppendUint(dst, rnd.Uint64()>>rnd.IntN(64))
	case "int", "integer":
		return cbor.AppendInt(dst, int64(rnd.Uint64())>>rnd.IntN(64))
	case "tstr", "text":
		return cbor.AppendText(dst, strconv.FormatUint(rnd.Uint64()>>rnd.IntN(64), 36))
	case "bstr":
		return cbor.AppendBytes(dst, make([]byte, rnd.IntN(40)))
	}
	any := []string{"00", "20", "6161", "4101", "80", "820601", "a10001", "f6", "c24101", "9f00ff", "d8184100"}
	return append(dst, Hex(any[rnd.IntN(len(any))])...)
}

func (a array) draw(g *Grammar, dst []byte, rnd *rand.Rand) []byte {
	n := 0
	var items []byte
	for _, e := range a {
		times := 1
		if e.many {
			times = rnd.IntN(5)
		}
		for range times {
			items = e.value.draw(g, items, rnd)
			n++
		}
	}
	return append(cbor.AppendArray(dst, n), items...)
}

func (m mapped) draw(g *Grammar, dst []byte, rnd *rand.Rand) []byte {
	n := 0
	var items []byte
	for _, e := range m {
		for range rnd.IntN(3) {
			items = e.value.draw(g, e.key.draw(g, items, rnd), rnd)
			n++
		}
	}
	return append(cbor.AppendMap(dst, n), items...)
}

// ValidCDDL checks that every example and every drawn message is in the grammar (prop_encode…), and that messages drawn from
// the grammar decode in some state (unit_decode…). fix, if not nil, changes a drawn message in what the grammar cannot say.
func (c Codec[M]) ValidCDDL(t *testing.T, g *Grammar, cases []Case[M], gen *rapid.Generator[Sample[M]],
	hooks map[string]func(*rand.Rand) []byte, fix func([]byte) []byte) {
	t.Helper()
	for _, k := range cases {
		if v := Get(t, k.ID); g.Match(v.Bytes) != nil {
			t.Errorf("%s %s is not in the grammar", v.ID, v.What)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		msg := c.Append(gen.Draw(t, "message").Msg, nil)
		if g.Match(msg) != nil {
			t.Fatalf("%x is not in the grammar", msg)
		}
	})
	rnd := rand.New(rand.NewPCG(3, 4))
	tags := map[byte]bool{}
	for range 500 {
		msg := g.Draw(rnd, hooks)
		if g.Match(msg) != nil {
			t.Fatalf("%x was drawn from the grammar and is not in it", msg)
		}
		if fix != nil {
			msg = fix(msg)
		}
		tags[msg[1]] = true
		decoded := false
		for st := range c.Spec.States {
			if _, err := c.Decode(protocols.State(st), msg); err == nil {
				decoded = true
			}
		}
		if !decoded {
			t.Fatalf("%x is in the grammar and decodes in no state", msg)
		}
	}
	for _, row := range c.Spec.Transitions {
		if !tags[byte(row.Tag)] {
			t.Errorf("the grammar has no %s", row.Message)
		}
	}
}

// Indefinite turns the list that is the last element of a message, if it is one, into its indefinite form.
func Indefinite(msg []byte) []byte {
	r := cbor.NewReader(msg)
	n := r.AnyDefArray()
	for range n - 1 {
		r.Raw()
	}
	start := r.Offset()
	if r.Peek() != cbor.TypeArray {
		return msg
	}
	r.Array()
	return cbor.AppendBreak(append(cbor.AppendIndefArray(msg[:start:start]), msg[r.Offset():]...))
}
