package chainsync

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/internal/testdata"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/internal/vectors"
)

var codec = vectors.Codec[Message]{Spec: Spec(), Decode: Decode, Append: Message.Append}

func hash(b byte) (h [32]byte) {
	for i := range h {
		h[i] = b
	}
	return h
}

var (
	pointA = Point{133660799, hash(0xaa)}
	pointB = Point{133660779, hash(0xbb)}
	tipA   = Tip{pointA, 11093723}
)

func unhex(s string) []byte { return vectors.Hex(s) }

var cases = []vectors.Case[Message]{
	{ID: "C1", State: StateIdle, Want: MsgRequestNext{}},
	{ID: "C2", State: StateCanAwait, Want: MsgAwaitReply{}},
	{ID: "C3", State: StateCanAwait, Want: MsgRollForward{unhex("8206d81843820102"), tipA}},
	{ID: "C4", State: StateMustReply, Want: MsgRollForward{unhex("8200828201190277d81843820102"), tipA}},
	{ID: "C5", State: StateCanAwait, Want: MsgRollForward{unhex("82008282001a0009e395d81843820102"), tipA}},
	{ID: "C6", State: StateMustReply, Want: MsgRollForward{unhex("d8184782078282010280"), tipA}},
	{ID: "C7", State: StateCanAwait, Want: MsgRollBackward{pointB, tipA}},
	{ID: "C8", State: StateMustReply, Want: MsgRollBackward{Origin, tipA}},
	{ID: "C9", State: StateIdle, Want: MsgFindIntersect{}},
	{ID: "C10", State: StateIdle, Want: MsgFindIntersect{[]Point{pointA, pointB, Origin}}},
	{ID: "C11", State: StateIdle, Want: MsgFindIntersect{[]Point{pointA, Origin}}, Alt: true},
	{ID: "C12", State: StateIntersect, Want: MsgIntersectFound{pointB, tipA}},
	{ID: "C13", State: StateIntersect, Want: MsgIntersectNotFound{}},
	{ID: "C14", State: StateIdle, Want: MsgDone{}},
	{ID: "G1", State: StateCanAwait, Want: MsgRollForward{Payload: unhex("82008282011864d818483c4845414445523e")}},
	{ID: "G2", State: StateCanAwait, Want: MsgRollForward{Payload: unhex("82008282001864d8184c3c4542425f4845414445523e")}},
	{ID: "G3", State: StateCanAwait, Want: MsgRollForward{Payload: unhex("8201d818483c4845414445523e")}},
	{ID: "G4", State: StateCanAwait, Want: MsgRollForward{Payload: unhex("8206d818483c4845414445523e")}},
	{ID: "G5", State: StateCanAwait, Want: MsgRollForward{Payload: unhex("8207d818483c4845414445523e")}},
}

func TestGoldenChainSync(t *testing.T) {
	codec.Golden(t, cases)
	vectors.Complete(t, "C", cases)
}

func TestDocChainSync(t *testing.T) { vectors.DocTable(t, Spec()) }

func TestUnlimited(t *testing.T) {
	require.NoError(t, Spec().Unlimited().Validate())
	require.Zero(t, Spec().Unlimited().States[StateMustReply].Timeout.Max)
}

func points() *rapid.Generator[Point] {
	return rapid.Custom(func(t *rapid.T) Point {
		if rapid.IntRange(0, 3).Draw(t, "origin") == 0 {
			return Origin
		}
		return Point{rapid.Uint64().Draw(t, "slot"), hash(rapid.ByteRange(1, 255).Draw(t, "hash"))}
	})
}

func tips() *rapid.Generator[Tip] {
	return rapid.Custom(func(t *rapid.T) Tip {
		p := points().Draw(t, "point")
		if p.IsOrigin() {
			return Tip{}
		}
		return Tip{p, rapid.Uint64().Draw(t, "block")}
	})
}

