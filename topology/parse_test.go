package topology

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/internal/testdata"
)

// expectations reads an expected.json, without the free text.
func expectations(t testing.TB, dir string) map[string]map[string]any {
	t.Helper()
	var out map[string]map[string]any
	require.NoError(t, json.Unmarshal(testdata.Read(t, dir, "expected.json"), &out))
	for _, e := range out {
		delete(e, "why")
	}
	return out
}

func generic(t testing.TB, v any) map[string]any {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	var out map[string]any
	require.NoError(t, json.Unmarshal(b, &out))
	return out
}

// TestExpected: what is read agrees with the expectations in every value, in both modes; absent values are null.
func TestExpected(t *testing.T) {
	all := expectations(t, "topology")
	for name, want := range all {
		for _, lenient := range []bool{true, false} {
			r := Parse(testdata.Read(t, "topology", name), Options{Lenient: lenient})
			got := generic(t, r.Report())
			for _, key := range []string{"format", "json", "node_accepts", "node_starts", "parsed", "old"} {
				require.Equal(t, want[key], got[key], "%s: %s", name, key)
			}
			if lenient {
				require.Equal(t, want["node_starts"] == true, r.Err() == nil, "%s: %v", name, r.Err())
			}
			for _, p := range r.Problems {
				require.Positive(t, p.Line, name)
				require.Positive(t, p.Column, name)
			}
		}
	}
	found := 0
	require.NoError(t, filepath.WalkDir(testdata.Path(t, "topology"), func(_ string, d fs.DirEntry, err error) error {
		if !d.IsDir() && d.Name() != "expected.json" {
			found++
		}
		return err
	}))
	require.Equal(t, found, len(all), "every file has an expectation")
}

// TestStrictAddsErrors: among the files that cardano-node starts with, strict reading refuses two.
func TestStrictAddsErrors(t *testing.T) {
	for name, want := range expectations(t, "topology") {
		if want["node_starts"] != true {
			continue
		}
		r := Parse(testdata.Read(t, "topology", name), Options{})
		refused := name == "own/all-fields.json" || name == "own/port-as-string.json"
		require.Equal(t, refused, r.Err() != nil, "%s: %v", name, r.Err())
	}
}

// TestPositions: strict reading names line, column and field of the error in each invalid file.
func TestPositions(t *testing.T) {
	for name, want := range map[string]string{
		"diffusion-mode":          "12:24 /localRoots/0/diffusionMode",
		"missing-public-roots":    "1:1 /publicRoots",
		"no-valency":              "3:5 /localRoots/0/hotValency",
		"node-tests-template":     "7:47 /LocalRoots/groups/0/localRoots/accessPoints/0/port",
		"preview-template":        "13:18 /localRoots/0/valency",
		"producers-missing-comma": "1:68 /Producers",
		"slot-string":             "4:25 /useLedgerAfterSlot",
		"trailing-comma":          "5:1 ",
		"unspecified-address":     "6:22 /localRoots/0/accessPoints/0/address",
	} {
		r := Parse(testdata.Read(t, "topology", "invalid", name+".json"), Options{File: name})
		var errs []string
		for _, p := range r.Problems {
			if p.Severity == Error {
				errs = append(errs, fmt.Sprintf("%d:%d %s", p.Line, p.Column, p.Field))
			}
		}
		require.Equal(t, []string{want}, errs, name)
		var invalid *InvalidError
		require.ErrorAs(t, r.Err(), &invalid)
		require.Contains(t, invalid.Error(), name)
	}
}

// problemsOf lists the problems of a text as "severity field" and checks their positions: each § in the text marks one, in
// document order, and is taken out before reading.
func problemsOf(t *testing.T, marked string, opt Options) []string {
	t.Helper()
	var want []string
	text := ""
	for i, part := range strings.Split(marked, "§") {
		if i > 0 {
			want = append(want, fmt.Sprintf("%d:%d", strings.Count(text, "\n")+1, len(text)-strings.LastIndex(text, "\n")))
		}
		text += part
	}
	out := []string{}
	var got []string
	for _, p := range Parse([]byte(text), opt).Problems {
		out = append(out, fmt.Sprintf("%s %s", p.Severity, p.Field))
		got = append(got, fmt.Sprintf("%d:%d", p.Line, p.Column))
	}
	require.Equal(t, want, got, "positions")
	return out
}

