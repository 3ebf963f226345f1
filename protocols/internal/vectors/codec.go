package vectors

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"

	hcbor "github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols"
)

// Codec is a mini-protocol's codec as its tests see it. M is the package's Message.
type Codec[M any] struct {
	Spec   *protocols.Spec
	Decode func(st protocols.State, msg []byte) (M, error)
	Append func(m M, dst []byte) []byte
}

// Case says what an example of wire §13 means.
type Case[M any] struct {
	ID    string
	State protocols.State
	Want  M
	Alt   bool // a form that is accepted and not the one we send
}

// Sample is a message in a state where it is legal.
type Sample[M any] struct {
	State protocols.State
	Msg   M
}

// Golden checks that every example decodes to what it means and that we send the same bytes.
func (c Codec[M]) Golden(t *testing.T, cases []Case[M]) {
	t.Helper()
	for _, k := range cases {
		v := Get(t, k.ID)
		got, err := c.Decode(k.State, v.Bytes)
		if err != nil {
			t.Errorf("%s %s: %v", v.ID, v.What, err)
			continue
		}
		if !reflect.DeepEqual(got, k.Want) {
			t.Errorf("%s %s: got %+v, want %+v", v.ID, v.What, got, k.Want)
		}
		if sent := c.Append(k.Want, nil); bytes.Equal(sent, v.Bytes) == k.Alt {
			t.Errorf("%s %s: we send %x, the example is %x (another form: %v)", v.ID, v.What, sent, v.Bytes, k.Alt)
		}
		if prefix := c.Append(k.Want, []byte("x")); prefix[0] != 'x' {
			t.Errorf("%s: Append does not append", v.ID)
		}
	}
}

// Complete checks that the cases of all codecs cover every example whose identifier begins with letter.
func Complete[M any](t *testing.T, letter string, cases []Case[M]) {
	t.Helper()
	have := map[string]bool{}
	for _, k := range cases {
		have[k.ID] = true
	}
	for _, id := range IDs(letter) {
		if !have[id] {
			t.Errorf("example %s is not tested", id)
		}
	}
}

// Refusal is a message that must not decode in a state.
type Refusal struct {
	Name  string
	State protocols.State
	Hex   string
}

// Refuse checks that none of the messages decodes, and that cutting any of them short or adding a byte does not help.
func (c Codec[M]) Refuse(t *testing.T, cases []Refusal) {
	t.Helper()
	for _, k := range cases {
		if m, err := c.Decode(k.State, Hex(k.Hex)); err == nil {
			t.Errorf("%s: %s decodes in state %s to %+v", k.Name, k.Hex, c.Spec.States[k.State].Name, m)
		}
	}
}

// RoundTrip: what we send is decoded to what we meant (prop_codec).
func (c Codec[M]) RoundTrip(t *testing.T, gen *rapid.Generator[Sample[M]]) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		s := gen.Draw(t, "message")
		msg := c.Append(s.Msg, nil)
		got, err := c.Decode(s.State, msg)
		if err != nil {
			t.Fatalf("%x: %v", msg, err)
		}
		if !reflect.DeepEqual(got, s.Msg) {
			t.Fatalf("%x: got %+v, want %+v", msg, got, s.Msg)
		}
	})
}

// ValidCBOR: what we send is exactly one CBOR item, by our own scanner and by an independent decoder
// (prop_codec_cbor, prop_codec_valid_cbor).
func (c Codec[M]) ValidCBOR(t *testing.T, gen *rapid.Generator[Sample[M]]) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		msg := c.Append(gen.Draw(t, "message").Msg, nil)
		if err := hcbor.Wellformed(msg); err != nil {
			t.Fatalf("%x: %v", msg, err)
		}
		if err := cbor.Wellformed(msg); err != nil {
			t.Fatalf("%x: %v", msg, err)
		}
	})
}

// Splits2 feeds every message in every two chunks (prop_codec_splits2).
func (c Codec[M]) Splits2(t *testing.T, cases []Case[M], gen *rapid.Generator[Sample[M]]) {
	t.Helper()
	c.each(t, cases, gen, func(whole []byte, decode func([]byte)) {
		for i := 0; i <= len(whole); i++ {
			decode(whole[:scan(t, whole, i)])
		}
	})
}

