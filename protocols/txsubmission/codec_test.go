package txsubmission

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/internal/testdata"
	"github.com/hearthnet/hearth/protocols/internal/vectors"
)

var codec = vectors.Codec[Message]{Spec: Spec(), Decode: Decode, Append: Message.Append}

var (
	txID     = vectors.Hex("82065820" + strings.Repeat("cc", 32))
	tx       = vectors.Hex("8206d81845840000f5f6")
	goldenID = vectors.Hex("820658203da9a3b38dce0e87ca4a88f3328caac7a970cf9ac40424cde2b675768d11f11b")
	goldenTx = vectors.Hex("8206d8184e84a300d901028001800200a0f5f6")
)

var cases = []vectors.Case[Message]{
	{ID: "T1", State: StateInit, Want: MsgInit{}},
	{ID: "T2", State: StateIdle, Want: MsgRequestTxIDs{true, 0, 3}},
	{ID: "T3", State: StateIdle, Want: MsgRequestTxIDs{false, 2, 6}},
	{ID: "T4", State: StateTxIDsBlocking, Want: MsgReplyTxIDs{[]IDAndSize{{txID, 293}}}},
	{ID: "T5", State: StateTxIDsNonBlocking, Want: MsgReplyTxIDs{}},
	{ID: "T6", State: StateIdle, Want: MsgRequestTxs{[][]byte{txID}}},
	{ID: "T7", State: StateTxs, Want: MsgReplyTxs{[][]byte{tx}}},
	{ID: "T8", State: StateTxs, Want: MsgReplyTxs{}},
	{ID: "T9", State: StateTxIDsBlocking, Want: MsgDone{}},
	{ID: "G6", State: StateTxs, Want: MsgReplyTxs{[][]byte{goldenTx}}},
	{ID: "G7", State: StateTxIDsNonBlocking, Want: MsgReplyTxIDs{[]IDAndSize{{goldenID, 19}}}},
}

func TestGoldenTxSubmission(t *testing.T) {
	codec.Golden(t, cases)
	vectors.Complete(t, "T", cases)
}

func TestDocTxSubmission(t *testing.T) { vectors.DocTable(t, Spec()) }

func hashes(t *rapid.T) (h [32]byte) {
	copy(h[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
	return h
}

func ids() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		id := TxID{Era: rapid.Uint8Range(0, 8).Draw(t, "era"), Hash: hashes(t)}
		if id.Era == 0 {
			id.Kind = rapid.Uint8Range(0, 3).Draw(t, "kind")
		}
		return AppendTxID(nil, id)
	})
}

func txs() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		body := cbor.AppendBytes(nil, rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "body"))
		era := rapid.Uint8Range(0, 8).Draw(t, "era")
		if era == 0 {
			body = append([]byte{0x82, 0x00}, body...)
		}
		return AppendTx(nil, Tx{era, body})
	})
}

// listOf draws up to n elements, nil for none.
func listOf[T any](t *rapid.T, g *rapid.Generator[T], least, n int) []T {
	l := rapid.SliceOfN(g, least, n).Draw(t, "list")
	if len(l) == 0 {
		return nil
	}
	return l
}

func samples() *rapid.Generator[vectors.Sample[Message]] {
	announced := rapid.Custom(func(t *rapid.T) IDAndSize {
		return IDAndSize{ids().Draw(t, "id"), rapid.Uint32().Draw(t, "size")}
	})
	return rapid.Custom(func(t *rapid.T) vectors.Sample[Message] {
		switch rapid.IntRange(0, 6).Draw(t, "message") {
		case 0:
			return vectors.Sample[Message]{State: StateInit, Msg: MsgInit{}}
		case 1:
			return vectors.Sample[Message]{State: StateIdle, Msg: MsgRequestTxIDs{rapid.Bool().Draw(t, "blocking"), rapid.Uint16().Draw(t, "ack"), rapid.Uint16().Draw(t, "req")}}
		case 2:
			return vectors.Sample[Message]{State: StateTxIDsBlocking, Msg: MsgReplyTxIDs{listOf(t, announced, 1, 10)}}
		case 3:
			return vectors.Sample[Message]{State: StateTxIDsNonBlocking, Msg: MsgReplyTxIDs{listOf(t, announced, 0, 10)}}
		case 4:
			return vectors.Sample[Message]{State: StateIdle, Msg: MsgRequestTxs{listOf(t, ids(), 0, 10)}}
		case 5:
			return vectors.Sample[Message]{State: StateTxs, Msg: MsgReplyTxs{listOf(t, txs(), 0, 5)}}
		default:
			return vectors.Sample[Message]{State: StateTxIDsBlocking, Msg: MsgDone{}}
		}
	})
}