func payloads() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		inner := cbor.AppendBytes(cbor.AppendArray(nil, 1), rapid.SliceOfN(rapid.Byte(), 0, 700).Draw(t, "content"))
		switch rapid.IntRange(0, 3).Draw(t, "payload") {
		case 0:
			return AppendBlock(nil, inner)
		case 1:
			return AppendHeader(nil, Header{Boundary: rapid.Bool().Draw(t, "boundary"), Size: rapid.Uint32().Draw(t, "size"), Bytes: inner})
		case 2:
			return AppendHeader(nil, Header{Era: rapid.Uint8Range(1, 255).Draw(t, "era"), Bytes: inner})
		default:
			return inner
		}
	})
}

func samples() *rapid.Generator[vectors.Sample[Message]] {
	return rapid.Custom(func(t *rapid.T) vectors.Sample[Message] {
		next := rapid.SampledFrom([]protocols.State{StateCanAwait, StateMustReply}).Draw(t, "next")
		switch rapid.IntRange(0, 7).Draw(t, "message") {
		case 0:
			return vectors.Sample[Message]{State: StateIdle, Msg: MsgRequestNext{}}
		case 1:
			return vectors.Sample[Message]{State: StateCanAwait, Msg: MsgAwaitReply{}}
		case 2:
			return vectors.Sample[Message]{State: next, Msg: MsgRollForward{payloads().Draw(t, "payload"), tips().Draw(t, "tip")}}
		case 3:
			return vectors.Sample[Message]{State: next, Msg: MsgRollBackward{points().Draw(t, "point"), tips().Draw(t, "tip")}}
		case 4:
			list := rapid.SliceOfN(points(), 0, 20).Draw(t, "points")
			if len(list) == 0 {
				list = nil
			}
			return vectors.Sample[Message]{State: StateIdle, Msg: MsgFindIntersect{list}}
		case 5:
			return vectors.Sample[Message]{State: StateIntersect, Msg: MsgIntersectFound{points().Draw(t, "point"), tips().Draw(t, "tip")}}
		case 6:
			return vectors.Sample[Message]{State: StateIntersect, Msg: MsgIntersectNotFound{tips().Draw(t, "tip")}}
		default:
			return vectors.Sample[Message]{State: StateIdle, Msg: MsgDone{}}
		}
	})
}

func TestCodecChainSync(t *testing.T)          { codec.RoundTrip(t, samples()) }
func TestCodecValidCBORChainSync(t *testing.T) { codec.ValidCBOR(t, samples()) }
func TestCodecSplits2ChainSync(t *testing.T)   { codec.Splits2(t, cases, samples()) }
func TestCodecSplits3ChainSync(t *testing.T)   { codec.Splits3(t, cases, samples()) }

// What the grammar leaves open must be points and tips for us.
var open = map[string]func(*rand.Rand) []byte{
	"network.base.point": func(rnd *rand.Rand) []byte { return AppendPoint(nil, drawPoint(rnd)) },
	"network.base.tip":   func(rnd *rand.Rand) []byte { return AppendTip(nil, Tip{drawPoint(rnd), rnd.Uint64()}) },
}

func drawPoint(rnd *rand.Rand) Point {
	if rnd.IntN(4) == 0 {
		return Origin
	}
	return Point{rnd.Uint64() >> rnd.IntN(64), hash(byte(1 + rnd.IntN(255)))}
}

func TestCDDLChainSync(t *testing.T) {
	codec.ValidCDDL(t, vectors.LoadGrammar(t, "chain-sync"), cases, samples(), open, nil)
}

const tip0 = "828000"

