package topology

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// value turns a token into what encoding/json makes of the same text; of repeated keys the last one counts in both.
func (d *document) value(i int) any {
	switch d.toks[i].kind {
	case jsonNull:
		return nil
	case jsonBool:
		return d.isTrue(i)
	case jsonNumber:
		return json.Number(d.raw(i))
	case jsonString:
		return d.text(i)
	case jsonArray:
		out := make([]any, 0, d.length(i))
		d.elements(i, func(_, v int) { out = append(out, d.value(v)) })
		return out
	}
	out := map[string]any{}
	d.members(i, func(k, v int) { out[d.text(k)] = d.value(v) })
	return out
}

var surrogate = regexp.MustCompile(`(?i)\\ud[89a-f]`)

func depth(data []byte) int {
	most, now := 0, 0
	for _, c := range data {
		switch c {
		case '[', '{':
			now++
			most = max(most, now)
		case ']', '}':
			now--
		}
	}
	return most
}

func checkDocument(t *testing.T, data []byte) {
	doc, bad := parseDocument(data)
	if bad != nil {
		// The standard library lets broken UTF-8 and half surrogate pairs pass.
		if json.Valid(data) && utf8.Valid(data) && !surrogate.Match(data) && depth(data) < maxDepth {
			t.Fatalf("refused at %d: %s", bad.offset, bad.message)
		}
		require.True(t, bad.offset >= 0 && bad.offset <= len(data))
		return
	}
	require.True(t, json.Valid(data))
	var want any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	require.NoError(t, dec.Decode(&want))
	require.Equal(t, want, doc.value(0))
	require.EqualValues(t, len(doc.toks), doc.toks[0].next)
}

// TestDocument compares the reader with the standard library on what is easily got wrong.
func TestDocument(t *testing.T) {
	for _, text := range []string{
		`null`, ` true `, "\tfalse\r\n", `0`, `-0`, `1.5e+10`, `1E-3`, `01`, `1.`, `.5`, `+1`, `-`, `1e`, `1e+`, `- 1`, `0x1`, `NaN`,
		`""`, `"\""`, `"\\\/\b\f\n\r\t"`, `"\u00e9\ud83d\ude00"`, `"\ud83d"`, `"\ud83dx"`, `"\ud83d\u0041"`, `"\ude00\ud83d"`, `"\u12"`, `"\u12g4"`, `"\x"`, `"\`,
		`"a`, "\"\x7f\"", "\"\x00\"", "\"\xc3\xa9\"", "\"\xc3\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"",
		`[]`, `[ ]`, `[1,]`, `[,1]`, `[1 2]`, `[1`, `]`, `[[],[[]]]`, `{}`, `{ }`, `{"a":1}`, `{"a":1,}`, `{"a"}`, `{"a":}`, `{a:1}`, `{"a":1 "b":2}`,
		`{"a":1,"a":2}`, `{"\u0061":1,"a":{"b":[{}]}}`, `{"":0}`, `nul`, `nulll`, `tru`, `[true,false,null]`, `1 2`, `{}[]`, ``, ` `,
		`{"a":[1,{"b":"c"},[]],"d":{"e":{}}}`,
	} {
		checkDocument(t, []byte(text))
	}
}

// FuzzJSON: the reader accepts and reads exactly what the standard library does, but for its laxness with UTF-8.
func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"\u00e9\ud83d\ude00"},[-0.5e+3]],"a":null}`))
	f.Fuzz(checkDocument)
}

// TestIntegers compares the integer readers with strconv and big exponents with the obvious.
func TestIntegers(t *testing.T) {
	for text, want := range map[string]string{
		"3001.0": "3001", "3e3": "3000", "30.01e2": "3001", "1e18": "1000000000000000000", "9223372036854775807": "9223372036854775807",
		"-9223372036854775808": "-9223372036854775808", "9223372036854775808": "", "-9223372036854775809": "", "1e19": "", "1.5": "", "1e-1": "",
		"10e-1": "1", "0e-99": "0", "-0": "0", "0.0": "0", "1e99999999999999999999": "", "0e99999999999999999999": "0", "1e-99999999999999999999": "",
	} {
		n, ok := parseDecimal([]byte(text)).int64()
		require.Equal(t, want != "", ok, text)
		if ok {
			require.Equal(t, want, strconv.FormatInt(n, 10), text)
		}
	}
	for text, want := range map[string]string{"18446744073709551615": "18446744073709551615", "18446744073709551616": "", "-1": "", "-0": "0", "1e3": "1000", "0.5": ""} {
		n, ok := parseDecimal([]byte(text)).uint64()
		require.Equal(t, want != "", ok, text)
		if ok {
			require.Equal(t, want, strconv.FormatUint(n, 10), text)
		}
	}
}