// TestRules goes through the traps and the rules of governor §8 one by one.
func TestRules(t *testing.T) {
	group := func(body string) string {
		return "{\"localRoots\": [\n{" + body + "}\n], \"publicRoots\": []}"
	}
	one := `"accessPoints":[{"address":"10.0.0.1","port":1}]`
	for _, c := range []struct {
		name, text string
		opt        Options
		strict     []string
		lenient    []string // nil: the same
	}{
		{"all at once", `{"localRoots": [§{"accessPoints": [{"address": §5, "port": 1}, §7], "advertise": §1}],
"publicRoots": §{}, "useLedgerAfterSlot": §[]}`, Options{}, []string{
			"error /localRoots/0/hotValency", "error /localRoots/0/accessPoints/0/address",
			"error /localRoots/0/accessPoints/1", "error /localRoots/0/advertise",
			"error /publicRoots", "error /useLedgerAfterSlot"}, nil},
		{"keys are case-sensitive", `{"localRoots":[],"publicRoots":[],§"PublicRoots":[],§"localroots":1}`, Options{},
			[]string{"warning /PublicRoots", "warning /localroots"}, nil},
		{"the last key counts", `{"localRoots":5,"publicRoots":[],§"localRoots":[]}`, Options{}, []string{"warning /localRoots"}, nil},
		{"an escaped key is the same key", `{"local\u0052oots":[],"publicRoots":[]}`, Options{}, []string{}, nil},
		{"bad ports", group(`"accessPoints":[{"address":"a","port":§0},{"address":"b","port":§65536},{"address":"c","port":§null},
{"address":"d","port":§1.5},{"address":"e","port":§"1"},{"address":"f","port":3e3},{"address":"g","port":3001.0}],"valency":1`), Options{},
			[]string{"error /localRoots/0/accessPoints/0/port", "error /localRoots/0/accessPoints/1/port",
				"error /localRoots/0/accessPoints/2/port", "error /localRoots/0/accessPoints/3/port",
				"error /localRoots/0/accessPoints/4/port"},
			[]string{"warning /localRoots/0/accessPoints/0/port", "warning /localRoots/0/accessPoints/1/port",
				"warning /localRoots/0/accessPoints/2/port", "warning /localRoots/0/accessPoints/3/port",
				"warning /localRoots/0/accessPoints/4/port"}},
		{"unreachable valency", group(one + `,"valency":§2`), Options{}, []string{"error /localRoots/0/valency"},
			[]string{"warning /localRoots/0/valency"}},
		{"a name may have several addresses", group(`"accessPoints":[{"address":"a","port":1}],"hotValency":9`), Options{}, []string{}, nil},
		{"an IP address without a port is a name", group(`"accessPoints":[{"address":§"10.0.0.1"}],"hotValency":9`), Options{},
			[]string{"warning /localRoots/0/accessPoints/0/address"}, nil},
		{"valency falls through", group(one + `,"valency":§"x","hotValency":1`), Options{}, []string{"warning /localRoots/0/valency"}, nil},
		{"valency wins", group(one + `,"valency":1,"hotValency":§7`), Options{}, []string{"warning /localRoots/0/hotValency"}, nil},
		{"no integer at all", group(one + `,"valency":§1.5,"hotValency":null`), Options{}, []string{"error /localRoots/0/valency"}, nil},
		{"neither integer", group(one + `,"valency":"1","hotValency":§"1"`), Options{}, []string{"error /localRoots/0/hotValency"}, nil},
		{"null is no valency", group(one + `,"valency":null,"hotValency":1`), Options{}, []string{}, nil},
		{"negative valency is taken", group(one + `,"valency":§-1`), Options{}, []string{"warning /localRoots/0/valency"}, nil},
		{"hot 0", group(one + `,"hotValency":§0,"warmValency":1`), Options{}, []string{"warning /localRoots/0/hotValency"}, nil},
		{"warm below hot", group(`"accessPoints":[{"address":"a","port":1}],"hotValency":2,"warmValency":§1`), Options{},
			[]string{"warning /localRoots/0/warmValency"}, nil},
		{"warm above the group", group(one + `,"hotValency":1,"warmValency":§2`), Options{}, []string{"warning /localRoots/0/warmValency"}, nil},
		{"null is absent", group(one + `,"hotValency":1,"warmValency":null,"advertise":null,"trustable":null,"behindFirewall":null,"diffusionMode":null`),
			Options{}, []string{}, nil},
		{"no access points", group(`"accessPoints":§[],"hotValency":1`), Options{}, []string{"warning /localRoots/0/accessPoints"}, nil},
		{"taken by an earlier group", "{\"localRoots\":[{" + one + ",\"valency\":1},\n{" + strings.ReplaceAll(one, "[{", "§[§{") + ",\"valency\":1}],\"publicRoots\":[]}", Options{},
			[]string{"warning /localRoots/1/accessPoints", "warning /localRoots/1/accessPoints/0"}, nil},
		{"a vanishing group takes its addresses all the same",
			"{\"localRoots\":[{" + one + ",\"valency\":§0},\n{\"accessPoints\":[§{\"address\":\"10.0.0.1\",\"port\":1},{\"address\":\"10.0.0.2\",\"port\":1}],\"valency\":§2}],\"publicRoots\":[]}",
			Options{Lenient: true}, []string{"warning /localRoots/0/valency", "warning /localRoots/1/accessPoints/0",
				"warning /localRoots/1/valency"}, nil},
		{"the empty bootstrap list", `{"localRoots":[],"publicRoots":[],"bootstrapPeers":§[]}`, Options{}, []string{"error /bootstrapPeers"}, nil},
		{"a trustable group without access points does not help", group(`"accessPoints":§[],"valency":1,"trustable":true}],"bootstrapPeers":§[],§"x":[{`), Options{},
			[]string{"warning /localRoots/0/accessPoints", "error /bootstrapPeers", "warning /x"}, nil},
		{"unspecified addresses", `{"localRoots":[],"publicRoots":[{"accessPoints":[{"address":§"::","port":1},{"address":§"0.0.0.0"}]}],
"bootstrapPeers":[{"address":§"0.0.0.0","port":1}]}`, Options{}, []string{"error /publicRoots/0/accessPoints/0/address",
			"warning /publicRoots/0/accessPoints/1/address", "error /bootstrapPeers/0/address"}, nil},
		{"twice in a list", `{"localRoots":[],"publicRoots":[{"accessPoints":[{"address":"a","port":1},§{"address":"A.","port":1}]}]}`, Options{},
			[]string{"warning /publicRoots/0/accessPoints/1"}, nil},
		{"an address of ours", group(strings.ReplaceAll(one, `"10`, `§"10`) + `,"valency":1`), Options{Listen: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:1")}},
			[]string{"warning /localRoots/0/accessPoints/0/address"}, nil},
		{"a URL is no host name", group(`"accessPoints":[{"address":§"http://a.example:1","port":1}],"valency":1`), Options{},
			[]string{"warning /localRoots/0/accessPoints/0/address"}, nil},
		{"pointers are escaped", `{"localRoots":[],"publicRoots":[],§"a/b~c":1}`, Options{}, []string{"warning /a~1b~0c"}, nil},
		{"the empty key is a key", `{"localRoots":[],"publicRoots":[],§"":1}`, Options{}, []string{"warning /"}, nil},
		{"a snapshot without ledger peers", `{"localRoots":[],"publicRoots":[],"peerSnapshotFile":§"x"}`, Options{}, []string{"warning /peerSnapshotFile"}, nil},
		{"Genesis mode", `§§{"localRoots":[],"publicRoots":[],"bootstrapPeers":§[{"address":"a","port":1}]}`, Options{Genesis: true},
			[]string{"warning /useLedgerAfterSlot", "warning /peerSnapshotFile", "warning /bootstrapPeers"}, nil},
		{"a producer", `§{"localRoots":[],"publicRoots":[],"useLedgerAfterSlot":§0}`, Options{Producer: true, PeerSharing: true},
			[]string{"warning ", "warning /useLedgerAfterSlot"}, nil},
		{"a slot beyond 64 bits", `{"localRoots":[],"publicRoots":[],"useLedgerAfterSlot":§1e30}`, Options{}, []string{"warning /useLedgerAfterSlot"}, nil},
		{"a retired format", `{"Producers":§[{"addr":"10.0.0.1","port":1,"valency":0}]}`, Options{}, []string{"error /Producers"}, nil},
		{"a retired format, converted", `{"Producers":§[§{"addr":"10.0.0.1","port":1,"valency":0}]}`, Options{Convert: true},
			[]string{"warning /Producers", "warning /Producers/0"}, nil},
		{"a broken retired format", `{"Producers":§[§{"addr":"10.0.0.1","port":§70000}, §1]}`, Options{},
			[]string{"error /Producers", "error /Producers/0/valency", "error /Producers/0/port", "error /Producers/1"}, nil},
		{"no topology", `§{"roots": []}`, Options{}, []string{"error "}, nil},
		{"not an object", ` §[]`, Options{}, []string{"error "}, nil},
		{"nothing", `§`, Options{}, []string{"error "}, nil},
		{"a second value", "{}\n§{}", Options{}, []string{"error "}, nil},
		{"a byte order mark", "§\ufeff{}", Options{}, []string{"error "}, nil},
		{"a leading zero", `{"localRoots": 0§1}`, Options{}, []string{"error /localRoots"}, nil},
		{"half a surrogate pair", `["§\ud800"]`, Options{}, []string{"error /0"}, nil},
		{"a raw control character", "[\"a§\tb\"]", Options{}, []string{"error /0"}, nil},
		{"bytes that are no UTF-8", "[\"§\xff\"]", Options{}, []string{"error /0"}, nil},
		{"too deep", strings.Repeat("[", 512) + "§" + strings.Repeat("[", 88), Options{}, []string{"error " + strings.Repeat("/0", 512)}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.strict, problemsOf(t, c.text, c.opt))
			if c.lenient == nil {
				c.lenient = c.strict
			}
			c.opt.Lenient = true
			require.Equal(t, c.lenient, problemsOf(t, c.text, c.opt))
		})
	}
}

