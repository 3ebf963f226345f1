package localtxmonitor

import (
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/internal/vectors"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

var codec = vectors.Codec[Message]{Spec: Spec(), Decode: Decode, Append: Message.Append}

var (
	txID = vectors.Hex("82065820" + strings.Repeat("cc", 32))
	tx   = vectors.Hex("8206d81845840000f5f6")
)

var cases = []vectors.Case[Message]{
	{ID: "M1", State: StateIdle, Want: MsgDone{}},
	{ID: "M2", State: StateIdle, Want: MsgAcquire{}},
	{ID: "M2", State: StateAcquired, Want: MsgAwaitAcquire{}},
	{ID: "M3", State: StateAcquiring, Want: MsgAcquired{133660799}},
	{ID: "M4", State: StateAcquired, Want: MsgRelease{}},
	{ID: "M5", State: StateAcquired, Want: MsgNextTx{}},
	{ID: "M6", State: StateNextTx, Want: MsgReplyNextTx{}},
	{ID: "M7", State: StateNextTx, Want: MsgReplyNextTx{tx}},
	{ID: "M8", State: StateAcquired, Want: MsgHasTx{txID}},
	{ID: "M9", State: StateHasTx, Want: MsgReplyHasTx{true}},
	{ID: "M10", State: StateAcquired, Want: MsgGetSizes{}},
	{ID: "M11", State: StateGetSizes, Want: MsgReplyGetSizes{Sizes{178176, 2048, 3}}},
	{ID: "M12", State: StateAcquired, Want: MsgGetMeasures{}},
	{ID: "M13", State: StateGetMeasures, Want: MsgReplyGetMeasures{3, []Measure{{"transaction_bytes", big.NewInt(2048), big.NewInt(178176)}}}},
}

func TestGoldenLocalTxMonitor(t *testing.T) {
	codec.Golden(t, cases)
	vectors.Complete(t, "M", cases)
}

func TestDocLocalTxMonitor(t *testing.T) { vectors.DocTable(t, Spec()) }

func anyMeasures() *rapid.Generator[[]Measure] {
	number := rapid.Custom(func(t *rapid.T) *big.Int {
		// Through the codec, so that equal numbers are the same in memory.
		n := new(big.Int).SetBytes(rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "octets"))
		if rapid.Bool().Draw(t, "negative") {
			n.Neg(n)
		}
		r := cbor.NewReader(cbor.AppendBigInt(nil, n))
		return r.BigInt()
	})
	return rapid.Custom(func(t *rapid.T) []Measure {
		var ms []Measure
		for _, name := range []string{"", "ex_units_memory", "ex_units_steps", "reference_scripts_bytes", "transaction_bytes", "é"} {
			if rapid.Bool().Draw(t, "there") {
				ms = append(ms, Measure{name, number.Draw(t, "size"), number.Draw(t, "capacity")})
			}
		}
		return ms
	})
}

func samples() *rapid.Generator[vectors.Sample[Message]] {
	return rapid.Custom(func(t *rapid.T) vectors.Sample[Message] {
		body := cbor.AppendBytes(nil, rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "body"))
		return rapid.SampledFrom([]vectors.Sample[Message]{
			{State: StateIdle, Msg: MsgAcquire{}},
			{State: StateIdle, Msg: MsgDone{}},
			{State: StateAcquiring, Msg: MsgAcquired{rapid.Uint64().Draw(t, "slot")}},
			{State: StateAcquired, Msg: MsgAwaitAcquire{}},
			{State: StateAcquired, Msg: MsgRelease{}},
			{State: StateAcquired, Msg: MsgNextTx{}},
			{State: StateAcquired, Msg: MsgHasTx{txsubmission.AppendTxID(nil, txsubmission.TxID{Era: rapid.Uint8().Draw(t, "era")})}},
			{State: StateAcquired, Msg: MsgGetSizes{}},
			{State: StateAcquired, Msg: MsgGetMeasures{}},
			{State: StateNextTx, Msg: MsgReplyNextTx{}},
			{State: StateNextTx, Msg: MsgReplyNextTx{txsubmission.AppendTx(nil, txsubmission.Tx{Era: 6, Bytes: body})}},
			{State: StateHasTx, Msg: MsgReplyHasTx{rapid.Bool().Draw(t, "has")}},
			{State: StateGetSizes, Msg: MsgReplyGetSizes{Sizes{rapid.Uint32().Draw(t, "capacity"), rapid.Uint32().Draw(t, "size"), rapid.Uint32().Draw(t, "count")}}},
			{State: StateGetMeasures, Msg: MsgReplyGetMeasures{rapid.Uint32().Draw(t, "txs"), anyMeasures().Draw(t, "measures")}},
		}).Draw(t, "message")
	})
}

func TestCodecLocalTxMonitor(t *testing.T)          { codec.RoundTrip(t, samples()) }
func TestCodecValidCBORLocalTxMonitor(t *testing.T) { codec.ValidCBOR(t, samples()) }
func TestCodecSplits2LocalTxMonitor(t *testing.T)   { codec.Splits2(t, cases, samples()) }
func TestCodecSplits3LocalTxMonitor(t *testing.T)   { codec.Splits3(t, cases, samples()) }

func TestCDDLLocalTxMonitor(t *testing.T) {
	codec.ValidCDDL(t, vectors.LoadGrammar(t, "local-tx-monitor"), cases, samples(), nil, nil)
}

