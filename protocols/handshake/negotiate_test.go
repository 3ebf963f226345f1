package handshake

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/internal/vectors"
)

func TestNegotiateAccepts(t *testing.T) {
	local := Proposal{false, []uint16{16, 14, 15}, full}
	r, err := Negotiate(local, vectors.Get(t, "H1").Bytes)
	require.NoError(t, err)
	require.Equal(t, vectors.Get(t, "H3").Bytes, r.Message)
	require.Equal(t, protocols.Negotiated{Version: 15, Magic: mainnet, PeerSharing: true}, r.Negotiated)
	require.Nil(t, r.Refusal)
	require.False(t, r.Queried)

	res, err := Confirm(Proposal{false, []uint16{14, 15}, full}, r.Message)
	require.NoError(t, err)
	require.Equal(t, Result{Negotiated: r.Negotiated}, res)

	r, err = Negotiate(Proposal{true, NodeToClientVersions(), Data{Magic: 1}}, vectors.Get(t, "H10").Bytes)
	require.NoError(t, err)
	require.Equal(t, vectors.Get(t, "H11").Bytes, r.Message)
	require.Equal(t, protocols.Negotiated{Version: 23, NodeToClient: true, Magic: 1, InitiatorOnly: true}, r.Negotiated)
}

func TestNegotiateAnswersWithTheCombination(t *testing.T) {
	local := Proposal{false, []uint16{14, 15, 16}, Data{Magic: 2, PeerSharing: true, Peras: true}}
	r, err := Negotiate(local, vectors.Get(t, "H2").Bytes) // initiator-only, neither peer sharing nor peras
	require.NoError(t, err)
	require.Equal(t, protocols.Negotiated{Version: 16, Magic: 2, InitiatorOnly: true}, r.Negotiated)
	require.Equal(t, vectors.Hex("8301108502f500f4f4"), r.Message)
}

func TestNegotiateRefuses(t *testing.T) {
	magic1 := Proposal{false, []uint16{14, 15, 16}, Data{Magic: 1}}
	for _, c := range []struct {
		name, hex string
		local     Proposal
		reason    Reason
		version   uint16
	}{
		{"N3 empty map", "8200a0", magic1, VersionMismatch, 0},
		{"N4 peer sharing 2", "8200a10e8401f402f4", magic1, DecodeError, 14},
		{"N5 another network", "8200a10e8402f401f4", Proposal{false, []uint16{14, 15}, full}, Refused, 14},
		{"N6 four fields under 16", "8200a1108401f401f4", magic1, DecodeError, 16},
		{"five fields under 15", "8200a10f8501f401f4f4", magic1, DecodeError, 15},
		{"no fall-back from the greatest", "8200a20e8401f401f40f8402f401f4", magic1, Refused, 15},
		{"no common version", "8200a20d8401f401f4118401f401f4", magic1, VersionMismatch, 0},
		{"a query with another magic", "8200a10e8402f400f5", magic1, Refused, 14},
		{"the other family", "8200a11980178201f4", magic1, VersionMismatch, 0},
	} {
		r, err := Negotiate(c.local, vectors.Hex(c.hex))
		require.NoError(t, err, c.name)
		requireRefusal(t, r.Refusal, c.reason, c.version)
		require.Zero(t, r.Negotiated, c.name)

		// The other side is told the same.
		_, err = Confirm(Proposal{false, NodeToNodeVersions(), full}, r.Message)
		var told *Refusal
		require.ErrorAs(t, err, &told, c.name)
		require.Equal(t, r.Refusal, told, c.name)
	}
	r, err := Negotiate(magic1, vectors.Hex("8200a0"))
	require.NoError(t, err)
	require.Equal(t, vectors.Get(t, "H5").Bytes, r.Message)
}

func TestNegotiateMalformedGetsNoAnswer(t *testing.T) {
	for _, h := range []string{
		"8200a20f841a2d964a09f401f40e841a2d964a09f401f4", // N1
		"8200bf0e841a2d964a09f401f4ff",                   // N2
		"83010f841a2d964a09f401f4", "8100", "f6", "",
	} {
		r, err := Negotiate(Proposal{false, []uint16{14, 15}, full}, vectors.Hex(h))
		require.Error(t, err, h)
		require.Zero(t, r, h)
	}
}

func TestQueryVersion(t *testing.T) {
	local := Proposal{false, []uint16{14, 15}, Data{Magic: 1, PeerSharing: true}}
	r, err := Negotiate(local, vectors.Get(t, "H8").Bytes)
	require.NoError(t, err)
	require.True(t, r.Queried)
	require.Equal(t, vectors.Get(t, "H9").Bytes, r.Message)

	res, err := Confirm(Proposal{false, []uint16{14, 15}, query}, r.Message)
	require.NoError(t, err)
	require.Equal(t, Result{Supported: []Supported{{14, local.Data, nil}, {15, local.Data, nil}}}, res)

	// Data that does not decode spoils its own entry only.
	res, err = Confirm(Proposal{false, []uint16{14, 15}, query}, vectors.Hex("8203a30e00"+"0f8401f401f4"+"182000"))
	require.NoError(t, err)
	require.Len(t, res.Supported, 2)
	require.Error(t, res.Supported[0].Err)
	require.Equal(t, Supported{15, local.Data, nil}, res.Supported[1])

	// One that did not ask takes the answer for an error.
	_, err = Confirm(local, r.Message)
	require.ErrorIs(t, err, ErrQueryReply)

	r, err = Negotiate(Proposal{true, []uint16{16, 23}, Data{Magic: 1}}, vectors.Hex("8200a21980108201f51980178201f5"))
	require.NoError(t, err)
	require.True(t, r.Queried)
	require.Equal(t, vectors.Hex("8203a21980108201f41980178201f4"), r.Message)
}

