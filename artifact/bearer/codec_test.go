package bearer

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/artifact"
)

func span16(first byte) (id artifact.PeerID) {
	for i := range id {
		id[i] = first + byte(i)
	}
	return id
}

var (
	dialler  = artifact.VersionData{Network: 42, NodeID: span16(0xa0)}
	acceptor = artifact.VersionData{Network: 42, NodeID: span16(0xb0)}
)

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func bulk(v artifact.VersionData) artifact.VersionData {
	v.Features = artifact.FeatureBulk
	return v
}

const (
	vecPropose     = "8200a1194a0183182a50a0a1a2a3a4a5a6a7a8a9aaabacadaeaf00"
	vecAccept      = "8301194a0183182a50b0b1b2b3b4b5b6b7b8b9babbbcbdbebf00"
	vecProposeBulk = "8200a1194a0183182a50a0a1a2a3a4a5a6a7a8a9aaabacadaeaf01"
	vecAcceptBulk  = "8301194a0183182a50b0b1b2b3b4b5b6b7b8b9babbbcbdbebf01"
	vecNoVersion   = "8202820081194a01"
	vecRefused     = "82028302194a01676e6574776f726b"
)

// TestHandshakeVectors are those of artifact §6.2, both ways.
func TestHandshakeVectors(t *testing.T) {
	require.Equal(t, vecPropose, hex.EncodeToString(appendPropose(nil, dialler)))
	require.Equal(t, vecProposeBulk, hex.EncodeToString(appendPropose(nil, bulk(dialler))))
	for _, c := range []struct{ propose, accept string }{{vecPropose, vecAccept}, {vecProposeBulk, vecAcceptBulk}} {
		reply, peer, err := answer(acceptor, unhex(t, c.propose), nil)
		require.NoError(t, err)
		require.Equal(t, c.accept, hex.EncodeToString(reply))
		own := dialler
		own.Features = peer.Features
		require.Equal(t, own, peer)
		got, weDialled, err := confirm(own, reply)
		require.NoError(t, err)
		require.True(t, weDialled)
		require.Equal(t, acceptor.NodeID, got.NodeID)
	}
	require.Equal(t, vecNoVersion, hex.EncodeToString(appendRefuse(nil, &RefusalError{Versions: []uint64{uint64(artifact.Version)}})))
	require.Equal(t, vecRefused, hex.EncodeToString(appendRefuse(nil, &RefusalError{Reason: Refused, Version: uint64(artifact.Version), Text: "network"})))
	var e *RefusalError
	_, _, err := confirm(dialler, unhex(t, vecNoVersion))
	require.ErrorAs(t, err, &e)
	require.Equal(t, RefusalError{Reason: NoCommonVersion, Versions: []uint64{0x4a01}, Remote: true}, *e)
	_, _, err = confirm(dialler, unhex(t, vecRefused))
	require.ErrorAs(t, err, &e)
	require.Equal(t, RefusalError{Reason: Refused, Version: 0x4a01, Text: "network", Remote: true}, *e)
}

func TestAnswers(t *testing.T) {
	other := acceptor
	other.Network = 43
	for name, c := range map[string]struct {
		own   artifact.VersionData
		msg   string
		reply string // "": malformed, no answer
	}{
		"another network":               {other, vecPropose, vecRefused},
		"ourselves":                     {dialler, vecPropose, "82028302194a016473656c66"},
		"a Cardano version":             {acceptor, "8200a10e8418" + "2af4" + "00f4", vecNoVersion},
		"no version":                    {acceptor, "8200a0", vecNoVersion},
		"unknown versions beside ours":  {acceptor, "8200a30183010203194a0183182a50a0a1a2a3a4a5a6a7a8a9aaabacadaeaf00194a02f6", vecAccept},
		"indefinite forms":              {acceptor, "9f00bf194a019f182a50a0a1a2a3a4a5a6a7a8a9aaabacadaeaf00ffffff", vecAccept},
		"unknown features are ignored":  {acceptor, "8200a1194a0183182a50a0a1a2a3a4a5a6a7a8a9aaabacadaeaf06", vecAccept},
		"a short nodeId":                {acceptor, "8200a1194a0183182a4fa0a1a2a3a4a5a6a7a8a9aaabacadae00", "82028301194a016c76657273696f6e2064617461"},
		"network of 33 bits":            {acceptor, "8200a1194a01831b000000010000002a50a0a1a2a3a4a5a6a7a8a9aaabacadaeaf00", "82028301194a016c76657273696f6e2064617461"},
		"an accept":                     {acceptor, vecAccept, ""},
		"a refusal":                     {acceptor, vecRefused, ""},
		"an unknown tag":                {acceptor, "8203a0", ""},
		"the same version twice":        {acceptor, "8200a2194a0100194a0100", ""},
		"descending versions":           {acceptor, "8200a2194a01000100", ""},
		"trailing bytes":                {acceptor, vecPropose + "00", ""},
		"too long an array":             {acceptor, "8300a000", ""},
		"a map without an end":          {acceptor, "8200bf194a0100", ""},
		"a map that claims 2^62 things": {acceptor, "8200bb4000000000000000", ""},
	} {
		t.Run(name, func(t *testing.T) {
			reply, _, err := answer(c.own, unhex(t, c.msg), nil)
			require.Equal(t, c.reply, hex.EncodeToString(reply))
			if c.reply == "" {
				require.True(t, adversarial(err), "%v", err)
			} else if c.reply != vecAccept {
				var e *RefusalError
				require.ErrorAs(t, err, &e)
				require.False(t, e.Remote)
			}
		})
	}
}

