package peersharing

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols/internal/vectors"
)

var codec = vectors.Codec[Message]{Spec: Spec(), Decode: Decode, Append: Message.Append}

func peers(s ...string) (p []netip.AddrPort) {
	for _, a := range s {
		p = append(p, netip.MustParseAddrPort(a))
	}
	return p
}

var cases = []vectors.Case[Message]{
	{ID: "P1", State: StateIdle, Want: MsgShareRequest{10}},
	{ID: "P2", State: StateIdle, Want: MsgShareRequest{255}},
	{ID: "P3", State: StateBusy, Want: MsgSharePeers{}},
	{ID: "P4", State: StateBusy, Want: MsgSharePeers{peers("127.0.0.1:3001")}},
	{ID: "P5", State: StateBusy, Want: MsgSharePeers{peers("192.0.2.1:3001")}, Alt: true},
	{ID: "P6", State: StateBusy, Want: MsgSharePeers{peers("[2001:db8::1]:3001")}},
	{ID: "P7", State: StateIdle, Want: MsgDone{}},
}

func TestGoldenPeerSharing(t *testing.T) {
	codec.Golden(t, cases)
	vectors.Complete(t, "P", cases)
}

func TestDocPeerSharing(t *testing.T) { vectors.DocTable(t, Spec()) }

// The trap of wire §9: 127.0.0.1 is 0x0100007f, 2001:db8::1 is 0x20010db8, 0, 0, 1.
func TestByteOrder(t *testing.T) {
	require.Equal(t, vectors.Hex("82019f83001a0100007f190bb983001a010200c0190bb986011a20010db8000001190bb9ff"),
		AppendSharePeers(nil, peers("127.0.0.1:3001", "192.0.2.1:3001", "[2001:db8::1]:3001")))
	require.Equal(t, vectors.Hex("82019f8300000086010000000000ff"), AppendSharePeers(nil, peers("0.0.0.0:0", "[::]:0")))
	require.Equal(t, vectors.Hex("82019f86010000"+"19ffff"+"1a01020304"+"01ff"), AppendSharePeers(nil, peers("[::ffff:1.2.3.4]:1")), "stays an IPv6 address")
	require.Equal(t, AppendSharePeers(nil, peers("[fe80::1]:1")), AppendSharePeers(nil, peers("[fe80::1%eth0]:1")))
}

func anyPeer() *rapid.Generator[netip.AddrPort] {
	return rapid.Custom(func(t *rapid.T) netip.AddrPort {
		n := rapid.SampledFrom([]int{4, 16}).Draw(t, "octets")
		addr, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "address"))
		return netip.AddrPortFrom(addr, rapid.Uint16().Draw(t, "port"))
	})
}

func samples() *rapid.Generator[vectors.Sample[Message]] {
	return rapid.Custom(func(t *rapid.T) vectors.Sample[Message] {
		switch rapid.IntRange(0, 2).Draw(t, "message") {
		case 0:
			return vectors.Sample[Message]{State: StateIdle, Msg: MsgShareRequest{rapid.Uint8().Draw(t, "amount")}}
		case 1:
			list := rapid.SliceOfN(anyPeer(), 0, 40).Draw(t, "peers")
			if len(list) == 0 {
				list = nil
			}
			return vectors.Sample[Message]{State: StateBusy, Msg: MsgSharePeers{list}}
		default:
			return vectors.Sample[Message]{State: StateIdle, Msg: MsgDone{}}
		}
	})
}

func TestCodecPeerSharing(t *testing.T)          { codec.RoundTrip(t, samples()) }
func TestCodecValidCBORPeerSharing(t *testing.T) { codec.ValidCBOR(t, samples()) }
func TestCodecSplits2PeerSharing(t *testing.T)   { codec.Splits2(t, cases, samples()) }
func TestCodecSplits3PeerSharing(t *testing.T)   { codec.Splits3(t, cases, samples()) }

func TestCDDLPeerSharing(t *testing.T) {
	codec.ValidCDDL(t, vectors.LoadGrammar(t, "peer-sharing-v14"), cases, samples(), nil, nil)
}