func TestCodecTxSubmission(t *testing.T)          { codec.RoundTrip(t, samples()) }
func TestCodecValidCBORTxSubmission(t *testing.T) { codec.ValidCBOR(t, samples()) }
func TestCodecSplits2TxSubmission(t *testing.T)   { codec.Splits2(t, cases, samples()) }
func TestCodecSplits3TxSubmission(t *testing.T)   { codec.Splits3(t, cases, samples()) }

func TestCDDLTxSubmission(t *testing.T) {
	// The grammar cannot say that lists are indefinite; a comment in it does.
	codec.ValidCDDL(t, vectors.LoadGrammar(t, "tx-submission2"), cases, samples(), nil, vectors.Indefinite)
}

func TestRefusesTxSubmission(t *testing.T) {
	codec.Refuse(t, []vectors.Refusal{
		{Name: "N7 definite list", State: StateTxIDsBlocking, Hex: "820180"},
		{Name: "N7 definite list, non-blocking", State: StateTxIDsNonBlocking, Hex: "820180"},
		{Name: "definite list of ids", State: StateTxIDsNonBlocking, Hex: "820181820600"},
		{Name: "N8 empty reply to a blocking request", State: StateTxIDsBlocking, Hex: "82019fff"},
		{Name: "definite list of requests", State: StateIdle, Hex: "820280"},
		{Name: "definite list of transactions", State: StateTxs, Hex: "820380"},
		{Name: "anything but Init first", State: StateInit, Hex: "8400f50003"},
		{Name: "the retired hello", State: StateInit, Hex: "8105"},
		{Name: "Init twice", State: StateIdle, Hex: "8106"},
		{Name: "Done in Idle", State: StateIdle, Hex: "8104"},
		{Name: "Done in non-blocking", State: StateTxIDsNonBlocking, Hex: "8104"},
		{Name: "Done in Txs", State: StateTxs, Hex: "8104"},
		{Name: "transactions where ids are due", State: StateTxIDsBlocking, Hex: "82039fff"},
		{Name: "ids where transactions are due", State: StateTxs, Hex: "82019fff"},
		{Name: "anything in Done", State: StateDone, Hex: "8106"},
		{Name: "blocking is a number", State: StateIdle, Hex: "8400010003"},
		{Name: "ack of 17 bits", State: StateIdle, Hex: "8400f51a0001000003"},
		{Name: "req of 17 bits", State: StateIdle, Hex: "8400f5001a00010000"},
		{Name: "negative req", State: StateIdle, Hex: "8400f50020"},
		{Name: "request of three fields", State: StateIdle, Hex: "8300f500"},
		{Name: "id without a size", State: StateTxIDsBlocking, Hex: "82019f81" + "00ff"},
		{Name: "size of 33 bits", State: StateTxIDsBlocking, Hex: "82019f82001b0000000100000000ff"},
		{Name: "pair indefinite", State: StateTxIDsBlocking, Hex: "82019f9f0001ffff"},
		{Name: "list never ends", State: StateTxIDsBlocking, Hex: "82019f820001"},
		{Name: "bytes behind", State: StateTxIDsNonBlocking, Hex: "82019fff00"},
		{Name: "transaction with bytes behind", State: StateTxs, Hex: "82039f8206d818420000ff"},
		{Name: "transaction in chunks", State: StateTxs, Hex: "82039f8206d8185f4100ffff"},
		{Name: "list is a map", State: StateTxs, Hex: "8203bfff"},
	})
}

func TestListLimits(t *testing.T) {
	announced := make([]IDAndSize, Window)
	raw := make([][]byte, Window)
	for i := range announced {
		announced[i], raw[i] = IDAndSize{txID, 1}, txID
	}
	msg := AppendReplyTxIDs(nil, announced)
	got, err := DecodeReplyTxIDs(nil, msg, Window, true)
	require.NoError(t, err)
	require.Equal(t, announced, got)
	_, err = DecodeReplyTxIDs(nil, msg, Window-1, true)
	require.ErrorIs(t, err, ErrTooMany)
	_, err = DecodeReplyTxIDs(nil, vectors.Hex("82019fff"), Window, true)
	require.ErrorIs(t, err, ErrEmpty)
	_, err = DecodeRequestTxs(nil, AppendRequestTxs(nil, raw), Window-1)
	require.ErrorIs(t, err, ErrTooMany)
	_, err = DecodeReplyTxs(nil, AppendReplyTxs(nil, raw), 0)
	require.ErrorIs(t, err, ErrTooMany)
	empty, err := DecodeReplyTxs(nil, AppendReplyTxs(nil, nil), 0)
	require.NoError(t, err)
	require.Empty(t, empty)

	// The caller's memory is used, and no more of it than the limit.
	buf := make([]IDAndSize, 0, Window)
	require.Zero(t, testing.AllocsPerRun(10, func() {
		if _, err := DecodeReplyTxIDs(buf, msg, Window, true); err != nil {
			panic(err)
		}
	}))
}

