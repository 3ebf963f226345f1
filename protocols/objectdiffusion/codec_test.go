package objectdiffusion

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols/internal/vectors"
)

var codec = vectors.Codec[Message]{Spec: Spec(), Decode: Decode, Append: Message.Append}

var id = vectors.Hex("4401020304")

var cases = []vectors.Case[Message]{
	{ID: "O1", State: StateInit, Want: MsgInit{}},
	{ID: "O2", State: StateIdle, Want: MsgRequestIDs{true, 0, 10}},
	{ID: "O3", State: StateIDsBlocking, Want: MsgReplyIDs{[][]byte{id}}},
	{ID: "O3", State: StateIDsNonBlocking, Want: MsgReplyIDs{[][]byte{id}}},
	{ID: "O4", State: StateIdle, Want: MsgRequestObjects{[][]byte{id}}},
	{ID: "O5", State: StateObjects, Want: MsgReplyObjects{[][]byte{vectors.Hex("420506")}}},
	{ID: "O6", State: StateIdle, Want: MsgDone{}},
}

func TestGoldenObjectDiffusion(t *testing.T) {
	codec.Golden(t, cases)
	vectors.Complete(t, "O", cases)
}

func TestDocObjectDiffusion(t *testing.T) { vectors.DocTable(t, Spec()) }

func items(t *rapid.T, least int) [][]byte {
	item := rapid.Custom(func(t *rapid.T) []byte {
		return cbor.AppendBytes(cbor.AppendArray(nil, 1), rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "bytes"))
	})
	list := rapid.SliceOfN(item, least, 12).Draw(t, "items")
	if len(list) == 0 {
		return nil
	}
	return list
}

func samples() *rapid.Generator[vectors.Sample[Message]] {
	return rapid.Custom(func(t *rapid.T) vectors.Sample[Message] {
		switch rapid.IntRange(0, 6).Draw(t, "message") {
		case 0:
			return vectors.Sample[Message]{State: StateInit, Msg: MsgInit{}}
		case 1:
			return vectors.Sample[Message]{State: StateIdle, Msg: MsgRequestIDs{rapid.Bool().Draw(t, "blocking"), rapid.Uint16().Draw(t, "ack"), rapid.Uint16().Draw(t, "req")}}
		case 2:
			return vectors.Sample[Message]{State: StateIDsBlocking, Msg: MsgReplyIDs{items(t, 1)}}
		case 3:
			return vectors.Sample[Message]{State: StateIDsNonBlocking, Msg: MsgReplyIDs{items(t, 0)}}
		case 4:
			return vectors.Sample[Message]{State: StateIdle, Msg: MsgRequestObjects{items(t, 0)}}
		case 5:
			return vectors.Sample[Message]{State: StateObjects, Msg: MsgReplyObjects{items(t, 0)}}
		default:
			return vectors.Sample[Message]{State: StateIdle, Msg: MsgDone{}}
		}
	})
}

func TestCodecObjectDiffusion(t *testing.T)          { codec.RoundTrip(t, samples()) }
func TestCodecValidCBORObjectDiffusion(t *testing.T) { codec.ValidCBOR(t, samples()) }
func TestCodecSplits2ObjectDiffusion(t *testing.T)   { codec.Splits2(t, cases, samples()) }
func TestCodecSplits3ObjectDiffusion(t *testing.T)   { codec.Splits3(t, cases, samples()) }

func TestCDDLObjectDiffusion(t *testing.T) {
	// The grammar cannot say that lists are indefinite; a comment in it does.
	codec.ValidCDDL(t, vectors.LoadGrammar(t, "object-diffusion"), cases, samples(), nil, vectors.Indefinite)
}

func TestRefusesObjectDiffusion(t *testing.T) {
	codec.Refuse(t, []vectors.Refusal{
		{Name: "definite list of ids", State: StateIDsNonBlocking, Hex: "820280"},
		{Name: "definite list of requests", State: StateIdle, Hex: "820380"},
		{Name: "definite list of objects", State: StateObjects, Hex: "820480"},
		{Name: "empty reply to a blocking request", State: StateIDsBlocking, Hex: "82029fff"},
		{Name: "anything but Init first", State: StateInit, Hex: "8401f5000a"},
		{Name: "Done in Init", State: StateInit, Hex: "8105"},
		{Name: "Init twice", State: StateIdle, Hex: "8100"},
		{Name: "Done in blocking", State: StateIDsBlocking, Hex: "8105"},
		{Name: "ids where objects are due", State: StateObjects, Hex: "82029fff"},
		{Name: "objects where ids are due", State: StateIDsNonBlocking, Hex: "82049fff"},
		{Name: "anything in Done", State: StateDone, Hex: "8100"},
		{Name: "blocking is a number", State: StateIdle, Hex: "840101000a"},
		{Name: "ack of 17 bits", State: StateIdle, Hex: "8401f51a000100000a"},
		{Name: "req of 17 bits", State: StateIdle, Hex: "8401f5001a00010000"},
		{Name: "list never ends", State: StateObjects, Hex: "82049f00"},
		{Name: "bytes behind", State: StateObjects, Hex: "82049fff00"},
		{Name: "malformed object", State: StateObjects, Hex: "82049f1cff"},
	})
}

func TestListLimits(t *testing.T) {
	raw := make([][]byte, VoteWindow)
	for i := range raw {
		raw[i] = id
	}
	got, err := DecodeReplyIDs(nil, AppendReplyIDs(nil, raw), VoteWindow, true)
	require.NoError(t, err)
	require.Equal(t, raw, got)
	_, err = DecodeReplyIDs(nil, AppendReplyIDs(nil, raw), CertificateWindow, true)
	require.ErrorIs(t, err, ErrTooMany)
	_, err = DecodeReplyIDs(raw, AppendReplyIDs(nil, nil), VoteWindow, true)
	require.ErrorIs(t, err, ErrEmpty)
	_, err = DecodeRequestObjects(nil, AppendRequestObjects(nil, raw), 1)
	require.ErrorIs(t, err, ErrTooMany)
	_, err = DecodeReplyObjects(nil, AppendReplyObjects(nil, raw), 1)
	require.ErrorIs(t, err, ErrTooMany)
}

func TestBlockingRequestsAreTheirOwnState(t *testing.T) {
	row, err := Spec().Step(StateIdle, AppendRequestIDs(nil, true, 0, 1))
	require.NoError(t, err)
	require.Equal(t, StateIDsBlocking, row.To)
	row, err = Spec().Step(StateIdle, AppendRequestIDs(nil, false, 1, 0))
	require.NoError(t, err)
	require.Equal(t, StateIDsNonBlocking, row.To)
}
