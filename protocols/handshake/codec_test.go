package handshake

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/internal/vectors"
)

func codec(ntc bool) vectors.Codec[Message] {
	return vectors.Codec[Message]{
		Spec:   Spec(),
		Decode: func(st protocols.State, msg []byte) (Message, error) { return Decode(st, msg, ntc) },
		Append: func(m Message, dst []byte) []byte { return m.Append(dst, ntc) },
	}
}

const mainnet = 764824073

func data(v uint16, ntc bool, d Data) []byte { return AppendData(nil, v, ntc, d) }

func table(ntc bool, d Data, vs ...uint16) []Entry {
	return Proposal{ntc, vs, d}.Table()
}

var (
	full  = Data{Magic: mainnet, PeerSharing: true}
	query = Data{Magic: 1, Query: true}
)

var casesNodeToNode = []vectors.Case[Message]{
	{ID: "H1", State: StatePropose, Want: MsgPropose{table(false, full, 14, 15)}},
	{ID: "H2", State: StatePropose, Want: MsgPropose{table(false, Data{Magic: 2, InitiatorOnly: true}, 14, 15, 16)}},
	{ID: "H3", State: StateConfirm, Want: MsgAccept{15, data(15, false, full)}},
	{ID: "H4", State: StateConfirm, Want: MsgAccept{16, data(16, false, Data{Magic: 1, PeerSharing: true, Peras: true})}},
	{ID: "H5", State: StateConfirm, Want: MsgRefuse{Refusal{Reason: VersionMismatch, Versions: []uint16{14, 15, 16}}}},
	{ID: "H6", State: StateConfirm, Want: MsgRefuse{Refusal{Reason: DecodeError, Version: 15, Text: "bad data"}}},
	{ID: "H7", State: StateConfirm, Want: MsgRefuse{Refusal{Reason: Refused, Version: 15, Text: "magic mismatch"}}},
	{ID: "H8", State: StatePropose, Want: MsgPropose{[]Entry{{14, vectors.Hex("8401f500f5")}, {15, vectors.Hex("8401f500f5")}}}},
	{ID: "H9", State: StateConfirm, Want: MsgQueryReply{table(false, Data{Magic: 1, PeerSharing: true}, 14, 15)}},
	// The same bytes as H1, received in Confirm: simultaneous open.
	{ID: "H1", State: StateConfirm, Want: MsgReplyVersions{table(false, full, 14, 15)}},
}

var casesNodeToClient = []vectors.Case[Message]{
	{ID: "H10", State: StatePropose, Want: MsgPropose{table(true, Data{Magic: 1}, 16, 17, 18, 19, 20, 21, 22, 23)}},
	{ID: "H11", State: StateConfirm, Want: MsgAccept{23, data(23, true, Data{Magic: 1})}},
	{ID: "H12", State: StateConfirm, Want: MsgRefuse{Refusal{Reason: VersionMismatch, Versions: []uint16{16, 17}}}},
}

func TestGoldenHandshake(t *testing.T) {
	codec(false).Golden(t, casesNodeToNode)
	codec(true).Golden(t, casesNodeToClient)
	vectors.Complete(t, "H", append(slices.Clone(casesNodeToNode), casesNodeToClient...))
}

func TestDocHandshake(t *testing.T) { vectors.DocTable(t, Spec()) }

func anyProposal(ntc bool) *rapid.Generator[Proposal] {
	all := NodeToNodeVersions()
	if ntc {
		all = NodeToClientVersions()
	}
	return rapid.Custom(func(t *rapid.T) Proposal {
		p := Proposal{NodeToClient: ntc, Data: Data{
			Magic:         rapid.SampledFrom([]uint32{0, 1, 2, mainnet, 1<<32 - 1}).Draw(t, "magic"),
			InitiatorOnly: rapid.Bool().Draw(t, "initiatorOnly"),
			PeerSharing:   rapid.Bool().Draw(t, "peerSharing"),
			Query:         rapid.Bool().Draw(t, "query"),
			Peras:         rapid.Bool().Draw(t, "peras"),
		}}
		for _, v := range all {
			if rapid.Bool().Draw(t, "version") {
				p.Versions = append(p.Versions, v)
			}
		}
		if len(p.Versions) == 0 {
			p.Versions = all[:1]
		}
		return p
	})
}

