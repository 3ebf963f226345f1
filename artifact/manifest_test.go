package artifact

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestIDsOfTheSpec(t *testing.T) {
	hello := BodyID(1, []byte("hello"))
	require.Equal(t, "14584bd0e8dc1f376a6c0ccd77be594346934c92a42c48eb6ae53582a7d8d1be", hex.EncodeToString(hello[:]))
	f := RootID(1, flatF(t).Root)
	require.Equal(t, "ba64af9ebdc0c72b26473fa4927747979a23dc1f11e25d5711dcfd9368b13e2d", hex.EncodeToString(f[:]))
	m, err := BuildManifest(bytes.NewReader(make([]byte, 961*4096)), 961*4096, 4096)
	require.NoError(t, err)
	require.Equal(t, "84011a003c1000191000825820df302bbb65387974d47020212b84e8e7cb83c645c2139becbc4698279aa8145358206df76bd5363ea83abc172e3308b1fc871fe9b30045bafa56828453f77e590e57",
		hex.EncodeToString(m.Root))
	require.Equal(t, "830201815820ad7facb2586fc6e966c004d7d1d16b024f5805ff7cb47c7a85dabd8b48892ca7", hex.EncodeToString(m.Parts[1]))
	id := RootID(1, m.Root)
	require.Equal(t, "caa631c8bb5b462d0316bd7ea38ec0e035a62724df6c48fc05df9cdaa7642f27", hex.EncodeToString(id[:]))
}

func TestLargestManifestSizes(t *testing.T) {
	l := layoutOf(MaxArtifact(65536), 65536)
	require.EqualValues(t, 60397977600, l.size)
	require.Equal(t, 960, l.parts)
	require.LessOrEqual(t, l.rootLen(), 32659)
	require.Equal(t, 32648, l.partLen(959))
	require.Equal(t, 32659, layoutOf(MaxArtifact(65536), 65536).rootLen())
	require.EqualValues(t, 15099494400, MaxArtifact(16<<10))
}

func TestManifestRoundTrip(t *testing.T) {
	for _, size := range []int{65537, 65536 + 4096, 960 * 4096, 960*4096 + 1, 1921 * 4096} {
		body := make([]byte, size)
		for i := range body {
			body[i] = byte(i * 7 >> 3)
		}
		m, err := BuildManifest(bytes.NewReader(body), int64(size), 4096)
		require.NoError(t, err)
		require.Len(t, m.Root, m.rootLen())
		got, err := ParseRoot(m.Root, int64(size), 4096)
		require.NoError(t, err)
		for i, p := range m.Parts {
			require.Len(t, p, m.partLen(i))
			require.False(t, got.HasPart(i*manifestFan))
			require.Error(t, got.AddPart(i, append(bytes.Clone(p), 0)))
			require.NoError(t, got.AddPart(i, p))
		}
		for i := 0; i < got.Chunks(); i++ {
			c := body[i*4096 : i*4096+got.chunkLen(i)]
			require.Equal(t, ID(sha256.Sum256(c)), got.ChunkSum(i))
		}
	}
}

func TestManifestRefusesOtherForms(t *testing.T) {
	m := flatF(t)
	bad := func(name string, root []byte, max int64, cs int) {
		_, err := ParseRoot(root, max, cs)
		require.ErrorIs(t, err, ErrManifest, name)
	}
	bad("size above the kind's maximum", m.Root, 65536, 65536)
	bad("chunk size of another kind", m.Root, 1<<20, 16384)
	bad("two levels where flat is due", bytes.Replace(m.Root, []byte{0x84, 0}, []byte{0x84, 1}, 1), 1<<20, 65536)
	bad("a hash too few", m.Root[:len(m.Root)-34], 1<<20, 65536)
	bad("trailing byte", append(bytes.Clone(m.Root), 0), 1<<20, 65536)
	long := append([]byte{0x84, 0x18, 0}, m.Root[2:]...)
	bad("longer head", long, 1<<20, 65536)
	indef := append(append([]byte{0x9f}, m.Root[1:]...), 0xff)
	bad("indefinite", indef, 1<<20, 65536)
	bad("empty", nil, 1<<20, 65536)
	// a flat root of more than 960 chunks
	sums := make([]byte, 961*32)
	b := appendUint([]byte{0x84, 0}, 961*4096)
	bad("flat where two levels are due", appendSums(appendUint(b, 4096), sums), 1<<30, 4096)
	for _, cs := range []int{0, 4095, 5000, 131072} {
		_, err := BuildManifest(bytes.NewReader(nil), 1<<20, cs)
		require.Error(t, err)
	}
	_, err := BuildManifest(bytes.NewReader(nil), 65536, 65536)
	require.Error(t, err, "no manifest at 64 KiB")
	_, err = BuildManifest(bytes.NewReader(make([]byte, 70000)), 80000, 4096)
	require.Error(t, err, "short body")
}

// A flipped bit anywhere in a root, a part or a chunk is noticed.
func TestManifestNoticesEveryBit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(65537, 200000).Draw(t, "size")
		body := make([]byte, size)
		m, err := BuildManifest(bytes.NewReader(body), int64(size), 4096)
		if err != nil {
			t.Fatal(err)
		}
		id := RootID(7, m.Root)
		root := bytes.Clone(m.Root)
		root[rapid.IntRange(0, len(root)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if RootID(7, root) == id || RootID(8, m.Root) == id || BodyID(7, m.Root) == id {
			t.Fatal("same id")
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add(flatF(f).Root)
	m, err := BuildManifest(bytes.NewReader(make([]byte, 961*4096)), 961*4096, 4096)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.Root)
	f.Add(m.Parts[1])
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, cs := range []int{4096, 65536} {
			got, err := ParseRoot(b, 1<<40, cs)
			if err != nil {
				continue
			}
			if len(b) != got.rootLen() || len(got.Parts) != got.parts || got.parts > manifestFan {
				t.Fatal("accepted a root of the wrong shape")
			}
			if got.parts > 0 {
				if got.AddPart(0, b) == nil {
					t.Fatal("a root is no part")
				}
			} else {
				got.ChunkSum(got.chunks - 1)
			}
		}
	})
}