// prop_byteLimits: a reply of MaxPeers addresses fits, whatever they are, and one of the longest more does not.
func TestByteLimitsPeerSharing(t *testing.T) {
	longest := netip.MustParseAddrPort("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")
	list := make([]netip.AddrPort, MaxPeers)
	for i := range list {
		list[i] = longest
	}
	msg := AppendSharePeers(nil, list)
	require.LessOrEqual(t, len(msg), MaxMessage)
	require.Greater(t, len(AppendSharePeers(nil, append(list, longest))), MaxMessage)
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(anyPeer(), 0, MaxPeers).Draw(t, "peers")
		require.LessOrEqual(t, len(AppendSharePeers(nil, list)), Spec().States[StateBusy].Bytes)
	})
}

func TestMorePeersThanAskedFor(t *testing.T) {
	list := peers("1.2.3.4:1", "1.2.3.5:1", "1.2.3.6:1")
	msg := AppendSharePeers(nil, list)
	got, err := DecodeSharePeers(nil, msg, 3)
	require.NoError(t, err)
	require.Equal(t, list, got)
	_, err = DecodeSharePeers(nil, msg, 2)
	require.ErrorIs(t, err, ErrTooMany)
	_, err = DecodeSharePeers(nil, vectors.Hex("82019bffffffffffffffff00"), 10)
	require.ErrorIs(t, err, cbor.ErrTruncated)
}

func TestRefusesPeerSharing(t *testing.T) {
	codec.Refuse(t, []vectors.Refusal{
		{Name: "reply in Idle", State: StateIdle, Hex: "820180"},
		{Name: "request in Busy", State: StateBusy, Hex: "82000a"},
		{Name: "Done in Busy", State: StateBusy, Hex: "8102"},
		{Name: "anything in Done", State: StateDone, Hex: "8102"},
		{Name: "amount of 9 bits", State: StateIdle, Hex: "8200190100"},
		{Name: "negative amount", State: StateIdle, Hex: "820020"},
		{Name: "request of three elements", State: StateIdle, Hex: "83000a00"},
		{Name: "address kind 2", State: StateBusy, Hex: "82018183020001"},
		{Name: "IPv4 with four elements", State: StateBusy, Hex: "8201818400000100"},
		{Name: "IPv6 of versions 11 and 12, 8 elements", State: StateBusy, Hex: "8201818801000000000000190bb9"},
		{Name: "IPv6 as octets", State: StateBusy, Hex: "8201818301500000000000000000000000000000000001"},
		{Name: "IPv4 as octets", State: StateBusy, Hex: "8201818300447f00000101"},
		{Name: "word of 33 bits", State: StateBusy, Hex: "82018183001b000000010000000001"},
		{Name: "port of 17 bits", State: StateBusy, Hex: "8201818300001a00010000"},
		{Name: "address indefinite", State: StateBusy, Hex: "8201819f000001ff"},
		{Name: "address head longer than the address", State: StateBusy, Hex: "82019f8801000000000190bb9ff" + "0"},
		{Name: "list never ends", State: StateBusy, Hex: "82019f83000001"},
		{Name: "bytes behind", State: StateBusy, Hex: "82018000"},
		{Name: "outer array indefinite", State: StateIdle, Hex: "9f000aff"},
	})
}

func TestCapturesPeerSharing(t *testing.T) {
	told, asked := 0, 0
	codec.Replay(t, Number, func(m Message, c vectors.Captured) {
		switch m := m.(type) {
		case MsgShareRequest:
			asked = int(m.Amount)
		case MsgSharePeers:
			require.LessOrEqual(t, len(m.Peers), asked)
			for _, p := range m.Peers {
				require.True(t, p.Port() >= 3001 && p.Port() <= 3008, p)
				if p.Addr().Is4() {
					require.True(t, netip.MustParsePrefix("198.51.100.0/24").Contains(p.Addr()), p)
				}
			}
			told += len(m.Peers)
		}
	})
	require.Equal(t, 8+4+3, told)
}
