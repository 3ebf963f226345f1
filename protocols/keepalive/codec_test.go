package keepalive

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/internal/vectors"
)

var codec = vectors.Codec[Message]{Spec: Spec(), Decode: Decode, Append: Message.Append}

var cases = []vectors.Case[Message]{
	{ID: "K1", State: StateClient, Want: MsgKeepAlive{0xabcd}},
	{ID: "K2", State: StateServer, Want: MsgResponse{0xabcd}},
	{ID: "K3", State: StateClient, Want: MsgKeepAlive{7}},
	{ID: "K4", State: StateClient, Want: MsgDone{}},
}

func TestGoldenKeepAlive(t *testing.T) {
	codec.Golden(t, cases)
	vectors.Complete(t, "K", cases)
}

func TestDocKeepAlive(t *testing.T) { vectors.DocTable(t, Spec()) }

func samples() *rapid.Generator[vectors.Sample[Message]] {
	return rapid.Custom(func(t *rapid.T) vectors.Sample[Message] {
		cookie := rapid.Uint16().Draw(t, "cookie")
		return rapid.SampledFrom([]vectors.Sample[Message]{
			{State: StateClient, Msg: MsgKeepAlive{cookie}}, {State: StateServer, Msg: MsgResponse{cookie}}, {State: StateClient, Msg: MsgDone{}},
		}).Draw(t, "message")
	})
}

func TestCodecKeepAlive(t *testing.T)          { codec.RoundTrip(t, samples()) }
func TestCodecValidCBORKeepAlive(t *testing.T) { codec.ValidCBOR(t, samples()) }
func TestCodecSplits2KeepAlive(t *testing.T)   { codec.Splits2(t, cases, samples()) }
func TestCodecSplits3KeepAlive(t *testing.T)   { codec.Splits3(t, cases, samples()) }

func TestCDDLKeepAlive(t *testing.T) {
	codec.ValidCDDL(t, vectors.LoadGrammar(t, "keep-alive"), cases, samples(), nil, nil)
}

// prop_byteLimits: every message is far below the limit of its state.
func TestByteLimitsKeepAlive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := samples().Draw(t, "message")
		n := len(s.Msg.Append(nil))
		require.LessOrEqual(t, n, Spec().States[s.State].Bytes)
		require.LessOrEqual(t, n, IngressLimit)
	})
}

// N14 and N15: the codec gives the cookie; comparing it is the client's business.
func TestCookieIsExact(t *testing.T) {
	sent, err := DecodeKeepAlive(vectors.Hex("820019abcd"))
	require.NoError(t, err)
	wrong, err := DecodeResponse(vectors.Hex("820119abce"))
	require.NoError(t, err)
	require.NotEqual(t, sent, wrong)
	right, err := DecodeResponse(vectors.Hex("820119abcd"))
	require.NoError(t, err)
	require.Equal(t, sent, right)
	long, err := DecodeResponse(vectors.Hex("82011b000000000000abcd")) // a head that is too long is no offence
	require.NoError(t, err)
	require.Equal(t, sent, long)
}

func TestRefusesKeepAlive(t *testing.T) {
	codec.Refuse(t, []vectors.Refusal{
		{Name: "response in Client", State: StateClient, Hex: "820119abcd"},
		{Name: "request in Server", State: StateServer, Hex: "820019abcd"},
		{Name: "Done in Server", State: StateServer, Hex: "8102"},
		{Name: "anything in Done", State: StateDone, Hex: "8102"},
		{Name: "cookie of 17 bits", State: StateClient, Hex: "82001a00010000"},
		{Name: "negative cookie", State: StateClient, Hex: "820020"},
		{Name: "cookie in bytes", State: StateClient, Hex: "820042abcd"},
		{Name: "no cookie", State: StateClient, Hex: "8100"},
		{Name: "two cookies", State: StateClient, Hex: "83000001"},
		{Name: "the retired form without a list", State: StateServer, Hex: "0119abcd"},
		{Name: "bytes behind", State: StateClient, Hex: "82000700"},
		{Name: "bytes behind Done", State: StateClient, Hex: "810200"},
		{Name: "outer array indefinite", State: StateClient, Hex: "9f0007ff"},
		{Name: "cut short", State: StateClient, Hex: "820019ab"},
	})
}

func TestCapturesKeepAlive(t *testing.T) {
	var last uint16
	n := codec.Replay(t, Number, func(m Message, c vectors.Captured) {
		require.Equal(t, c.Bytes, m.Append(nil))
		switch m := m.(type) {
		case MsgKeepAlive:
			last = m.Cookie
		case MsgResponse:
			require.Equal(t, last, m.Cookie)
		}
	})
	require.Equal(t, 2*(9+20+4), n)
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 16)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		msg := AppendKeepAlive(buf, 0xabcd)
		if cookie, err := DecodeKeepAlive(msg); err != nil || cookie != 0xabcd {
			panic(err)
		}
		if _, err := Spec().Step(StateClient, msg); err != nil {
			panic(err)
		}
		if _, err := DecodeResponse(AppendResponse(buf, 1)); err != nil {
			panic(err)
		}
	}))
}

func TestStates(t *testing.T) {
	st := Spec().Initial
	for _, m := range []struct {
		msg Message
		to  protocols.State
	}{{MsgKeepAlive{1}, StateServer}, {MsgResponse{1}, StateClient}, {MsgDone{}, StateDone}} {
		row, err := Spec().Step(st, m.msg.Append(nil))
		require.NoError(t, err)
		require.Equal(t, m.to, row.To)
		st = row.To
	}
}