func TestConfirmRefusesReplies(t *testing.T) {
	local := Proposal{false, []uint16{14, 15}, full}
	for hex, want := range map[string]error{
		"830110851a2d964a09f401f4f4": ErrNotOffered,
		"83010f841a2d964a09f402f4":   ErrData,
		"83010f8401f401f4":           ErrSelection,
		"8203a0":                     ErrQueryReply,
	} {
		_, err := Confirm(local, vectors.Hex(hex))
		require.ErrorIs(t, err, want)
		var typed *ReplyError
		require.ErrorAs(t, err, &typed)
		require.NotEmpty(t, err.Error())
	}
}

// A reply that promises more than we offered is cut down to the combination.
func TestConfirmCombines(t *testing.T) {
	res, err := Confirm(Proposal{false, []uint16{15}, Data{Magic: mainnet, InitiatorOnly: true}}, vectors.Get(t, "H3").Bytes)
	require.NoError(t, err)
	require.Equal(t, protocols.Negotiated{Version: 15, Magic: mainnet, InitiatorOnly: true}, res.Negotiated)
}

func TestProposalValidate(t *testing.T) {
	require.NoError(t, Proposal{false, []uint16{14, 16}, full}.Validate())
	require.Error(t, Proposal{}.Validate())
	require.ErrorContains(t, Proposal{false, []uint16{13, 17}, full}.Validate(), "version 17")
	require.Error(t, Proposal{true, []uint16{15}, full}.Validate())
	_, err := Negotiate(Proposal{}, vectors.Get(t, "H1").Bytes)
	require.Error(t, err)
	_, err = Confirm(Proposal{}, vectors.Get(t, "H3").Bytes)
	require.Error(t, err)
}

// prop_acceptable_symmetric, prop_acceptOrRefuse_symmetric: whoever proposes, both ends reach the same result.
func TestAcceptableSymmetric(t *testing.T) {
	both(t, func(t *testing.T, ntc bool) {
		rapid.Check(t, func(t *rapid.T) {
			a, b := anyProposal(ntc).Draw(t, "a"), anyProposal(ntc).Draw(t, "b")
			ab, errAB := Combine(16, ntc, a.Data, b.Data)
			ba, errBA := Combine(16, ntc, b.Data, a.Data)
			require.Equal(t, ab, ba)
			require.Equal(t, errAB == nil, errBA == nil)

			run := func(initiator, responder Proposal) (protocols.Negotiated, *Refusal, bool) {
				r, err := Negotiate(responder, initiator.Append(nil))
				require.NoError(t, err)
				res, err := Confirm(initiator, r.Message)
				switch {
				case r.Refusal != nil:
					require.Equal(t, r.Refusal, err)
				case r.Queried && !initiator.Data.Query:
					// The responder's own data asks for a query, which no responder's does.
					require.ErrorIs(t, err, ErrQueryReply)
				case r.Queried:
					require.NoError(t, err)
					require.Len(t, res.Supported, len(responder.Versions))
				default:
					require.NoError(t, err)
					require.Equal(t, Result{Negotiated: r.Negotiated}, res)
				}
				return r.Negotiated, r.Refusal, r.Queried
			}
			n1, refused1, queried1 := run(a, b)
			n2, refused2, queried2 := run(b, a)
			require.Equal(t, n1, n2)
			require.Equal(t, queried1, queried2)
			require.Equal(t, refused1 == nil, refused2 == nil)
			if refused1 != nil {
				require.Equal(t, refused1.Reason, refused2.Reason)
				require.Equal(t, refused1.Version, refused2.Version)
			}
		})
	})
}

// prop_channel_simultaneous_open: each side finds the other's proposal in Confirm; both come to the same result, which is
// what one of them would have answered the other.
func TestSimultaneousOpen(t *testing.T) {
	both(t, func(t *testing.T, ntc bool) {
		rapid.Check(t, func(t *rapid.T) {
			a, b := anyProposal(ntc).Draw(t, "a"), anyProposal(ntc).Draw(t, "b")
			ra, errA := Confirm(a, b.Append(nil))
			rb, errB := Confirm(b, a.Append(nil))
			require.Equal(t, ra, rb)
			require.Equal(t, errA == nil, errB == nil)
			reply, err := Negotiate(b, a.Append(nil))
			require.NoError(t, err)
			if errA != nil {
				require.NotNil(t, reply.Refusal)
				var refusal *Refusal
				require.ErrorAs(t, errA, &refusal)
				return
			}
			require.True(t, ra.Simultaneous)
			if !reply.Queried { // the query flag has no effect here
				require.Equal(t, reply.Negotiated, ra.Negotiated)
			}
		})
	})
}

func TestPeerSharingSymmetric(t *testing.T) {
	for _, a := range []bool{false, true} {
		for _, b := range []bool{false, true} {
			n, err := Combine(15, false, Data{Magic: 1, PeerSharing: a}, Data{Magic: 1, PeerSharing: b})
			require.NoError(t, err)
			require.Equal(t, a && b, n.PeerSharing)
		}
	}
	n, err := Combine(15, false, Data{Magic: 1, Peras: true}, Data{Magic: 1, Peras: true})
	require.NoError(t, err)
	require.False(t, n.Peras, "no peras below 16")
}