// A state's row depends on the request's first field.
func TestBlockingRequestsAreTheirOwnState(t *testing.T) {
	row, err := Spec().Step(StateIdle, AppendRequestTxIDs(nil, true, 0, 1))
	require.NoError(t, err)
	require.Equal(t, StateTxIDsBlocking, row.To)
	row, err = Spec().Step(StateIdle, AppendRequestTxIDs(nil, false, 1, 0))
	require.NoError(t, err)
	require.Equal(t, StateTxIDsNonBlocking, row.To)
}

func TestTxEnvelope(t *testing.T) {
	for _, c := range []struct {
		hex string
		tx  Tx
	}{
		{"8206d8184e84a300d901028001800200a0f5f6", Tx{6, vectors.Hex("84a300d901028001800200a0f5f6")}},
		{"8201d8185483a4008001800200031bffffffffffffffffa0f6", Tx{1, vectors.Hex("83a4008001800200031bffffffffffffffffa0f6")}},
		{"8200820080", Tx{0, vectors.Hex("820080")}},
	} {
		got, err := ParseTx(vectors.Hex(c.hex))
		require.NoError(t, err)
		require.Equal(t, c.tx, got)
		require.Equal(t, vectors.Hex(c.hex), AppendTx(nil, got))
		require.Equal(t, len(c.hex)/2, WireSize(got))
	}
	for n := range 70000 {
		if n < 600 || n > 65000 && n%997 == 0 {
			one := Tx{6, cbor.AppendBytes(nil, make([]byte, n))}
			require.Equal(t, len(AppendTx(nil, one)), WireSize(one))
		}
	}
	for _, h := range []string{"", "80", "820600", "8206d818420000", "8206d8184000", "82008100", "9f06d8184100ff", "8206d818410000", "82190100d8184100"} {
		_, err := ParseTx(vectors.Hex(h))
		require.Error(t, err, h)
	}
}

// How cardano-node encodes each era's ids.
func TestVectorsGoldenTxIDs(t *testing.T) {
	for era, name := range []string{"Byron", "Shelley", "Allegra", "Mary", "Alonzo", "Babbage", "Conway", "Dijkstra"} {
		raw := testdata.Read(t, "vectors", "consensus-n2n-golden", "GenTxId_"+name)
		id, err := ParseTxID(raw)
		require.NoError(t, err, name)
		require.EqualValues(t, era, id.Era)
		require.Zero(t, id.Kind)
		require.Equal(t, raw, AppendTxID(nil, id))
		got, err := DecodeRequestTxs(nil, AppendRequestTxs(nil, [][]byte{raw, raw}), 2)
		require.NoError(t, err)
		require.Equal(t, [][]byte{raw, raw}, got)
	}
	for _, h := range []string{"", "8206", "82064100", "820600", "8219010000", "82008100", "8206d8184100"} {
		_, err := ParseTxID(vectors.Hex(h))
		require.Error(t, err, h)
	}
}

func TestCapturesTxSubmission(t *testing.T) {
	sizes := map[string]uint32{}
	var order [][]byte
	seen := 0
	codec.Replay(t, Number, func(m Message, c vectors.Captured) {
		require.Equal(t, c.Bytes, m.Append(nil))
		switch m := m.(type) {
		case MsgReplyTxIDs:
			for _, id := range m.IDs {
				_, err := ParseTxID(id.ID)
				require.NoError(t, err)
				sizes[string(id.ID)] = id.Size
			}
		case MsgRequestTxs:
			order = m.IDs
		case MsgReplyTxs:
			for i, raw := range m.Txs {
				one, err := ParseTx(raw)
				require.NoError(t, err)
				require.Equal(t, len(raw), WireSize(one))
				require.InDelta(t, sizes[string(order[i])], len(raw), SizeTolerance)
				seen++
			}
		}
	})
	require.GreaterOrEqual(t, seen, 7)
}
