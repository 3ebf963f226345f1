package topology

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/internal/testdata"
)

func poolSummary(p Pool) map[string]any {
	relays := []any{}
	for _, r := range reportPoints(p.Relays) {
		m := map[string]any{"address": r.Address, "kind": r.Kind.String()}
		if r.Port != nil {
			m["port"] = float64(*r.Port)
		}
		relays = append(relays, m)
	}
	return map[string]any{"accumulated": p.Accumulated.Float64(), "relative": p.Stake.Float64(), "relays": relays}
}

// TestSnapshotExpected: what is read agrees with the expectations in every value.
func TestSnapshotExpected(t *testing.T) {
	for name, want := range expectations(t, "peer-snapshot") {
		data := testdata.Read(t, "peer-snapshot", name)
		for _, lenient := range []bool{true, false} {
			r := ParseSnapshot(data, SnapshotOptions{Lenient: lenient})
			got := map[string]any{"version": float64(r.Version), "node_accepts": r.NodeAccepts}
			// The second reading takes the old key too.
			both := ParseSnapshot(data, SnapshotOptions{Lenient: true, OldDomainKey: true})
			require.Equal(t, r.NodeAccepts, both.NodeAccepts, name)
			got["old_domain_keys"] = float64(both.OldDomainKeys)
			got["pools_in_file"], got["relays_in_file"] = 0.0, 0.0
			if s := both.Snapshot; s != nil {
				got["pools_in_file"], got["relays_in_file"] = float64(len(s.Pools)), float64(s.Relays())
				got["slot"] = float64(s.Slot)
			}
			if s := r.Snapshot; s != nil {
				require.NoError(t, r.Err(), name)
				got["pools"], got["relays"] = float64(len(s.Pools)), float64(s.Relays())
				if s.Version == 23 {
					got["hash"], got["magic"] = hex.EncodeToString(s.Hash), float64(s.Magic)
				}
				kinds := map[string]any{}
				for _, p := range s.Pools {
					for _, r := range p.Relays {
						k := r.Kind.String()
						if r.Kind == IP {
							k = "ipv6"
							if r.IP.Is4() {
								k = "ipv4"
							}
						}
						n, _ := kinds[k].(float64)
						kinds[k] = n + 1
					}
				}
				got["relay_kinds"] = kinds
				if n := len(s.Pools); n > 0 {
					got["first"], got["last"] = poolSummary(s.Pools[0]), poolSummary(s.Pools[n-1])
				}
			} else {
				require.Error(t, r.Err(), name)
				for _, p := range r.Problems {
					require.Positive(t, p.Line)
				}
			}
			require.Equal(t, want, got, name)
		}
	}
}

// TestSnapshotOldKeys: nine relays of the real version 1 mainnet file have an IP address under the old key.
func TestSnapshotOldKeys(t *testing.T) {
	r := ParseSnapshot(testdata.Read(t, "peer-snapshot", "v1-mainnet-2025-04.json"), SnapshotOptions{OldDomainKey: true})
	require.NoError(t, r.Err())
	var doc struct {
		BigLedgerPools []struct{ Relays []map[string]any }
	}
	require.NoError(t, json.Unmarshal(testdata.Read(t, "peer-snapshot", "v1-mainnet-2025-04.json"), &doc))
	ips := 0
	for i, p := range doc.BigLedgerPools {
		for j, relay := range p.Relays {
			if host, ok := relay["domain"].(string); ok && isIP(host) {
				ips++
				require.Equal(t, IP, r.Snapshot.Pools[i].Relays[j].Kind)
			}
		}
	}
	require.Equal(t, 9, ips)
}

