package localtxsubmission

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols/internal/vectors"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

var codec = vectors.Codec[Message]{Spec: Spec(), Decode: Decode, Append: Message.Append}

var cases = []vectors.Case[Message]{
	{ID: "S1", State: StateIdle, Want: MsgSubmitTx{vectors.Hex("8206d81845840000f5f6")}},
	{ID: "S2", State: StateBusy, Want: MsgAcceptTx{}},
	{ID: "S3", State: StateBusy, Want: MsgRejectTx{vectors.Hex("81820680")}},
	{ID: "S4", State: StateIdle, Want: MsgDone{}},
	{ID: "G8", State: StateIdle, Want: MsgSubmitTx{vectors.Hex("8206d8184e84a300d901028001800200a0f5f6")}},
	{ID: "G9", State: StateBusy, Want: MsgRejectTx{vectors.Hex("828201675368656c6c65798200654279726f6e")}},
}

func TestGoldenLocalTxSubmission(t *testing.T) {
	codec.Golden(t, cases)
	vectors.Complete(t, "S", cases)
}

func TestDocLocalTxSubmission(t *testing.T) { vectors.DocTable(t, Spec()) }

func samples() *rapid.Generator[vectors.Sample[Message]] {
	return rapid.Custom(func(t *rapid.T) vectors.Sample[Message] {
		item := cbor.AppendBytes(cbor.AppendArray(nil, 1), rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(t, "bytes"))
		tx := txsubmission.AppendTx(nil, txsubmission.Tx{Era: rapid.Uint8Range(1, 8).Draw(t, "era"), Bytes: item})
		return rapid.SampledFrom([]vectors.Sample[Message]{
			{State: StateIdle, Msg: MsgSubmitTx{tx}}, {State: StateIdle, Msg: MsgSubmitTx{item}}, {State: StateIdle, Msg: MsgDone{}},
			{State: StateBusy, Msg: MsgAcceptTx{}}, {State: StateBusy, Msg: MsgRejectTx{item}},
		}).Draw(t, "message")
	})
}

func TestCodecLocalTxSubmission(t *testing.T)          { codec.RoundTrip(t, samples()) }
func TestCodecValidCBORLocalTxSubmission(t *testing.T) { codec.ValidCBOR(t, samples()) }
func TestCodecSplits2LocalTxSubmission(t *testing.T)   { codec.Splits2(t, cases, samples()) }
func TestCodecSplits3LocalTxSubmission(t *testing.T)   { codec.Splits3(t, cases, samples()) }

func TestCDDLLocalTxSubmission(t *testing.T) {
	g := vectors.LoadGrammar(t, "local-tx-submission", vectors.Override{
		Rule: "rejectReason", With: "any", Why: "wire §14: CDDL: reject reason, NtC | `int` | `any` (era-wrapped error tree)",
	})
	codec.ValidCDDL(t, g, cases, samples(), nil, nil)
}

func TestRefusesLocalTxSubmission(t *testing.T) {
	codec.Refuse(t, []vectors.Refusal{
		{Name: "AcceptTx in Idle", State: StateIdle, Hex: "8101"},
		{Name: "SubmitTx in Busy", State: StateBusy, Hex: "820000"},
		{Name: "Done in Busy", State: StateBusy, Hex: "8103"},
		{Name: "anything in Done", State: StateDone, Hex: "8103"},
		{Name: "SubmitTx without a transaction", State: StateIdle, Hex: "8100"},
		{Name: "SubmitTx of two", State: StateIdle, Hex: "83000000"},
		{Name: "transaction with bytes behind", State: StateIdle, Hex: "82008206d818420000"},
		{Name: "transaction in chunks", State: StateIdle, Hex: "82008206d8185f4100ff"},
		{Name: "transaction malformed", State: StateIdle, Hex: "8200ff"},
		{Name: "reason malformed", State: StateBusy, Hex: "82021c"},
		{Name: "reason with bytes behind", State: StateBusy, Hex: "82020000"},
		{Name: "AcceptTx with a reason", State: StateBusy, Hex: "820100"},
		{Name: "outer array indefinite", State: StateBusy, Hex: "9f01ff"},
	})
}

func TestCapturesLocalTxSubmission(t *testing.T) {
	submitted, rejected := 0, 0
	codec.Replay(t, Number, func(m Message, c vectors.Captured) {
		require.Equal(t, c.Bytes, m.Append(nil))
		switch m := m.(type) {
		case MsgSubmitTx:
			tx, err := txsubmission.ParseTx(m.Tx)
			require.NoError(t, err)
			require.EqualValues(t, 6, tx.Era)
			submitted++
		case MsgRejectTx:
			require.NotEmpty(t, m.Reason)
			rejected++
		}
	})
	require.Equal(t, 5, submitted)
	require.Equal(t, 1, rejected)
}