// TestValues checks the values behind the traps of governor §8.1.
func TestValues(t *testing.T) {
	r := Parse([]byte(`{"localRoots":[{"accessPoints":[{"address":"a","port":65536},{"address":"b","port":-1},{"address":"c","port":3e3},
{"address":"10.0.0.1","port":"x"},{"address":" 10.0.0.2 ","port":3001.0},{"address":"d.","port":99999999999999999999},
{"address":"fe80::1%eth0","port":1}],
"valency":"1","hotValency":-3,"warmValency":2.0}],"publicRoots":[],"useLedgerAfterSlot":0.5,"peerSnapshotFile":"a\u00e9\n","bootstrapPeers":[]}`),
		Options{Lenient: true})
	require.True(t, r.NodeAccepts)
	require.False(t, r.NodeStarts)
	name := "aé\n"
	require.Equal(t, &Topology{
		LocalRoots: []Group{{AccessPoints: []AccessPoint{
			{Kind: Domain, Name: "a.", Port: 0}, {Kind: Domain, Name: "b.", Port: 65535}, {Kind: Domain, Name: "c.", Port: 3000},
			{Kind: SRV, Name: "10.0.0.1."}, {Kind: IP, IP: netip.MustParseAddr("10.0.0.2"), Port: 3001}, {Kind: SRV, Name: "d."},
			{Kind: Domain, Name: "fe80::1%eth0.", Port: 1},
		}, HotValency: -3, WarmValency: 2}},
		PublicRoots: []PublicRoot{}, BootstrapPeers: []AccessPoint{}, PeerSnapshotFile: &name,
		UseLedger: UseLedger{Mode: LedgerAfter, Slot: 0},
	}, r.Topology)

	for text, want := range map[string]UseLedger{
		"0": {Mode: LedgerAlways}, "-0.0": {Mode: LedgerAlways}, "0e9": {Mode: LedgerAlways}, "-0.5": {}, "-1": {}, "null": {},
		"0.5": {Mode: LedgerAfter}, "12.9": {Mode: LedgerAfter, Slot: 12}, "1e3": {Mode: LedgerAfter, Slot: 1000},
		"12345.678e2":          {Mode: LedgerAfter, Slot: 1234567},
		"18446744073709551615": {Mode: LedgerAfter, Slot: math.MaxUint64},
		"18446744073709551617": {Mode: LedgerAfter, Slot: 1}, // modulo 2^64, like cardano-node
		"1e999999999999999999": {Mode: LedgerAfter}, "1e-999999999999999999": {Mode: LedgerAfter},
	} {
		r := Parse([]byte(`{"localRoots":[],"publicRoots":[],"useLedgerAfterSlot":`+text+`}`), Options{})
		require.NoError(t, r.Err(), text)
		require.Equal(t, want, r.Topology.UseLedger, text)
	}
}