// TestSnapshotRules goes through the reader's rules one by one.
func TestSnapshotRules(t *testing.T) {
	pool := func(relay string) string {
		return `{"version":2,"slotNo":7,"bigLedgerPools":[{"accumulatedStake":1,"relativeStake":1,"relays":[` + relay + `]}]}`
	}
	for _, c := range []struct {
		name, text   string
		strict, node bool
	}{
		{"version 23 under version", `{"version":23,"Point":"origin","NetworkMagic":1,"bigLedgerPools":[]}`, true, true},
		{"version 2 under NodeToClientVersion", `{"NodeToClientVersion":2,"slotNo":1,"bigLedgerPools":[]}`, true, true},
		{"version first", `{"NodeToClientVersion":23,"version":2,"slotNo":1,"bigLedgerPools":[]}`, true, true},
		{"version that is no integer", `{"NodeToClientVersion":2,"version":"1","slotNo":1,"bigLedgerPools":[]}`, true, true},
		{"no version", `{"slotNo":1,"bigLedgerPools":[]}`, false, false},
		{"slot at origin", `{"version":1,"slotNo":"origin","bigLedgerPools":[]}`, true, true},
		{"negative slot", `{"version":1,"slotNo":-1,"bigLedgerPools":[]}`, false, false},
		{"no pools", `{"version":1,"slotNo":1}`, false, false},
		{"all pools", `{"version":23,"Point":"origin","NetworkMagic":1,"allLedgerPools":[{"relativeStake":1,"relays":[{"address":"a"}]}]}`, true, true},
		{"all pools in version 2", `{"version":2,"slotNo":1,"allLedgerPools":[]}`, false, false},
		{"no accumulated stake", `{"version":2,"slotNo":1,"bigLedgerPools":[{"relativeStake":1,"relays":[{"address":"a"}]}]}`, false, false},
		{"no relays", pool(``), false, false},
		{"no address", pool(`{"port":1}`), false, false},
		{"the old key", pool(`{"domain":"a","port":1}`), false, false},
		{"port modulo", pool(`{"address":"a","port":65537}`), false, true},
		{"port as text", pool(`{"address":"a","port":"1"}`), false, true},
		{"unspecified address", pool(`{"address":"0.0.0.0","port":1}`), true, true},
		{"magic", `{"version":23,"Point":"origin","NetworkMagic":4294967296,"bigLedgerPools":[]}`, false, false},
		{"short hash", `{"version":23,"Point":{"blockPointSlot":1,"blockPointHash":"ab"},"NetworkMagic":1,"bigLedgerPools":[]}`, false, true},
		{"odd hash", `{"version":23,"Point":{"blockPointSlot":1,"blockPointHash":"abc"},"NetworkMagic":1,"bigLedgerPools":[]}`, false, false},
		{"stake as a fraction", strings.Replace(pool(`{"address":"a"}`), `"relativeStake":1`, `"relativeStake":{"numerator":1,"denominator":3}`, 1), true, true},
		{"zero denominator", strings.Replace(pool(`{"address":"a"}`), `"relativeStake":1`, `"relativeStake":{"numerator":1,"denominator":0}`, 1), false, false},
		{"stake as text", strings.Replace(pool(`{"address":"a"}`), `"relativeStake":1`, `"relativeStake":"1"`, 1), false, false},
		{"stake above one", strings.Replace(pool(`{"address":"a"}`), `"relativeStake":1`, `"relativeStake":2`, 1), true, true},
		{"exponent bound", strings.Replace(pool(`{"address":"a"}`), `"relativeStake":1`, `"relativeStake":1e-1024`, 1), true, true},
		{"exponent beyond", strings.Replace(pool(`{"address":"a"}`), `"relativeStake":1`, `"relativeStake":1e-1025`, 1), false, false},
		{"not an object", `[]`, false, false},
		{"not JSON", `{`, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			strict := ParseSnapshot([]byte(c.text), SnapshotOptions{})
			lenient := ParseSnapshot([]byte(c.text), SnapshotOptions{Lenient: true})
			require.Equal(t, c.strict, strict.Err() == nil, "%v", strict.Problems)
			require.Equal(t, c.node, lenient.Err() == nil, "%v", lenient.Problems)
			require.Equal(t, c.node, lenient.NodeAccepts)
			require.Equal(t, c.node, strict.NodeAccepts)
			require.Equal(t, c.node, lenient.Snapshot != nil)
			for _, p := range strict.Problems {
				require.Positive(t, p.Line)
				require.Positive(t, p.Column)
			}
		})
	}
}