func samples(ntc bool) *rapid.Generator[vectors.Sample[Message]] {
	return rapid.Custom(func(t *rapid.T) vectors.Sample[Message] {
		p := anyProposal(ntc).Draw(t, "proposal")
		v := p.Versions[0]
		switch rapid.IntRange(0, 5).Draw(t, "message") {
		case 0:
			return vectors.Sample[Message]{State: StatePropose, Msg: MsgPropose{p.Table()}}
		case 1:
			return vectors.Sample[Message]{State: StateConfirm, Msg: MsgReplyVersions{p.Table()}}
		case 2:
			return vectors.Sample[Message]{State: StateConfirm, Msg: MsgAccept{v, data(v, ntc, p.Data)}}
		case 3:
			return vectors.Sample[Message]{State: StateConfirm, Msg: MsgQueryReply{p.Table()}}
		case 4:
			return vectors.Sample[Message]{State: StateConfirm, Msg: MsgRefuse{Refusal{Versions: p.Versions}}}
		default:
			r := rapid.SampledFrom([]Reason{DecodeError, Refused}).Draw(t, "reason")
			return vectors.Sample[Message]{State: StateConfirm, Msg: MsgRefuse{Refusal{Reason: r, Version: v, Text: rapid.String().Draw(t, "text")}}}
		}
	})
}

func both(t *testing.T, f func(t *testing.T, ntc bool)) {
	t.Run("NodeToNode", func(t *testing.T) { f(t, false) })
	t.Run("NodeToClient", func(t *testing.T) { f(t, true) })
}

func cases(ntc bool) []vectors.Case[Message] {
	if ntc {
		return casesNodeToClient
	}
	return casesNodeToNode
}

func TestCodecHandshake(t *testing.T) {
	both(t, func(t *testing.T, ntc bool) { codec(ntc).RoundTrip(t, samples(ntc)) })
}

func TestCodecValidCBORHandshake(t *testing.T) {
	both(t, func(t *testing.T, ntc bool) { codec(ntc).ValidCBOR(t, samples(ntc)) })
}

func TestCodecSplits2Handshake(t *testing.T) {
	both(t, func(t *testing.T, ntc bool) { codec(ntc).Splits2(t, cases(ntc), samples(ntc)) })
}

func TestCodecSplits3Handshake(t *testing.T) {
	both(t, func(t *testing.T, ntc bool) { codec(ntc).Splits3(t, cases(ntc), samples(ntc)) })
}

func TestCDDLHandshake(t *testing.T) {
	both(t, func(t *testing.T, ntc bool) {
		file, all := "handshake-node-to-node-v14", NodeToNodeVersions()
		if ntc {
			file, all = "handshake-node-to-client", NodeToClientVersions()
		}
		g := vectors.LoadGrammar(t, file)
		codec(ntc).ValidCDDL(t, g, cases(ntc), samples(ntc), map[string]func(*rand.Rand) []byte{
			// The grammar cannot say that a table's keys ascend.
			file + ".versionTable": func(rnd *rand.Rand) []byte {
				p := Proposal{NodeToClient: ntc, Data: Data{Magic: rnd.Uint32(), Query: rnd.IntN(2) == 0}}
				for _, v := range all {
					if rnd.IntN(2) == 0 {
						p.Versions = append(p.Versions, v)
					}
				}
				return appendTable(nil, p.Table(), ntc)
			},
		}, nil)
	})
}

func TestCodecRefuseReason(t *testing.T) {
	for _, r := range []Refusal{
		{Reason: VersionMismatch},
		{Reason: VersionMismatch, Versions: []uint16{14, 15}},
		{Reason: DecodeError, Version: 14, Text: ""},
		{Reason: Refused, Version: 16, Text: "différent"},
	} {
		m, err := Decode(StateConfirm, MsgRefuse{r}.Append(nil, false), false)
		require.NoError(t, err)
		require.Equal(t, MsgRefuse{r}, m)
		require.NotEmpty(t, r.Error())
	}
	// Text that is not UTF-8 never leaves us.
	m, err := Decode(StateConfirm, MsgRefuse{Refusal{Reason: Refused, Version: 14, Text: "a\xff"}}.Append(nil, false), false)
	require.NoError(t, err)
	require.Equal(t, "a\uFFFD", m.(MsgRefuse).Text)
}

