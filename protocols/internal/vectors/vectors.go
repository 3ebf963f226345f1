// Package vectors holds what the tests of all mini-protocol codecs share: the worked examples of wire §13, the properties
// that every codec must have (wire §16), the replay of captured conversations and a checker for the wire grammar (CDDL).
package vectors

import (
	"bufio"
	_ "embed"
	"encoding/hex"
	"strconv"
	"strings"
	"testing"
)

//go:embed golden.txt
var golden string

// Vector is one worked example of wire §13.
type Vector struct {
	ID, What string
	Bytes    []byte
}

var table = func() map[string]Vector {
	m := map[string]Vector{}
	for sc := bufio.NewScanner(strings.NewReader(golden)); sc.Scan(); {
		if f := strings.Split(sc.Text(), " | "); len(f) == 3 && !strings.HasPrefix(f[0], "#") {
			m[f[0]] = Vector{f[0], f[1], Hex(f[2])}
		}
	}
	return m
}()

// Get returns the example with this identifier and fails the test when there is none.
func Get(t testing.TB, id string) Vector {
	t.Helper()
	v, ok := table[id]
	if !ok {
		t.Fatalf("no vector %s", id)
	}
	return v
}

// IDs returns the identifiers that begin with a letter, in order: C1, C2, …
func IDs(letter string) []string {
	var ids []string
	for n := 1; ; n++ {
		id := letter + strconv.Itoa(n)
		if _, ok := table[id]; !ok {
			return ids
		}
		ids = append(ids, id)
	}
}

// Hex decodes hexadecimal digits, spaces allowed; it panics on anything else, for it is meant for literals.
func Hex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}