func TestSnapshotUsable(t *testing.T) {
	s := &Snapshot{Version: 23, Slot: 1, Hash: make([]byte, 32), Magic: 42}
	require.NoError(t, s.Usable(42))
	require.ErrorIs(t, s.Usable(1), ErrSnapshotMagic)
	require.ErrorIs(t, (&Snapshot{Version: 2}).Usable(42), ErrSnapshotVersion)
	require.ErrorIs(t, (&Snapshot{Version: 23, Origin: true, Magic: 42}).Usable(42), ErrSnapshotGenesis)
	all := &Snapshot{Version: 23, All: true, Hash: []byte{1}, Magic: 1}
	for _, want := range []error{ErrSnapshotKind, ErrSnapshotMagic, ErrSnapshotHash} {
		require.ErrorIs(t, all.Usable(42), want)
	}
}

func TestSnapshotVerify(t *testing.T) {
	s := &Snapshot{Version: 23, Slot: 5, Hash: []byte(strings.Repeat("x", 32))}
	check := func(hash [32]byte, found bool, err error) (bool, error) {
		return s.Verify(context.Background(), func(_ context.Context, slot uint64) ([32]byte, bool, error) {
			require.Equal(t, uint64(5), slot)
			return hash, found, err
		})
	}
	ok, err := check([32]byte([]byte(s.Hash)), true, nil)
	require.True(t, ok)
	require.NoError(t, err)
	ok, err = check([32]byte{}, true, nil)
	require.False(t, ok)
	require.NoError(t, err)
	ok, _ = check([32]byte([]byte(s.Hash)), false, nil)
	require.False(t, ok)
	ok, err = check([32]byte([]byte(s.Hash)), true, errors.New("no database"))
	require.False(t, ok)
	require.ErrorContains(t, err, "no database")
	ok, err = (&Snapshot{Origin: true}).Verify(context.Background(), nil)
	require.False(t, ok)
	require.Error(t, err)
}

// TestSnapshotCBORExamples: the bytes of governor §6.3.
func TestSnapshotCBORExamples(t *testing.T) {
	ip := AccessPoint{Kind: IP, IP: netip.MustParseAddr("192.0.2.1"), Port: 3001}
	r := AccessPoint{Kind: Domain, Name: "r.example.", Port: 3001}
	srv := AccessPoint{Kind: SRV, Name: "srv.example.org."}
	half, third := NewFraction(1, 2), NewFraction(1, 3)
	all := ParseSnapshot(testdata.Read(t, "peer-snapshot", "own/v23-all-kinds.json"), SnapshotOptions{}).Snapshot
	for want, s := range map[string]*Snapshot{
		"8201828201079f82820102828201029f8301190bb99f18c0000201ff8300190bb94a722e6578616d706c652effff": {
			Version: 2, Slot: 7, Pools: []Pool{{Stake: half, Accumulated: half, Relays: []AccessPoint{ip, r}}}},
		"82028383011904d25820abababababababababababababababababababababababababababababababab182a9f838201028201029f8301190bb99f18c0000201ff8302190bb99f192001190db8000000000001ff8300190bb95272656c61792e6578616d706c652e6f72672e8203507372762e6578616d706c652e6f72672effff": all,
		"8203838100182a9f828201039f8203507372762e6578616d706c652e6f72672eff828202039f8300190bb94a722e6578616d706c652effff": {
			Version: 23, All: true, Origin: true, Magic: 42, Pools: []Pool{
				{Stake: third, Relays: []AccessPoint{srv}}, {Stake: NewFraction(2, 3), Relays: []AccessPoint{r}}}},
		"8201828201182a9f8282090a8282090a9f83011904d29f01010101ffffff": {
			Version: 2, Slot: 42, Pools: []Pool{{Stake: NewFraction(9, 10), Accumulated: NewFraction(9, 10),
				Relays: []AccessPoint{{Kind: IP, IP: netip.MustParseAddr("1.1.1.1"), Port: 1234}}}}},
	} {
		require.Equal(t, want, hex.EncodeToString(s.AppendCBOR(nil)))
		data, err := hex.DecodeString(want)
		require.NoError(t, err)
		got, err := DecodeSnapshot(data)
		require.NoError(t, err)
		require.True(t, s.Equal(got), "%+v", got)
		for n := range data { // every proper prefix is refused
			_, err := DecodeSnapshot(data[:n])
			var bad *CBORError
			require.ErrorAs(t, err, &bad)
		}
		_, err = DecodeSnapshot(append(data, 0))
		require.Error(t, err)
	}
}

