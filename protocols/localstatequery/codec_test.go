package localstatequery

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/protocols/internal/vectors"
)

var codec = vectors.Codec[Message]{Spec: Spec(), Decode: Decode, Append: Message.Append}

func point(slot uint64, b byte) chainsync.Point {
	p := chainsync.Point{Slot: slot}
	for i := range p.Hash {
		p.Hash[i] = b
	}
	return p
}

var (
	pointA  = point(133660799, 0xaa)
	atPoint = At(pointA)
)

var cases = []vectors.Case[Message]{
	{ID: "Q1", State: StateIdle, Want: MsgAcquire{atPoint}},
	{ID: "Q2", State: StateIdle, Want: MsgAcquire{}},
	{ID: "Q3", State: StateIdle, Want: MsgAcquire{Target{Kind: Immutable}}},
	{ID: "Q4", State: StateAcquiring, Want: MsgAcquired{}},
	{ID: "Q5", State: StateAcquiring, Want: MsgFailure{PointTooOld}},
	{ID: "Q6", State: StateAcquiring, Want: MsgFailure{PointNotOnChain}},
	{ID: "Q7", State: StateAcquired, Want: MsgQuery{vectors.Hex("8102")}},
	{ID: "Q8", State: StateAcquired, Want: MsgQuery{vectors.Hex("820082028101")}},
	{ID: "Q9", State: StateQuerying, Want: MsgResult{vectors.Hex("82011a00a946db")}},
	{ID: "Q10", State: StateAcquired, Want: MsgRelease{}},
	{ID: "Q11", State: StateAcquired, Want: MsgReAcquire{atPoint}},
	{ID: "Q12", State: StateAcquired, Want: MsgReAcquire{}},
	{ID: "Q13", State: StateAcquired, Want: MsgReAcquire{Target{Kind: Immutable}}},
	{ID: "Q14", State: StateIdle, Want: MsgDone{}},
	{ID: "G10", State: StateAcquired, Want: MsgQuery{vectors.Hex("8200820082068101")}},
	{ID: "G11", State: StateAcquired, Want: MsgQuery{vectors.Hex("820082028100")}},
}

func TestGoldenLocalStateQuery(t *testing.T) {
	codec.Golden(t, cases)
	vectors.Complete(t, "Q", cases)
}

func TestDocLocalStateQuery(t *testing.T) { vectors.DocTable(t, Spec()) }

func samples() *rapid.Generator[vectors.Sample[Message]] {
	return rapid.Custom(func(t *rapid.T) vectors.Sample[Message] {
		target := rapid.SampledFrom([]Target{
			{}, {Kind: Immutable}, {Kind: AtPoint}, At(point(rapid.Uint64().Draw(t, "slot"), rapid.ByteRange(1, 255).Draw(t, "hash"))),
		}).Draw(t, "target")
		item := cbor.AppendBytes(cbor.AppendArray(nil, 1), rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(t, "bytes"))
		return rapid.SampledFrom([]vectors.Sample[Message]{
			{State: StateIdle, Msg: MsgAcquire{target}}, {State: StateIdle, Msg: MsgDone{}},
			{State: StateAcquiring, Msg: MsgAcquired{}}, {State: StateAcquiring, Msg: MsgFailure{Failure(rapid.Uint8Range(0, 1).Draw(t, "reason"))}},
			{State: StateAcquired, Msg: MsgQuery{item}}, {State: StateAcquired, Msg: MsgReAcquire{target}}, {State: StateAcquired, Msg: MsgRelease{}},
			{State: StateQuerying, Msg: MsgResult{item}},
		}).Draw(t, "message")
	})
}

func TestCodecLocalStateQuery(t *testing.T)          { codec.RoundTrip(t, samples()) }
func TestCodecValidCBORLocalStateQuery(t *testing.T) { codec.ValidCBOR(t, samples()) }
func TestCodecSplits2LocalStateQuery(t *testing.T)   { codec.Splits2(t, cases, samples()) }
func TestCodecSplits3LocalStateQuery(t *testing.T)   { codec.Splits3(t, cases, samples()) }

func TestCDDLLocalStateQuery(t *testing.T) {
	codec.ValidCDDL(t, vectors.LoadGrammar(t, "local-state-query"), cases, samples(), map[string]func(*rand.Rand) []byte{
		"network.base.point": func(rnd *rand.Rand) []byte {
			return chainsync.AppendPoint(nil, point(rnd.Uint64(), byte(rnd.IntN(256))))
		},
	}, nil)
}