func TestRefusesChainSync(t *testing.T) {
	p := hex.EncodeToString(AppendPoint(nil, pointA))
	codec.Refuse(t, []vectors.Refusal{
		{Name: "N18 outer array indefinite", State: StateIdle, Hex: "9f00ff"},
		{Name: "AwaitReply in Idle", State: StateIdle, Hex: "8101"},
		{Name: "N12 second AwaitReply", State: StateMustReply, Hex: "8101"},
		{Name: "RequestNext out of turn", State: StateCanAwait, Hex: "8100"},
		{Name: "RollForward in Intersect", State: StateIntersect, Hex: "830200" + tip0},
		{Name: "IntersectFound in Next", State: StateCanAwait, Hex: "830580" + tip0},
		{Name: "anything in Done", State: StateDone, Hex: "8100"},
		{Name: "unknown tag", State: StateIdle, Hex: "8108"},
		{Name: "negative tag", State: StateIdle, Hex: "8120"},
		{Name: "tag is text", State: StateIdle, Hex: "816130"},
		{Name: "empty array", State: StateIdle, Hex: "80"},
		{Name: "no array", State: StateIdle, Hex: "00"},
		{Name: "wrong length", State: StateIdle, Hex: "820000"},
		{Name: "RollForward of two elements", State: StateCanAwait, Hex: "820200"},
		{Name: "bytes after the message", State: StateIdle, Hex: "810000"},
		{Name: "cut short", State: StateCanAwait, Hex: "830200"},
		{Name: "point indefinite", State: StateCanAwait, Hex: "83039fff" + tip0},
		{Name: "point of one element", State: StateCanAwait, Hex: "83038101" + tip0},
		{Name: "point of three elements", State: StateCanAwait, Hex: "8303830102" + "03" + tip0},
		{Name: "hash of 31 bytes", State: StateCanAwait, Hex: "83038201581f" + strings.Repeat("aa", 31) + tip0},
		{Name: "hash of 33 bytes", State: StateCanAwait, Hex: "830382015821" + strings.Repeat("aa", 33) + tip0},
		{Name: "hash in chunks", State: StateCanAwait, Hex: "838203018201" + "5f5820" + strings.Repeat("aa", 32) + "ff" + tip0},
		{Name: "hash is text", State: StateCanAwait, Hex: "830382017820" + strings.Repeat("61", 32) + tip0},
		{Name: "negative slot", State: StateCanAwait, Hex: "830382205820" + strings.Repeat("aa", 32) + tip0},
		{Name: "slot is a bignum", State: StateCanAwait, Hex: "83038" + "2c249010000000000000000" + "5820" + strings.Repeat("aa", 32) + tip0},
		{Name: "slot 0 and no hash", State: StateCanAwait, Hex: "830382005820" + strings.Repeat("00", 32) + tip0},
		{Name: "tip of one element", State: StateIntersect, Hex: "82068180"},
		{Name: "tip of three elements", State: StateIntersect, Hex: "820683800000"},
		{Name: "tip indefinite", State: StateIntersect, Hex: "82069f8000ff"},
		{Name: "tip without a number", State: StateIntersect, Hex: "82068280f6"},
		{Name: "points is a map", State: StateIdle, Hex: "8204a0"},
		{Name: "points contain a number", State: StateIdle, Hex: "82048100"},
		{Name: "points never end", State: StateIdle, Hex: "82049f" + p},
		{Name: "block with bytes behind", State: StateCanAwait, Hex: "8302d818428000" + tip0},
		{Name: "block cut short inside", State: StateCanAwait, Hex: "8302d818428281" + tip0},
		{Name: "empty block", State: StateCanAwait, Hex: "8302d81840" + tip0},
		{Name: "block in chunks", State: StateCanAwait, Hex: "8302d8185f4180ff" + tip0},
		{Name: "payload malformed", State: StateCanAwait, Hex: "8302ff" + tip0},
	})
}