// TestSnapshotCBORRules: what the reader takes and what it refuses.
func TestSnapshotCBORRules(t *testing.T) {
	pools := func(p string) string { return "8201828201079f" + p + "ff" }
	pool := func(relays string) string { return pools("82820102" + "82820102" + relays) }
	for _, c := range []struct {
		name, text string
		ok         bool
	}{
		{"no pools", "8201828201079fff", true},
		{"a definite list of pools", "82018282010780", false},
		{"an indefinite outer list", "9f01828201079fffff", false},
		{"longer integers", "82180182821b000000000000000118079fff", true},
		{"a definite list of relays", pool("81820341612e"), false},
		{"a relay", pool("9f820342612eff"), true},
		{"no relays", pool("9fff"), false},
		{"a text instead of bytes", pool("9f820362612eff"), false},
		{"indefinite bytes", pool("9f82035f42612effff"), false},
		{"an SRV relay in a list of three", pool("9f83031942612eff"), false},
		{"three with the name only", pool("9f830342612eff"), false},
		{"a name in a list of two", pool("9f820042612eff"), false},
		{"three octets", pool("9f8301019f010203ffff"), false},
		{"five octets", pool("9f8301019f0102030405ffff"), false},
		{"an octet above 255", pool("9f8301019f19010002030cffff"), false},
		{"a definite address", pool("9f8301018401020304ff"), false},
		{"a port modulo 65,536", pool("9f83001a0001000142612eff"), true},
		{"a negative port", pool("9f83002042612eff"), true},
		{"a port of 65 bits", pool("9f8300c24901000000000000000042612eff"), false},
		{"an unknown kind", pool("9f83040142612eff"), false},
		{"a zero denominator", pools("8282010082820102" + "9f820342612eff"), false},
		{"a negative denominator", pools("8282012082820102" + "9f820342612eff"), false},
		{"stakes beyond 0 and 1", pools("8282200182820501" + "9f820342612eff"), true},
		{"a bignum", pools("8282c2490100000000000000000182820102" + "9f820342612eff"), true},
		{"tag 30", pools("82d81e820102820102" + "9f820342612eff"), false},
		{"an unknown version", "8204828201079fff", false},
		{"a point of two", "82028382010718029fff", false},
		{"a short hash", "820283830107420102189f9fff", true},
		{"a magic of 33 bits", "8202838301074201021b0000000100000000" + "9fff", false},
		{"an unknown tag", "820183", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, err := hex.DecodeString(c.text)
			require.NoError(t, err)
			s, err := DecodeSnapshot(data)
			require.Equal(t, c.ok, err == nil, "%v", err)
			if err == nil {
				again, err := DecodeSnapshot(s.AppendCBOR(nil))
				require.NoError(t, err)
				require.True(t, s.Equal(again))
			}
		})
	}
	long, _ := hex.DecodeString("8201828201079f8282c2590201")
	_, err := DecodeSnapshot(append(long, make([]byte, 600)...))
	require.ErrorContains(t, err, "513 bytes")
}

func genFraction() *rapid.Generator[Fraction] {
	return rapid.Custom(func(t *rapid.T) Fraction {
		switch rapid.IntRange(0, 3).Draw(t, "size") {
		case 0: // as in a file
			d := parseDecimal([]byte("0." + rapid.StringMatching(`[0-9]{1,25}`).Draw(t, "digits")))
			f, _ := d.fraction()
			return f
		case 1:
			return FractionOf(big.NewRat(rapid.Int64().Draw(t, "num"), rapid.Int64Range(1, 1<<62).Draw(t, "den")))
		case 2:
			r := new(big.Rat).SetFrac(new(big.Int).Lsh(big.NewInt(rapid.Int64().Draw(t, "num")), uint(rapid.IntRange(0, 200).Draw(t, "shift"))),
				big.NewInt(rapid.Int64Range(1, 1<<40).Draw(t, "den")))
			return FractionOf(r)
		default:
			return NewFraction(rapid.Uint64Max(4).Draw(t, "num"), rapid.Uint64Range(1, 4).Draw(t, "den"))
		}
	})
}