func TestRefusesLocalTxMonitor(t *testing.T) {
	codec.Refuse(t, []vectors.Refusal{
		{Name: "Done in Acquired", State: StateAcquired, Hex: "8100"},
		{Name: "tag 4 for AwaitAcquire", State: StateAcquired, Hex: "8104"},
		{Name: "Release in Idle", State: StateIdle, Hex: "8103"},
		{Name: "NextTx in Idle", State: StateIdle, Hex: "8105"},
		{Name: "Acquire in Acquiring", State: StateAcquiring, Hex: "8101"},
		{Name: "another reply than asked for", State: StateNextTx, Hex: "8208f5"},
		{Name: "NextTx reply to HasTx", State: StateHasTx, Hex: "8106"},
		{Name: "sizes to GetMeasures", State: StateGetMeasures, Hex: "820a83000000"},
		{Name: "measures to GetSizes", State: StateGetSizes, Hex: "830c00a0"},
		{Name: "anything in Done", State: StateDone, Hex: "8101"},
		{Name: "Acquired without a slot", State: StateAcquiring, Hex: "8102"},
		{Name: "negative slot", State: StateAcquiring, Hex: "820220"},
		{Name: "ReplyNextTx of two", State: StateNextTx, Hex: "83060000"},
		{Name: "transaction with bytes behind", State: StateNextTx, Hex: "82068206d818420000"},
		{Name: "HasTx without an id", State: StateAcquired, Hex: "8107"},
		{Name: "ReplyHasTx of a number", State: StateHasTx, Hex: "820801"},
		{Name: "two sizes", State: StateGetSizes, Hex: "820a820000"},
		{Name: "four sizes", State: StateGetSizes, Hex: "820a8400000000"},
		{Name: "sizes indefinite", State: StateGetSizes, Hex: "820a9f000000ff"},
		{Name: "size of 33 bits", State: StateGetSizes, Hex: "820a831b000000010000000000" + "00"},
		{Name: "measures indefinite", State: StateGetMeasures, Hex: "830c00bfff"},
		{Name: "measures are a list", State: StateGetMeasures, Hex: "830c0080"},
		{Name: "name in bytes", State: StateGetMeasures, Hex: "830c00a14161820000"},
		{Name: "name in chunks", State: StateGetMeasures, Hex: "830c00a17f6161ff820000"},
		{Name: "name is not UTF-8", State: StateGetMeasures, Hex: "830c00a161ff820000"},
		{Name: "measure named twice", State: StateGetMeasures, Hex: "830c00a26161820000" + "6161820000"},
		{Name: "measure of three numbers", State: StateGetMeasures, Hex: "830c00a1616183000000"},
		{Name: "measure of text", State: StateGetMeasures, Hex: "830c00a16161820060"},
		{Name: "huge number of measures", State: StateGetMeasures, Hex: "830c00bbffffffffffffffff00"},
		{Name: "bignum of 33 bytes", State: StateGetMeasures, Hex: "830c00a161618200c25821" + strings.Repeat("ff", 33)},
		{Name: "count of 33 bits", State: StateGetMeasures, Hex: "830c1b0000000100000000a0"},
	})
}

func TestMeasures(t *testing.T) {
	// Any order is accepted and given in ascending order, which is the order they are sent in.
	count, ms, err := DecodeReplyGetMeasures(vectors.Hex("830c07a2" + "6162820102" + "6161823863c249010000000000000000"))
	require.NoError(t, err)
	require.EqualValues(t, 7, count)
	require.Len(t, ms, 2)
	require.Equal(t, "a", ms[0].Name)
	require.Equal(t, "-100", ms[0].Size.String())
	require.Equal(t, "18446744073709551616", ms[0].Capacity.String())
	require.Equal(t, vectors.Hex("830c07a2"+"6161823863c249010000000000000000"+"6162820102"), AppendReplyGetMeasures(nil, 7, []Measure{ms[1], ms[0]}))

	require.Equal(t, vectors.Hex("830c00a1"+"6161820000"), AppendReplyGetMeasures(nil, 0, []Measure{{Name: "a"}}))

	many := make([]Measure, MaxMeasures+1)
	for i := range many {
		many[i] = Measure{strings.Repeat("x", i), big.NewInt(1), big.NewInt(2)}
	}
	_, got, err := DecodeReplyGetMeasures(AppendReplyGetMeasures(nil, 1, many[:MaxMeasures]))
	require.NoError(t, err)
	require.Len(t, got, MaxMeasures)
	_, _, err = DecodeReplyGetMeasures(AppendReplyGetMeasures(nil, 1, many))
	require.ErrorIs(t, err, errMeasures)
}

// The same bytes mean Acquire or AwaitAcquire (wire §12.3).
func TestAcquireDependsOnState(t *testing.T) {
	for st, want := range map[protocols.State]Message{StateIdle: MsgAcquire{}, StateAcquired: MsgAwaitAcquire{}} {
		m, err := Decode(st, vectors.Hex("8101"))
		require.NoError(t, err)
		require.Equal(t, want, m)
		row, err := Spec().Step(st, vectors.Hex("8101"))
		require.NoError(t, err)
		require.Equal(t, StateAcquiring, row.To)
	}
}

func TestCapturesLocalTxMonitor(t *testing.T) {
	txs, has := 0, 0
	codec.Replay(t, Number, func(m Message, c vectors.Captured) {
		require.Equal(t, c.Bytes, m.Append(nil))
		switch m := m.(type) {
		case MsgReplyNextTx:
			if m.Tx != nil {
				_, err := txsubmission.ParseTx(m.Tx)
				require.NoError(t, err)
				txs++
			}
		case MsgHasTx: // the writer of the capture sends bare hashes, which is its mistake (wire §15)
			_, err := txsubmission.ParseTxID(m.ID)
			require.Error(t, err)
		case MsgReplyHasTx:
			if m.Has {
				has++
			}
		}
	})
	require.Equal(t, 4, txs)
	require.Equal(t, 4, has)
}