func TestFindIntersectLimits(t *testing.T) {
	full := make([]Point, MaxPoints)
	got, err := DecodeFindIntersect(nil, AppendFindIntersect(nil, full))
	require.NoError(t, err)
	require.Equal(t, full, got)
	_, err = DecodeFindIntersect(nil, AppendFindIntersect(nil, append(full, Origin)))
	require.ErrorIs(t, err, errPoints)
	// Fewer than that many blocks' points fit a message.
	for i := range full {
		full[i] = pointA
	}
	require.Greater(t, len(AppendFindIntersect(nil, full)), Spec().States[StateIdle].Bytes)
	// Points are appended to what is there; a huge declared length is only an error.
	got, err = DecodeFindIntersect([]Point{pointB}, AppendFindIntersect(nil, []Point{pointA}))
	require.NoError(t, err)
	require.Equal(t, []Point{pointB, pointA}, got)
	_, err = DecodeFindIntersect(nil, unhex("82049bffffffffffffffff80"))
	require.ErrorIs(t, err, cbor.ErrTruncated)
}

func TestTipAtOriginIsGenesis(t *testing.T) {
	tip, err := DecodeIntersectNotFound(unhex("82068280182a"))
	require.NoError(t, err)
	require.Equal(t, Tip{}, tip)
	require.Equal(t, unhex("828000"), AppendTip(nil, Tip{Block: 5}))
}

func TestPointStrings(t *testing.T) {
	for _, p := range []Point{Origin, pointA, {0, hash(1)}} {
		got, err := ParsePoint(p.String())
		require.NoError(t, err)
		require.Equal(t, p, got)
	}
	for _, s := range []string{"", "1", "1.aa", "x." + strings.Repeat("aa", 32), "1." + strings.Repeat("zz", 32), "0." + strings.Repeat("00", 32), "-1." + strings.Repeat("aa", 32), strings.Repeat("aa", 32)} {
		_, err := ParsePoint(s)
		require.Error(t, err, s)
	}
	require.Equal(t, "origin", Tip{}.String())
	require.Equal(t, "133660799."+strings.Repeat("aa", 32)+" #11093723", tipA.String())
	p, err := DecodePoint(AppendPoint(nil, pointA))
	require.NoError(t, err)
	require.Equal(t, pointA, p)
	_, err = DecodePoint(append(AppendPoint(nil, pointA), 0))
	require.ErrorIs(t, err, cbor.ErrTrailing)
}

func TestHeaderEnvelope(t *testing.T) {
	for _, c := range []struct {
		id string
		h  Header
	}{
		{"C3", Header{Era: 6, Bytes: unhex("820102")}},
		{"C4", Header{Size: 631, Bytes: unhex("820102")}},
		{"C5", Header{Boundary: true, Size: 648085, Bytes: unhex("820102")}},
	} {
		payload, tip, err := DecodeRollForward(vectors.Get(t, c.id).Bytes)
		require.NoError(t, err, c.id)
		h, err := ParseHeader(payload)
		require.NoError(t, err, c.id)
		require.Equal(t, c.h, h, c.id)
		require.Equal(t, vectors.Get(t, c.id).Bytes, AppendTip(append(AppendRollForwardHead(nil), AppendHeader(nil, h)...), tip))
	}
	// The header in the golden examples is a placeholder that is no CBOR.
	for _, id := range []string{"G1", "G2", "G3", "G4", "G5"} {
		payload, _, err := DecodeRollForward(vectors.Get(t, id).Bytes)
		require.NoError(t, err)
		_, err = ParseHeader(payload)
		require.ErrorIs(t, err, cbor.ErrReserved, id)
	}
	for _, h := range []string{"", "80", "8206", "820601", "8206d8184100" + "00", "8206d818420000", "820082820200d8184100", "8200828201d8184100", "82008282011b0000000100000000d8184100", "8219" + "0100d8184100", "9f06d8184100ff", "8206d8185f4100ff", "8206d8174100"} {
		_, err := ParseHeader(unhex(h))
		require.Error(t, err, h)
	}
}