func genSnapshot() *rapid.Generator[*Snapshot] {
	return rapid.Custom(func(t *rapid.T) *Snapshot {
		s := &Snapshot{Version: rapid.SampledFrom([]int{1, 2, 23}).Draw(t, "version"), Pools: []Pool{}}
		if s.Origin = rapid.Bool().Draw(t, "origin"); !s.Origin {
			s.Slot = rapid.Uint64().Draw(t, "slot")
		}
		if s.Version == 23 {
			s.Magic, s.All = rapid.Uint32().Draw(t, "magic"), rapid.Bool().Draw(t, "all")
			if !s.Origin {
				s.Hash = rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "hash")
			}
		}
		for range rapid.IntRange(0, 4).Draw(t, "pools") {
			p := Pool{Stake: genFraction().Draw(t, "stake"), Relays: rapid.SliceOfN(genPoint(), 1, 4).Draw(t, "relays")}
			if !s.All {
				p.Accumulated = genFraction().Draw(t, "acc")
			}
			s.Pools = append(s.Pools, p)
		}
		return s
	})
}

// TestSnapshotRoundTripCBOR: prop_ledgerPeerSnapshotCBOR. Versions 1 and 2 share a form and come back as 2.
func TestSnapshotRoundTripCBOR(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genSnapshot().Draw(t, "snapshot")
		got, err := DecodeSnapshot(s.AppendCBOR(nil))
		require.NoError(t, err)
		want := *s
		if want.Version == 1 {
			want.Version = 2
		}
		if !want.Equal(got) {
			t.Fatalf("%+v\n%+v", want, got)
		}
	})
}

// TestSnapshotRoundTripJSON: prop_ledgerPeerSnapshotJSON. Finite decimals come back exactly, others as the nearest double.
func TestSnapshotRoundTripJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genSnapshot().Draw(t, "snapshot")
		r := ParseSnapshot(s.AppendJSON(nil), SnapshotOptions{Lenient: true})
		if !r.NodeAccepts {
			t.Fatalf("refused: %v", r.Problems)
		}
		want := *s
		want.Pools = append([]Pool{}, s.Pools...)
		for i := range want.Pools {
			p := &want.Pools[i]
			p.Stake, p.Accumulated = asWritten(p.Stake), asWritten(p.Accumulated)
		}
		if !want.Equal(r.Snapshot) {
			t.Fatalf("%+v\n%+v", want, r.Snapshot)
		}
	})
	for name, want := range expectations(t, "peer-snapshot") {
		r := ParseSnapshot(testdata.Read(t, "peer-snapshot", name), SnapshotOptions{Lenient: true, OldDomainKey: true})
		if want["pools_in_file"] == 0.0 && want["node_accepts"] == false {
			continue
		}
		again := ParseSnapshot(r.Snapshot.AppendJSON(nil), SnapshotOptions{})
		require.NoError(t, again.Err(), name)
		require.True(t, r.Snapshot.Equal(again.Snapshot), name)
		require.True(t, again.NodeAccepts, name)
	}
}

// asWritten is what is left of a fraction in JSON, worked out in another way than the writer does.
func asWritten(f Fraction) Fraction {
	r := f.Rat()
	if n, exact := r.FloatPrec(); exact && n <= maxRatExp {
		return f
	}
	v, _ := r.Float64()
	exact, _ := new(big.Rat).SetString(string(appendFloat(nil, v)))
	return FractionOf(exact)
}

func TestSnapshotForOldClients(t *testing.T) {
	s := ParseSnapshot(testdata.Read(t, "peer-snapshot", "v2-mainnet-2025-11.json"), SnapshotOptions{}).Snapshot
	data, err := s.EncodeForOldClients()
	require.NoError(t, err)
	old, err := DecodeSnapshot(data)
	require.NoError(t, err)
	require.Equal(t, s.Relays()-12, old.Relays())
	require.Less(t, len(old.Pools), len(s.Pools))
	for _, p := range old.Pools {
		for _, r := range p.Relays {
			require.NotEqual(t, SRV, r.Kind)
		}
	}
	s.Version = 23
	_, err = s.EncodeForOldClients()
	require.ErrorIs(t, err, ErrNoSRV)
}