func TestRefusesHandshake(t *testing.T) {
	codec(false).Refuse(t, []vectors.Refusal{
		{Name: "N1 keys not ascending", State: StatePropose, Hex: "8200a20f841a2d964a09f401f40e841a2d964a09f401f4"},
		{Name: "duplicate keys", State: StatePropose, Hex: "8200a20e841a2d964a09f401f40e841a2d964a09f401f4"},
		{Name: "duplicate keys, one in a long head", State: StatePropose, Hex: "8200a20e8401f401f4180e8401f401f4"},
		{Name: "N2 indefinite map", State: StatePropose, Hex: "8200bf0e841a2d964a09f401f4ff"},
		{Name: "keys not ascending in a simultaneous open", State: StateConfirm, Hex: "8200a20f8401f401f40e8401f401f4"},
		{Name: "keys not ascending in a query reply", State: StateConfirm, Hex: "8203a20f8401f401f40e8401f401f4"},
		{Name: "indefinite query reply", State: StateConfirm, Hex: "8203bfff"},
		{Name: "table is an array", State: StatePropose, Hex: "820080"},
		{Name: "accept where a proposal is due", State: StatePropose, Hex: "83010f841a2d964a09f401f4"},
		{Name: "refuse where a proposal is due", State: StatePropose, Hex: "82028200830e0f10"},
		{Name: "accept of an unknown version", State: StateConfirm, Hex: "83010d841a2d964a09f401f4"},
		{Name: "accept of a node-to-client version", State: StateConfirm, Hex: "83011980178201f4"},
		{Name: "accept with an array too short", State: StateConfirm, Hex: "82010f"},
		{Name: "refusal of an unknown version", State: StateConfirm, Hex: "8202830218636161"},
		{Name: "decode error of an unknown version", State: StateConfirm, Hex: "820283010d6161"},
		{Name: "refusal with bytes for text", State: StateConfirm, Hex: "820283020f4161"},
		{Name: "refusal with text in chunks", State: StateConfirm, Hex: "820283020f7f6161ff"},
		{Name: "refusal with broken UTF-8", State: StateConfirm, Hex: "820283020f61ff"},
		{Name: "unknown reason", State: StateConfirm, Hex: "820283030f6161"},
		{Name: "version list indefinite", State: StateConfirm, Hex: "820282009f0e0fff"},
		{Name: "reason array indefinite", State: StateConfirm, Hex: "82029f02" + "0f6161ff"},
		{Name: "reason array too long", State: StateConfirm, Hex: "8202830080" + "00"},
		{Name: "outer array indefinite", State: StatePropose, Hex: "9f00a0ff"},
		{Name: "bytes after the message", State: StatePropose, Hex: "8200a000"},
		{Name: "cut short", State: StatePropose, Hex: "8200a10e"},
		{Name: "huge map", State: StatePropose, Hex: "8200bbffffffffffffffff00"},
		{Name: "nothing in Done", State: StateDone, Hex: "8200a0"},
	})
	codec(true).Refuse(t, []vectors.Refusal{
		{Name: "accept of a node-to-node version", State: StateConfirm, Hex: "83010f841a2d964a09f401f4"},
		{Name: "keys not ascending", State: StatePropose, Hex: "8200a21980118201f41980108201f4"},
	})
}

// Keys that we do not know are skipped with their values, whatever they are, and do not take part in the order.
func TestUnknownVersionsAreSkipped(t *testing.T) {
	msg := vectors.Hex("8200a7" + "1863" + "9fff" + "0e" + "8401f401f4" + "07" + "01" + "6161" + "a10203" + "3903e7" + "f6" + "80" + "5f4101ff" + "0f" + "8401f401f4")
	m, err := Decode(StatePropose, msg, false)
	require.NoError(t, err)
	require.Equal(t, MsgPropose{table(false, Data{Magic: 1, PeerSharing: true}, 14, 15)}, m)

	// One family's numbers are unknown to the other, and a number above 64 k stands for no version.
	m, err = Decode(StatePropose, vectors.Hex("8200a40e0018ff001980108201f41a0001801100"), true)
	require.NoError(t, err)
	require.Equal(t, MsgPropose{table(true, Data{Magic: 1}, 16)}, m)
	m, err = Decode(StatePropose, vectors.Get(t, "H10").Bytes, false)
	require.NoError(t, err)
	require.Equal(t, MsgPropose{}, m)
	m, err = Decode(StatePropose, vectors.Get(t, "H1").Bytes, true)
	require.NoError(t, err)
	require.Equal(t, MsgPropose{}, m)

	m, err = Decode(StateConfirm, vectors.Hex("8202820085070d0e188020"), false)
	require.NoError(t, err)
	require.Equal(t, MsgRefuse{Refusal{Versions: []uint16{14}, Unknown: []uint64{7, 13, 128}}}, m)
}