func TestBlockEnvelope(t *testing.T) {
	payload, _, err := DecodeRollForward(vectors.Get(t, "C6").Bytes)
	require.NoError(t, err)
	block, err := ParseBlock(payload)
	require.NoError(t, err)
	require.Equal(t, unhex("82078282010280"), block)
	era, err := BlockEra(block)
	require.NoError(t, err)
	require.EqualValues(t, 7, era)
	require.Equal(t, payload, AppendBlock(nil, block))
	require.Equal(t, payload, append(AppendBlockHead(nil, len(block)), block...))
	for _, h := range []string{"", "4100", "d8184100" + "00", "d818420000", "d81840"} {
		_, err := ParseBlock(unhex(h))
		require.Error(t, err, h)
	}
	_, err = BlockEra(unhex("8120"))
	require.Error(t, err)
}

// Real RollForwards of both kinds.
func TestVectorsRollForward(t *testing.T) {
	files, err := filepath.Glob(testdata.Path(t, "vectors", "chain-sync", "rollforward_*.cbor"))
	require.NoError(t, err)
	require.Len(t, files, 4)
	for _, f := range files {
		name := filepath.Base(f)
		msg := testdata.Read(t, "vectors", "chain-sync", name)
		m, err := Decode(StateCanAwait, msg)
		require.NoError(t, err, name)
		require.Equal(t, msg, m.Append(nil), name)
		payload := m.(MsgRollForward).Payload
		if strings.Contains(name, "_ntc_") {
			block, err := ParseBlock(payload)
			require.NoError(t, err, name)
			stored := testdata.Read(t, "vectors", "chain-sync", strings.TrimPrefix(name, "rollforward_ntc_"))
			require.True(t, bytes.Equal(block, stored) || bytes.Equal(block[2:], stored), name)
			era, err := BlockEra(block)
			require.NoError(t, err)
			require.Equal(t, map[bool]uint8{true: 1, false: 2}[strings.Contains(name, "byron")], era)
			continue
		}
		h, err := ParseHeader(payload)
		require.NoError(t, err, name)
		require.NoError(t, cbor.Wellformed(h.Bytes))
		require.Equal(t, payload, AppendHeader(nil, h), name)
		if strings.Contains(name, "ebb") {
			require.True(t, h.Boundary)
			stored := testdata.Read(t, "vectors", "chain-sync", strings.TrimPrefix(name, "rollforward_ntn_"))
			require.EqualValues(t, len(stored)+2, h.Size)
		}
	}
}

// How cardano-node encodes each era's header.
func TestVectorsGoldenHeaders(t *testing.T) {
	for era, names := range [][]string{{"Byron_EBB", "Byron_regular"}, {"Shelley"}, {"Allegra"}, {"Mary"}, {"Alonzo"}, {"Babbage"}, {"Conway"}, {"Dijkstra"}} {
		for _, name := range names {
			payload := testdata.Read(t, "vectors", "consensus-n2n-golden", "Header_"+name)
			h, err := ParseHeader(payload)
			require.NoError(t, err, name)
			require.EqualValues(t, era, h.Era, name)
			require.Equal(t, name == "Byron_EBB", h.Boundary, name)
			require.Equal(t, payload, AppendHeader(nil, h), name)
			msg := AppendRollForward(nil, payload, tipA)
			got, tip, err := DecodeRollForward(msg)
			require.NoError(t, err, name)
			require.Equal(t, payload, got)
			require.Equal(t, tipA, tip)
		}
	}
}

