package vectors

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func grammar(t *testing.T, files map[string]string) (*Grammar, error) {
	t.Helper()
	g := &Grammar{rules: map[string]node{}}
	first, err := g.load("main", func(f string) string { return files[f] })
	g.root = name(first)
	return g, err
}

func TestGrammarMatches(t *testing.T) {
	g, err := grammar(t, map[string]string{
		"main": `
; a comment
message = a / b / c
        / d
a = [0, word16]
  / [4, base.word8, base.word8] ; another one
b = [1, {* key => [0..1, bool]
         , * 7 => any }]
c = [2, [ * base.item ], tstr, false / true]
d = [3]
word16 = uint .size 2
key = 5 / 6
;# import other as base`,
		"other": "item = int\nword8 = uint .size 1; 1 byte\n",
	})
	require.NoError(t, err)
	for _, h := range []string{
		"8103", "820019ffff", "8304" + "18ff" + "00", "8201a0", "8201a105" + "8201f5", "8201a2068200f407" + "9fff", "84028060f4", "8402830020376161f5", "84029f00ff60f5",
	} {
		require.NoError(t, g.Match(Hex(h)), h)
	}
	for _, h := range []string{
		"", "03", "8104", "820103", "810300", "82001a00010000", "820020", "8304190100" + "00", "830400", "8201a104f6", "8201a1058202f5", "8201a1058201f6", "8201a10581f5",
		"840280" + "40f4", "84028141f460f4", "840281f660f4", "84028060f6", "83028060", "8201", "8103" + "00",
	} {
		require.Error(t, g.Match(Hex(h)), h)
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		msg := g.Draw(rnd, nil)
		require.NoError(t, g.Match(msg), "%x", msg)
	}
	msg := g.Draw(rnd, map[string]func(*rand.Rand) []byte{"main.message": func(*rand.Rand) []byte { return Hex("8109") }})
	require.Equal(t, Hex("8109"), msg)
}

// Nothing that the parser does not know is passed over.
func TestGrammarRefusesUnknownSyntax(t *testing.T) {
	for _, src := range []string{
		"a = [0, ? b]", "a = (0)", "a = 0 // 1", "a = bstr .size 4", "a = uint .le 5", "a = [0", "a = { b => }", "a = x.y", "= 5", "a 5", `a = "x"`,
	} {
		_, err := grammar(t, map[string]string{"main": src})
		require.Error(t, err, src)
	}
	g, err := grammar(t, map[string]string{"main": "a = [b]"})
	require.NoError(t, err)
	require.ErrorContains(t, g.Match(Hex("8100")), "no rule")
}

func TestIndefinite(t *testing.T) {
	require.Equal(t, Hex("82019f8200010203ff"), Indefinite(Hex("820183820001"+"0203")))
	require.Equal(t, Hex("8106"), Indefinite(Hex("8106")))
	require.Equal(t, Hex("8400f50003"), Indefinite(Hex("8400f50003")))
	require.Equal(t, Hex("82039fff"), Indefinite(Hex("820380")))
}

func TestVectorsAreComplete(t *testing.T) {
	for letter, n := range map[string]int{"H": 12, "C": 14, "B": 6, "T": 9, "K": 4, "P": 7, "S": 4, "M": 13, "Q": 14, "O": 6, "G": 11} {
		require.Len(t, IDs(letter), n, letter)
	}
}