func TestRefusesLocalStateQuery(t *testing.T) {
	codec.Refuse(t, []vectors.Refusal{
		{Name: "Query in Idle", State: StateIdle, Hex: "820300"},
		{Name: "ReAcquire in Idle", State: StateIdle, Hex: "8109"},
		{Name: "Release in Idle", State: StateIdle, Hex: "8105"},
		{Name: "Acquire in Acquired", State: StateAcquired, Hex: "8108"},
		{Name: "Done in Acquired", State: StateAcquired, Hex: "8107"},
		{Name: "Acquire in Acquiring", State: StateAcquiring, Hex: "8108"},
		{Name: "Result in Acquiring", State: StateAcquiring, Hex: "820400"},
		{Name: "Query in Querying", State: StateQuerying, Hex: "820300"},
		{Name: "Release in Querying", State: StateQuerying, Hex: "8105"},
		{Name: "anything in Done", State: StateDone, Hex: "8107"},
		{Name: "failure 2", State: StateAcquiring, Hex: "820202"},
		{Name: "failure 256", State: StateAcquiring, Hex: "8202190100"},
		{Name: "failure without a reason", State: StateAcquiring, Hex: "8102"},
		{Name: "point of one element", State: StateIdle, Hex: "82008101"},
		{Name: "point with a short hash", State: StateIdle, Hex: "8200820141aa"},
		{Name: "point indefinite", State: StateIdle, Hex: "82009fff"},
		{Name: "slot 0 and no hash", State: StateIdle, Hex: "820082005820" + strings.Repeat("00", 32)},
		{Name: "volatile tip with a point", State: StateIdle, Hex: "820880"},
		{Name: "point without a point", State: StateIdle, Hex: "8100"},
		{Name: "no query", State: StateAcquired, Hex: "8103"},
		{Name: "two queries", State: StateAcquired, Hex: "83030000"},
		{Name: "query malformed", State: StateAcquired, Hex: "8203ff"},
		{Name: "result cut short", State: StateQuerying, Hex: "820482"},
		{Name: "bytes behind", State: StateQuerying, Hex: "82040000"},
		{Name: "outer array indefinite", State: StateIdle, Hex: "9f08ff"},
	})
}

// A failed acquisition leads to Idle, from either side.
func TestFailureReleases(t *testing.T) {
	row, err := Spec().Step(StateAcquiring, AppendFailure(nil, PointNotOnChain))
	require.NoError(t, err)
	require.Equal(t, StateIdle, row.To)
	require.NotEqual(t, PointTooOld.Error(), PointNotOnChain.Error())
	require.Equal(t, "benign", PointTooOld.Fault())
	require.Equal(t, "volatile tip", Target{}.String())
	require.Equal(t, pointA.String(), At(pointA).String())
}

// Queries and results are handed on whatever they are.
func TestQueriesAreOpaque(t *testing.T) {
	for _, h := range []string{"00", "9f9f00ffff", "bf6161f6ff", "d8184100", "d81843ffffff", "fb7ff8000000000000", "5f4101ff"} {
		item := vectors.Hex(h)
		q, err := DecodeQuery(AppendQuery(nil, item))
		require.NoError(t, err)
		require.Equal(t, item, q)
		res, err := DecodeResult(append(AppendResultHead(nil), item...))
		require.NoError(t, err)
		require.Equal(t, item, res)
	}
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	msg := AppendResult(nil, cbor.AppendBytes(nil, make([]byte, 1<<20)))
	acquire := AppendAcquire(nil, atPoint)
	require.Zero(t, testing.AllocsPerRun(10, func() {
		if _, err := DecodeResult(msg); err != nil {
			panic(err)
		}
		if _, err := DecodeTarget(acquire); err != nil {
			panic(err)
		}
	}))
}

func TestCapturesLocalStateQuery(t *testing.T) {
	var queries, results int
	n := codec.Replay(t, Number, func(m Message, c vectors.Captured) {
		require.Equal(t, c.Bytes, m.Append(nil))
		switch m.(type) {
		case MsgQuery:
			queries++
		case MsgResult:
			results++
		}
	})
	require.Equal(t, 3, queries)
	require.Equal(t, 3, results)
	require.Equal(t, 8, n)
}

func TestStates(t *testing.T) {
	st := protocols.State(StateIdle)
	for _, m := range []Message{
		MsgAcquire{}, MsgFailure{}, MsgAcquire{atPoint}, MsgAcquired{}, MsgQuery{[]byte{0}}, MsgResult{[]byte{0}},
		MsgReAcquire{}, MsgAcquired{}, MsgRelease{}, MsgDone{},
	} {
		row, err := Spec().Step(st, m.Append(nil))
		require.NoError(t, err)
		st = row.To
	}
	require.Equal(t, StateDone, st)
}