// Answers of a real cardano-node.
func TestVectorsNodeCaptures(t *testing.T) {
	type point struct {
		Slot  uint64
		Hash  string
		Block uint64 `json:"block_number"`
	}
	decode := func(p point) (q Point) {
		q.Slot = p.Slot
		copy(q.Hash[:], unhex(p.Hash))
		return q
	}
	n := 0
	for _, file := range []string{"fork_and_select_v1.json", "intersect_origin_one_rollforward.json", "slot_battle_v1.json"} {
		var doc struct {
			Capture struct {
				Peers []struct {
					Served []struct {
						Type   string `json:"msg_type"`
						Era    uint8
						Header string `json:"header_cbor"`
						Tip    point
						Point  point
					}
				}
			}
		}
		require.NoError(t, json.Unmarshal(testdata.Read(t, "vectors", "cardano-node-captures", file), &doc))
		for _, p := range doc.Capture.Peers {
			for i, s := range p.Served {
				tip := Tip{decode(s.Tip), s.Tip.Block}
				if s.Type == "roll_backward" {
					msg := AppendRollBackward(nil, decode(s.Point), tip)
					q, got, err := DecodeRollBackward(msg)
					require.NoError(t, err)
					require.Equal(t, decode(s.Point), q)
					require.Equal(t, tip, got)
					require.Equal(t, i == 0, q.IsOrigin())
					n++
					continue
				}
				require.Equal(t, "roll_forward", s.Type)
				h := Header{Era: s.Era - 1, Bytes: unhex(s.Header)}
				payload, got, err := DecodeRollForward(AppendRollForward(nil, AppendHeader(nil, h), tip))
				require.NoError(t, err)
				require.Equal(t, tip, got)
				back, err := ParseHeader(payload)
				require.NoError(t, err)
				require.Equal(t, h, back)
				n++
			}
		}
	}
	require.Equal(t, 9+9+2+5+17, n)
}

func TestCapturesChainSync(t *testing.T) {
	headers := 0
	n := codec.Replay(t, Number, func(m Message, c vectors.Captured) {
		if rf, ok := m.(MsgRollForward); ok {
			h, err := ParseHeader(rf.Payload)
			require.NoError(t, err)
			require.Equal(t, c.Bytes, AppendRollForward(nil, AppendHeader(nil, h), rf.Tip))
			headers++
		}
	})
	require.Equal(t, 266, headers)
	require.Greater(t, n, 2*headers)
	blocks := 0
	codec.Replay(t, LocalNumber, func(m Message, c vectors.Captured) {
		if rf, ok := m.(MsgRollForward); ok {
			block, err := ParseBlock(rf.Payload)
			require.NoError(t, err)
			require.Equal(t, c.Bytes, AppendRollForward(nil, AppendBlock(nil, block), rf.Tip))
			blocks++
		}
	})
	require.Equal(t, 10, blocks)
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	forward := AppendRollForward(nil, AppendHeader(nil, Header{Era: 6, Bytes: cbor.AppendBytes(nil, make([]byte, 860))}), tipA)
	backward := AppendRollBackward(nil, pointB, tipA)
	buf := make([]byte, 0, 2048)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		payload, _, err := DecodeRollForward(forward)
		if err != nil {
			panic(err)
		}
		if _, err = ParseHeader(payload); err != nil {
			panic(err)
		}
		if _, _, err = DecodeRollBackward(backward); err != nil {
			panic(err)
		}
		AppendRequestNext(AppendRollForward(buf, payload, tipA))
		if _, err = Spec().Step(StateCanAwait, forward); err != nil {
			panic(err)
		}
	}))
}

func TestErrorsNameTheMessage(t *testing.T) {
	_, _, err := DecodeRollForward(unhex("830100828000"))
	require.ErrorContains(t, err, "chain-sync: RollForward: ")
	var fault interface{ Fault() string }
	require.True(t, errors.As(err, &fault))
	require.Equal(t, "adversarial", fault.Fault())
	require.ErrorIs(t, err, cbor.ErrTag)
}

func BenchmarkRollForward(b *testing.B) {
	msg := AppendRollForward(nil, AppendHeader(nil, Header{Era: 6, Bytes: cbor.AppendBytes(nil, make([]byte, 860))}), tipA)
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(msg)))
		for b.Loop() {
			if _, _, err := DecodeRollForward(msg); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("step", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Spec().Step(StateMustReply, msg); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(msg)))
		payload, tip, _ := DecodeRollForward(msg)
		buf := make([]byte, 0, 2*len(msg))
		for b.Loop() {
			buf = AppendRollForward(buf[:0], payload, tip)
		}
	})
}