// Splits3 feeds every message of up to 512 bytes in every three chunks, longer ones in 2,000 seeded ways (prop_codec_splits3).
func (c Codec[M]) Splits3(t *testing.T, cases []Case[M], gen *rapid.Generator[Sample[M]]) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	c.each(t, cases, gen, func(whole []byte, decode func([]byte)) {
		n := len(whole)
		if n > 512 {
			for range 2000 {
				i := rnd.IntN(n + 1)
				decode(whole[:scan(t, whole, i, i+rnd.IntN(n+1-i))])
			}
			return
		}
		for i := 0; i <= n; i++ {
			for j := i; j <= n; j++ {
				decode(whole[:scan(t, whole, i, j)])
			}
		}
	})
}

// each runs f on every example and on a few drawn messages; decode must give the same message each time.
func (c Codec[M]) each(t *testing.T, cases []Case[M], gen *rapid.Generator[Sample[M]], f func(whole []byte, decode func([]byte))) {
	t.Helper()
	one := func(st protocols.State, whole []byte, want M) {
		calls := 0
		f(whole, func(msg []byte) {
			// The bytes are the same ones each time; decoding them now and then shows that nothing was kept.
			if calls++; calls%64 != 1 {
				return
			}
			if got, err := c.Decode(st, msg); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%x: got %+v, %v; want %+v", whole, got, err, want)
			}
		})
	}
	for _, k := range cases {
		one(k.State, Get(t, k.ID).Bytes, k.Want)
	}
	for seed := range 10 {
		s := gen.Example(seed)
		one(s.State, c.Append(s.Msg, nil), s.Msg)
	}
}

// scan feeds whole to a scanner, cut at the given places and followed by a byte of a later message, and returns the length it found.
func scan(t *testing.T, whole []byte, cuts ...int) int {
	var s hcbor.Scanner
	buf := append(whole[:len(whole):len(whole)], 0x81)
	for _, end := range append(cuts, len(buf)) {
		n, done, err := s.Next(buf[:end])
		if err != nil || done && n != len(whole) || !done && end >= len(whole) {
			t.Fatalf("%x cut at %v: %d bytes, done %v, %v", whole, cuts, n, done, err)
		}
		if done {
			return n
		}
	}
	t.Fatalf("%x cut at %v: no end", whole, cuts)
	return 0
}

// Fuzz checks on any input: no panic; what decodes is one CBOR item, and what we send for it decodes to the same bytes again.
func (c Codec[M]) Fuzz(t *testing.T, state uint8, msg []byte) {
	st := protocols.State(int(state) % len(c.Spec.States))
	m, err := c.Decode(st, msg)
	if err != nil {
		return
	}
	if err := hcbor.Wellformed(msg); err != nil {
		t.Fatalf("%x decodes to %+v and is malformed: %v", msg, m, err)
	}
	sent := c.Append(m, nil)
	again, err := c.Decode(st, sent)
	if err != nil {
		t.Fatalf("%x decodes, our form of it %x does not: %v", msg, sent, err)
	}
	if twice := c.Append(again, nil); !bytes.Equal(twice, sent) {
		t.Fatalf("%x is not stable: %x", sent, twice)
	}
}

// Seed adds the examples to a fuzz target's corpus.
func (c Codec[M]) Seed(f *testing.F, cases []Case[M]) {
	for _, k := range cases {
		f.Add(uint8(k.State), Get(f, k.ID).Bytes)
	}
}

// DocTable checks that the package documentation in doc.go shows the state table as it is.
func DocTable(t *testing.T, specs ...*protocols.Spec) {
	t.Helper()
	src, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var doc strings.Builder
	for line := range strings.Lines(string(src)) {
		if s, ok := strings.CutPrefix(line, "//\t"); ok {
			doc.WriteString(strings.TrimRight(s, " \n") + "\n")
		}
	}
	for _, sp := range specs {
		if err := sp.Validate(); err != nil {
			t.Error(err)
		}
		var want strings.Builder
		for line := range strings.Lines(sp.String()) {
			want.WriteString(strings.TrimRight(line, " \n") + "\n")
		}
		if !strings.Contains(doc.String(), want.String()) {
			fmt.Println(indent(want.String()))
			t.Errorf("doc.go does not show the table of %s, which is now as printed", sp.Name)
		}
	}
}

func indent(s string) string {
	return "//\t" + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n//\t")
}
