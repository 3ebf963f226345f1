package topology

import (
	"bytes"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/internal/testdata"
)

// allocated returns how many bytes f allocates in all, which its peak heap cannot exceed.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// memoryLimit is what reading n bytes may cost.
func memoryLimit(n int) uint64 { return boundFactor * uint64(1<<20+64*n) }

// fill repeats a part between a head and a tail up to about a size; the part may hold a %, which becomes a different number
// each time.
func fill(head, part, sep, tail string, size int) []byte {
	var b bytes.Buffer
	b.WriteString(head)
	for i := 0; b.Len()+len(part)+len(tail) < size; i++ {
		if i > 0 {
			b.WriteString(sep)
		}
		if j := strings.IndexByte(part, '%'); j >= 0 {
			b.WriteString(part[:j])
			for n := i; n > 0; n /= 36 {
				b.WriteByte("0123456789abcdefghijklmnopqrstuvwxyz"[n%36])
			}
			b.WriteString(part[j+1:])
		} else {
			b.WriteString(part)
		}
	}
	b.WriteString(tail)
	return b.Bytes()
}

// TestMemoryBound: reading needs at most 1 MiB + 64 bytes for each byte of input, whatever the input. The total of all
// allocations is measured, an upper bound of the peak.
func TestMemoryBound(t *testing.T) {
	size := boundSize
	if os.Getenv("HEARTH_SOAK") == "1" {
		size = MaxInput - 1000
	}
	local := `{"publicRoots":[],"localRoots":[`
	cbor := "\x82\x01\x82\x82\x01\x07\x9f"
	pool := "\x82\x82\x01\x01\x82\x82\x01\x01\x9f\x82\x03\x40\xff"
	for name, input := range map[string][]byte{
		"numbers":            fill("[", "0", ",", "]", size),
		"lists":              fill("[", "[]", ",", "]", size),
		"objects":            fill("[", `{"":0}`, ",", "]", size),
		"one name":           fill(local+`{"valency":1,"accessPoints":[`, `{"address":""}`, ",", `]}]}`, size),
		"many names":         fill(local+`{"valency":1,"accessPoints":[`, `{"address":"%"}`, ",", `]}]}`, size),
		"many addresses":     fill(local+`{"valency":1,"accessPoints":[`, `{"address":"::%","port":1}`, ",", `]}]}`, size),
		"many bad ports":     fill(local+`{"valency":1,"accessPoints":[`, `{"address":"%","port":0}`, ",", `]}]}`, size),
		"groups":             fill(local, `{"accessPoints":[],"valency":1}`, ",", `]}`, size),
		"groups of one":      fill(local, `{"accessPoints":[{"address":"%"}],"valency":1}`, ",", `]}`, size),
		"bad groups":         fill(local, `0`, ",", `]}`, size),
		"public roots":       fill(`{"localRoots":[],"publicRoots":[`, `{"accessPoints":[{"address":"%"}]}`, ",", `]}`, size),
		"bootstrap":          fill(`{"localRoots":[],"publicRoots":[],"bootstrapPeers":[`, `{"address":"%"}`, ",", `]}`, size),
		"unknown keys":       fill(`{"localRoots":[],"publicRoots":[],`, `"%":0`, ",", `}`, size),
		"the same key":       fill(`{"localRoots":[],`, `"publicRoots":[]`, ",", `}`, size),
		"long keys":          fill(`{"localRoots":[],"publicRoots":[],`, `"~%`+strings.Repeat("~", 100000)+`":0`, ",", `}`, size),
		"a long number":      fill(`{"localRoots":[],"publicRoots":[],"useLedgerAfterSlot":1`, "5", "", "}", size),
		"a long name":        fill(local+`{"valency":1,"accessPoints":[{"address":"`, `\u00e9`, "", `"}]}]}`, size),
		"a syntax error":     fill(`{"~`, "~", "", `":]`, size),
		"producers":          fill(`{"Producers":[`, `{"addr":"%","port":1,"valency":1}`, ",", `]}`, size),
		"bad producers":      fill(`{"Producers":[`, `{}`, ",", `]}`, size),
		"draft":              fill(`{"PublicRoots":[],"LocalRoots":{"groups":[`, `{"localRoots":{"addrs":[{"addr":"","port":1}]},"valency":1}`, ",", `]}}`, size),
		"snapshot":           fill(`{"version":2,"slotNo":1,"bigLedgerPools":[`, `{"accumulatedStake":1,"relativeStake":1,"relays":[{"address":""}]}`, ",", `]}`, size),
		"snapshot, tiny":     fill(`{"version":2,"slotNo":1,"bigLedgerPools":[`, `{"accumulatedStake":1e-1024,"relativeStake":1e-1024,"relays":[{"address":""}]}`, ",", `]}`, size),
		"snapshot, huge":     fill(`{"version":2,"slotNo":1,"bigLedgerPools":[`, `{"accumulatedStake":1e1024,"relativeStake":1e1024,"relays":[{"address":""}]}`, ",", `]}`, size),
		"snapshot, ratios":   fill(`{"version":2,"slotNo":1,"bigLedgerPools":[`, `{"accumulatedStake":{"numerator":1e1024,"denominator":7e1000},"relativeStake":{"numerator":1e1024,"denominator":3e1023},"relays":[{"address":""}]}`, ",", `]}`, size),
		"snapshot, bad":      fill(`{"version":2,"slotNo":1,"bigLedgerPools":[`, `0`, ",", `]}`, size),
		"relays":             fill(`{"version":2,"slotNo":1,"bigLedgerPools":[{"accumulatedStake":1,"relativeStake":1,"relays":[`, `{"address":""}`, ",", `]}]}`, size),
		"cbor pools":         fill(cbor, pool, "", "\xff", size),
		"cbor relays":        fill(cbor+pool[:len(pool)-4], "\x82\x03\x40", "", "\xff\xff", size),
		"cbor ip relays":     fill(cbor+pool[:len(pool)-4], "\x83\x01\x01\x9f\x01\x02\x03\x04\xff", "", "\xff\xff", size),
		"cbor wide stakes":   fill(cbor, "\x82\x82\xc2\x49123456789\x02\x82\x82\xc2\x49123456780\x02\x9f\x82\x03\x40\xff", "", "\xff", size),
		"cbor nothing":       fill(cbor+pool[:len(pool)-4], "\x82\x03\x40", "", "", size),
		"cbor empty lists":   fill(cbor+pool[:len(pool)-4], "\x80", "", "", size),
		"cbor bignum, bytes": fill(cbor+"\x82\x82\xc2\x5a\x00\x3f\x00\x00", "x", "", "", size),
	} {
		t.Run(name, func(t *testing.T) {
			limit := memoryLimit(len(input))
			require.LessOrEqual(t, allocated(func() { Parse(input, Options{Convert: true}) }), limit, "topology")
			require.LessOrEqual(t, allocated(func() { ParseSnapshot(input, SnapshotOptions{OldDomainKey: true}) }), limit, "snapshot")
			require.LessOrEqual(t, allocated(func() { _, _ = DecodeSnapshot(input) }), limit, "snapshot in CBOR")
		})
	}
}