// TestTypicalFiles: a relay, a block producer and a wallet as operators write them have no problem at all.
func TestTypicalFiles(t *testing.T) {
	for name, text := range map[string]string{
		"relay": `{"bootstrapPeers": [{"address": "boot-a.relays.example", "port": 3001}],
			"localRoots": [
				{"accessPoints": [{"address": "10.20.0.5", "port": 6000}], "advertise": false, "trustable": true, "behindFirewall": false,
				 "hotValency": 1, "warmValency": 1, "diffusionMode": "InitiatorAndResponder"},
				{"accessPoints": [{"address": "relay2.pool.example", "port": 3001}, {"address": "relay3.pool.example", "port": 3001}],
				 "advertise": true, "trustable": true, "hotValency": 1, "warmValency": 2},
				{"accessPoints": [{"address": "_cardano._tcp.friends.example"}], "advertise": true, "trustable": false, "hotValency": 2, "warmValency": 3}],
			"publicRoots": [{"accessPoints": [{"address": "fallback.relays.example", "port": 3001}], "advertise": false}],
			"peerSnapshotFile": "peer-snapshot.json", "useLedgerAfterSlot": 180000000}`,
		"producer": `{"bootstrapPeers": null, "localRoots": [{"accessPoints": [{"address": "10.20.0.11", "port": 3001},
			{"address": "10.20.0.12", "port": 3001}], "advertise": false, "trustable": true, "hotValency": 2, "warmValency": 2}],
			"publicRoots": [], "useLedgerAfterSlot": -1}`,
		"wallet": `{"localRoots": [{"accessPoints": [{"address": "node.internal.example", "port": 3001}, {"address": "fd00:20::7", "port": 3001}],
			"advertise": false, "trustable": true, "hotValency": 1, "warmValency": 2, "diffusionMode": "InitiatorOnly"}],
			"publicRoots": [], "useLedgerAfterSlot": -1}`,
	} {
		r := Parse([]byte(text), Options{Producer: name == "producer"})
		require.Empty(t, r.Problems, name)
		require.True(t, r.NodeStarts, name)
	}
}