func TestDataHandlesInvalid(t *testing.T) {
	for _, c := range []struct {
		v   uint16
		ntc bool
		hex string
	}{
		{14, false, "8401f402f4"}, {15, false, "8401f420f4"}, {16, false, "8401f401f4"}, {14, false, "8501f401f4f4"}, {15, false, "8501f401f4f4"},
		{14, false, "841b0000000100000000f401f4"}, {14, false, "8420f401f4"}, {14, false, "8401000100"}, {14, false, "8401f4f5f4"},
		{14, false, "9f01f401f4ff"}, {14, false, "01"}, {14, false, "8401f401f6"}, {16, false, "8501f401f400"}, {14, false, "8401f401"}, {14, false, "8401f401f400"},
		{16, true, "8101"}, {16, true, "01"}, {16, true, "8301f4f4"}, {23, true, "8201f6"}, {23, true, "821b0000000100000000f4"}, {23, true, "9f01f4ff"},
		{20, true, "8401f401f4"},
	} {
		_, err := DecodeData(vectors.Hex(c.hex), c.v, c.ntc)
		var typed *cbor.Error
		require.ErrorAs(t, err, &typed, c.hex)
	}
}

func TestDataRoundTrip(t *testing.T) {
	both(t, func(t *testing.T, ntc bool) {
		rapid.Check(t, func(t *rapid.T) {
			p := anyProposal(ntc).Draw(t, "proposal")
			for _, e := range p.Table() {
				want := p.Data
				if ntc {
					want = Data{Magic: want.Magic, Query: want.Query}
				}
				if e.Version < 16 {
					want.Peras = false
				}
				got, err := DecodeData(e.Data, e.Version, ntc)
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
		})
	})
}

// What captured proposals and answers of other implementations mean.
func TestCapturesHandshake(t *testing.T) {
	for _, c := range []struct {
		file string
		ntc  bool
		conn int
		want protocols.Negotiated
		data Data
	}{
		{"ntn-fork.jsonl", false, 0, protocols.Negotiated{Version: 15, Magic: 42, InitiatorOnly: true, PeerSharing: true}, Data{Magic: 42, PeerSharing: true}},
		{"ntn-fork.jsonl", false, 1, protocols.Negotiated{Version: 15, Magic: 42, InitiatorOnly: true}, Data{Magic: 42, PeerSharing: true}},
		{"ntn-ts.jsonl", false, 0, protocols.Negotiated{Version: 14, Magic: 42, InitiatorOnly: true}, Data{Magic: 42, PeerSharing: true}},
		{"ntc.jsonl", true, 0, protocols.Negotiated{Version: 21, NodeToClient: true, Magic: 42, InitiatorOnly: true}, Data{Magic: 42}},
	} {
		all := NodeToNodeVersions()
		if c.ntc {
			all = NodeToClientVersions()
		}
		for _, m := range vectors.Captures(t, c.file, Number) {
			if m.Conn != c.conn {
				continue
			}
			if m.FromInitiator {
				r, err := Negotiate(Proposal{c.ntc, all, c.data}, m.Bytes)
				require.NoError(t, err)
				require.Equal(t, c.want, r.Negotiated, "%s: %s", c.file, hex.EncodeToString(m.Bytes))
			} else {
				local := c.data
				local.InitiatorOnly, local.PeerSharing = true, c.want.PeerSharing
				r, err := Confirm(Proposal{c.ntc, all, local}, m.Bytes)
				require.NoError(t, err)
				require.Equal(t, c.want, r.Negotiated)
			}
		}
	}
}

func TestDecodeDoesNotKeepOrChangeInput(t *testing.T) {
	msg := vectors.Get(t, "H2").Bytes
	before := bytes.Clone(msg)
	_, err := Negotiate(Proposal{false, NodeToNodeVersions(), Data{Magic: 2}}, msg)
	require.NoError(t, err)
	require.Equal(t, before, msg)
}

func requireRefusal(t require.TestingT, r *Refusal, reason Reason, version uint16) {
	require.NotNil(t, r)
	require.Equal(t, reason, r.Reason)
	require.Equal(t, version, r.Version)
}

func TestErrorsSayWhoIsAtFault(t *testing.T) {
	_, err := Confirm(Proposal{false, []uint16{14}, full}, vectors.Get(t, "H3").Bytes)
	var typed interface{ Fault() string }
	require.True(t, errors.As(err, &typed))
	require.Equal(t, "adversarial", typed.Fault())
}