func TestAdmitRefuses(t *testing.T) {
	reply, _, err := answer(acceptor, unhex(t, vecPropose), func(v artifact.VersionData) *RefusalError {
		require.Equal(t, dialler, v)
		return &RefusalError{Text: "no room"}
	})
	require.Error(t, err)
	_, _, err = confirm(dialler, reply)
	require.EqualError(t, err, `artifact handshake: refused by the peer: refused: "no room"`)
}

func TestConfirms(t *testing.T) {
	for name, msg := range map[string]string{
		"another sort of bearer": vecAcceptBulk,
		"an unknown version":     strings.Replace(vecAccept, "194a01", "194a02", 1),
		"malformed version data": "8301194a0182182a00",
		"an unknown reason":      "82028303194a0160",
		"nothing":                "",
	} {
		_, _, err := confirm(dialler, unhex(t, msg))
		require.True(t, adversarial(err), "%s: %v", name, err)
	}
	_, _, err := confirm(acceptor, unhex(t, vecAccept))
	require.ErrorIs(t, err, artifact.ErrSelf)
	other := dialler
	other.Network = 7
	var e *RefusalError
	_, _, err = confirm(other, unhex(t, vecAccept))
	require.ErrorAs(t, err, &e)
}

// TestSimultaneousOpen: two proposals cross, and both ends say that the smaller nodeId dialled.
func TestSimultaneousOpen(t *testing.T) {
	a, aDialled, err := confirm(dialler, appendPropose(nil, acceptor))
	require.NoError(t, err)
	b, bDialled, err := confirm(acceptor, appendPropose(nil, dialler))
	require.NoError(t, err)
	require.Equal(t, acceptor.NodeID, a.NodeID)
	require.Equal(t, dialler.NodeID, b.NodeID)
	require.True(t, aDialled)
	require.False(t, bDialled)
	_, _, err = confirm(dialler, appendPropose(nil, bulk(acceptor)))
	require.Error(t, err)
	_, _, err = confirm(bulk(dialler), appendPropose(nil, bulk(acceptor)))
	require.Error(t, err)
}

func TestRemoteTextIsCleaned(t *testing.T) {
	msg := appendRefuse(nil, &RefusalError{Reason: Refused, Version: 1, Text: "a\x1b[31m\n" + strings.Repeat("x", 400)})
	_, _, err := confirm(dialler, msg)
	var e *RefusalError
	require.True(t, errors.As(err, &e))
	require.Equal(t, "a?[31m?"+strings.Repeat("x", maxText-7), e.Text)
}

func FuzzHandshake(f *testing.F) {
	for _, s := range []string{vecPropose, vecAccept, vecProposeBulk, vecAcceptBulk, vecNoVersion, vecRefused, "9f00bf194a019f182a50a0a1a2a3a4a5a6a7a8a9aaabacadaeaf00ffffff", "8200bb4000000000000000"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		reply, peer, err := answer(acceptor, b, nil)
		if err == nil {
			// whatever was accepted can be said plainly, and gets the same answer
			again, same, err := answer(acceptor, appendPropose(nil, peer), nil)
			require.NoError(t, err)
			require.Equal(t, reply, again)
			require.Equal(t, peer, same)
		}
		if reply != nil {
			m, err := decode(reply)
			require.NoError(t, err)
			require.NotEqual(t, uint64(tagPropose), m.tag)
		}
		got, _, err := confirm(dialler, b)
		if err == nil {
			require.NotEqual(t, dialler.NodeID, got.NodeID)
			require.Equal(t, dialler.Network, got.Network)
		}
	})
}