// seed adds the real files of a folder to a fuzz corpus.
func seed(f *testing.F, dir string) {
	for name := range expectations(f, dir) {
		if data := testdata.Read(f, dir, name); len(data) < 5000 { // the engine is slow with large ones
			f.Add(data)
		}
	}
}

func checkProblems(t *testing.T, data []byte, problems []Problem) {
	require.LessOrEqual(t, len(problems), MaxProblems+1)
	lines := bytes.Split(data, []byte("\n"))
	last := [2]int{}
	for _, p := range problems {
		require.True(t, p.Line >= 1 && p.Line <= len(lines), "%+v", p)
		require.True(t, p.Column >= 1 && p.Column <= len(lines[p.Line-1])+1, "%+v", p)
		at := [2]int{p.Line, p.Column}
		require.False(t, at[0] < last[0] || at[0] == last[0] && at[1] < last[1], "out of order: %+v", p)
		last = at
	}
}

// FuzzTopology: no panic; problems are in order, inside the text and bounded; both modes read the same values; what is read
// survives writing; memory stays bounded.
func FuzzTopology(f *testing.F) {
	seed(f, "topology")
	f.Fuzz(func(t *testing.T, data []byte) {
		var strict *Result
		used := allocated(func() { strict = Parse(data, Options{Convert: true, Genesis: len(data)%2 == 0}) })
		require.LessOrEqual(t, used, memoryLimit(len(data)))
		lenient := Parse(data, Options{Lenient: true, Convert: true})
		checkProblems(t, data, strict.Problems)
		require.Equal(t, strict.Topology, lenient.Topology)
		require.Equal(t, strict.NodeAccepts, lenient.NodeAccepts)
		if lenient.NodeAccepts {
			require.Equal(t, lenient.NodeStarts, lenient.Err() == nil)
		}
		if strict.Err() == nil {
			require.NoError(t, lenient.Err())
		}
		if lenient.Topology != nil && lenient.NodeAccepts {
			again := Parse(lenient.Topology.AppendJSON(nil), Options{Lenient: true})
			require.Equal(t, lenient.Topology, again.Topology)
		}
	})
}

// FuzzSnapshotJSON does the same for snapshots.
func FuzzSnapshotJSON(f *testing.F) {
	seed(f, "peer-snapshot")
	f.Fuzz(func(t *testing.T, data []byte) {
		var r *SnapshotResult
		used := allocated(func() { r = ParseSnapshot(data, SnapshotOptions{OldDomainKey: true}) })
		require.LessOrEqual(t, used, memoryLimit(len(data)))
		checkProblems(t, data, r.Problems)
		if r.Snapshot == nil {
			require.Error(t, r.Err())
			return
		}
		again := ParseSnapshot(r.Snapshot.AppendJSON(nil), SnapshotOptions{Lenient: true})
		require.NoError(t, again.Err())
		NewSnapshotSelection(again.Snapshot)
	})
}

// FuzzSnapshotCBOR: what is decoded is encoded to something that decodes to the same.
func FuzzSnapshotCBOR(f *testing.F) {
	for name := range expectations(f, "peer-snapshot") {
		if s := ParseSnapshot(testdata.Read(f, "peer-snapshot", name), SnapshotOptions{OldDomainKey: true}).Snapshot; s != nil {
			s.Pools = s.Pools[:min(3, len(s.Pools))]
			f.Add(s.AppendCBOR(nil))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var s *Snapshot
		var err error
		used := allocated(func() { s, err = DecodeSnapshot(data) })
		require.LessOrEqual(t, used, memoryLimit(len(data)))
		if err != nil {
			var bad *CBORError
			require.ErrorAs(t, err, &bad)
			return
		}
		again, err := DecodeSnapshot(s.AppendCBOR(nil))
		require.NoError(t, err)
		require.True(t, s.Equal(again))
		NewSnapshotSelection(s)
	})
}