func TestUseLedgerAllows(t *testing.T) {
	never, always, after := UseLedger{}, UseLedger{Mode: LedgerAlways}, UseLedger{Mode: LedgerAfter, Slot: 10}
	require.False(t, never.Allows(100, false))
	require.True(t, always.Allows(0, true))
	require.False(t, after.Allows(0, true))
	require.False(t, after.Allows(9, false))
	require.True(t, after.Allows(10, false))
	require.False(t, UseLedger{Mode: LedgerAfter}.Allows(0, true), "after slot 0 still needs a tip")
}

// TestConvert: the retired formats in the present one (governor §8.2).
func TestConvert(t *testing.T) {
	r := Parse([]byte(`{"Producers":[{"addr":"a","port":1,"valency":0},{"addr":"10.0.0.1","port":2,"valency":0},
{"addr":"10.0.0.2","port":3,"valency":1},{"addr":"b","port":4,"valency":3}]}`), Options{Convert: true})
	require.NoError(t, r.Err())
	require.False(t, r.NodeAccepts)
	group := func(a AccessPoint, v int64) Group {
		return Group{AccessPoints: []AccessPoint{a}, HotValency: v, WarmValency: v}
	}
	require.Equal(t, &Topology{PublicRoots: []PublicRoot{}, LocalRoots: []Group{
		group(AccessPoint{Kind: Domain, Name: "a.", Port: 1}, 1),
		group(AccessPoint{Kind: IP, IP: netip.MustParseAddr("10.0.0.2"), Port: 3}, 1),
		group(AccessPoint{Kind: Domain, Name: "b.", Port: 4}, 3),
	}}, r.Topology)

	r = Parse([]byte(`{"LocalRoots":{"groups":[{"localRoots":{"addrs":[{"addr":"a","port":1}],"advertise":true},"valency":2}]},
"PublicRoots":[{"publicRoots":{"accessPoints":[{"address":"10.0.0.1","port":2}],"advertise":true}}],"useLedgerAfterSlot":7}`), Options{Convert: true})
	require.NoError(t, r.Err())
	g := group(AccessPoint{Kind: Domain, Name: "a.", Port: 1}, 2)
	g.Advertise = true
	require.Equal(t, &Topology{LocalRoots: []Group{g},
		PublicRoots: []PublicRoot{{AccessPoints: []AccessPoint{{Kind: IP, IP: netip.MustParseAddr("10.0.0.1"), Port: 2}}, Advertise: true}},
		UseLedger:   UseLedger{Mode: LedgerAfter, Slot: 7}}, r.Topology)
	for name, want := range expectations(t, "topology") {
		if want["old"] == nil {
			continue
		}
		r := Parse(testdata.Read(t, "topology", name), Options{Convert: true})
		require.NoError(t, r.Err(), name)
		require.Equal(t, r.Topology, r.Old.Convert(), name)
		again := Parse(r.Topology.AppendJSON(nil), Options{})
		require.Equal(t, r.Topology, again.Topology, name)
	}
}

// TestManyProblems: at most MaxProblems and one line for the rest; an error among the rest still refuses the file.
func TestManyProblems(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"localRoots":[],"publicRoots":[]`)
	for i := range 5000 {
		fmt.Fprintf(&b, ",\n\"x%d\":1", i)
	}
	r := Parse([]byte(b.String()+`}`), Options{})
	require.Len(t, r.Problems, MaxProblems+1)
	require.Equal(t, "/x999", r.Problems[999].Field)
	require.Equal(t, 1001, r.Problems[999].Line)
	require.Equal(t, "and 4000 more", r.Problems[MaxProblems].Message)
	require.NoError(t, r.Err())
	r = Parse([]byte(b.String()+`,"useLedgerAfterSlot":"x"}`), Options{})
	require.Error(t, r.Err())
	require.Equal(t, "and 4001 more", r.Problems[MaxProblems].Message)
}

func TestInputBounds(t *testing.T) {
	r := Parse(make([]byte, MaxInput+1), Options{})
	require.Len(t, r.Problems, 1)
	require.Error(t, r.Err())
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "big"))
	require.NoError(t, err)
	require.NoError(t, f.Truncate(1<<40))
	require.NoError(t, f.Close())
	r, err = ReadFile(filepath.Join(dir, "big"), Options{})
	require.NoError(t, err)
	require.Contains(t, r.Err().Error(), "16 MiB")
	_, err = ReadFile(filepath.Join(dir, "none"), Options{})
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// genPoint draws access points, most of them from a small pool so that lists share some.
func genPoint() *rapid.Generator[AccessPoint] {
	return rapid.Custom(func(t *rapid.T) AccessPoint {
		port := rapid.Uint16Range(1, 4).Draw(t, "port")
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			return AccessPoint{Kind: Domain, Name: rapid.SampledFrom([]string{"a.example.", "b.example.", "c."}).Draw(t, "name"), Port: port}
		case 1:
			return AccessPoint{Kind: SRV, Name: rapid.SampledFrom([]string{"_x._tcp.example.", "10.0.0.1.", "."}).Draw(t, "name")}
		case 2:
			return newAccessPoint(rapid.String().Draw(t, "any"), int64(rapid.Uint16().Draw(t, "port")), rapid.Bool().Draw(t, "has"))
		case 3:
			return AccessPoint{Kind: IP, IP: netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: rapid.Byte().Draw(t, "ip")}), Port: port}
		default:
			return AccessPoint{Kind: IP, IP: netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(1, 6).Draw(t, "ip"))}), Port: port}
		}
	}).Filter(func(a AccessPoint) bool { return a.Kind != IP || !a.IP.IsUnspecified() })
}

func genTopology() *rapid.Generator[*Topology] {
	points := rapid.SliceOfN(genPoint(), 0, 6)
	return rapid.Custom(func(t *rapid.T) *Topology {
		top := &Topology{
			LocalRoots: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Group {
				return Group{points.Draw(t, "points"), int64(rapid.IntRange(-1, 5).Draw(t, "hot")), int64(rapid.IntRange(-1, 7).Draw(t, "warm")),
					rapid.Bool().Draw(t, "advertise"), rapid.Bool().Draw(t, "trustable"), rapid.Bool().Draw(t, "firewall"),
					DiffusionMode(rapid.IntRange(0, 1).Draw(t, "mode"))}
			}), 0, 4).Draw(t, "local"),
			PublicRoots: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) PublicRoot {
				return PublicRoot{points.Draw(t, "points"), rapid.Bool().Draw(t, "advertise")}
			}), 0, 3).Draw(t, "public"),
		}
		if rapid.Bool().Draw(t, "bootstrap") {
			top.BootstrapPeers = points.Draw(t, "peers")
		}
		top.UseLedger.Mode = LedgerMode(rapid.IntRange(0, 2).Draw(t, "mode"))
		if top.UseLedger.Mode == LedgerAfter {
			top.UseLedger.Slot = rapid.Uint64().Draw(t, "slot")
		}
		if rapid.Bool().Draw(t, "snapshot") {
			name := rapid.String().Draw(t, "file")
			top.PeerSnapshotFile = &name
		}
		return top
	})
}

// TestRoundTrip: parse → write → parse is the identity, for the real files and for generated topologies.
func TestRoundTrip(t *testing.T) {
	for name, want := range expectations(t, "topology") {
		if want["parsed"] == nil {
			continue
		}
		first := Parse(testdata.Read(t, "topology", name), Options{Lenient: true}).Topology
		text := first.AppendJSON(nil)
		second := Parse(text, Options{Lenient: true}).Topology
		require.Equal(t, first, second, name)
		require.Equal(t, text, second.AppendJSON(nil), name)
		compact, err := json.Marshal(first)
		require.NoError(t, err)
		require.Equal(t, first, Parse(compact, Options{Lenient: true}).Topology)
	}
	rapid.Check(t, func(t *rapid.T) {
		top := genTopology().Draw(t, "topology")
		r := Parse(top.AppendJSON(nil), Options{Lenient: true})
		if !r.NodeAccepts {
			t.Fatalf("refused: %v", r.Problems)
		}
		require.Equal(t, top, r.Topology)
		require.Equal(t, top, top.Clone())
	})
}
