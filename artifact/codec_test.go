package artifact

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// vectors are the golden messages of artifact §6.2: "hex name" a line.
func vectors(t testing.TB) (out [][2]string) {
	t.Helper()
	raw, err := os.ReadFile("testdata/vectors.txt")
	require.NoError(t, err)
	for _, line := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
		h, name, _ := strings.Cut(line, " ")
		out = append(out, [2]string{name, h})
	}
	return out
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func seq8(from byte) (b [8]byte) {
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

func seq16(from byte) (b [16]byte) {
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

func fill32(c byte) (id ID) {
	for i := range id {
		id[i] = c
	}
	return id
}

func flatF(t testing.TB) *Manifest {
	m, err := BuildManifest(bytes.NewReader(make([]byte, 65537)), 65537, 65536)
	require.NoError(t, err)
	return m
}

// builders write every message of the table from values. The handshake's envelopes (propose, accept, refuse) belong to the
// handshake protocol; only the version data inside them is ours.
func builders(t testing.TB) map[string][]byte {
	f := flatF(t)
	hello := BodyID(1, []byte("hello"))
	in := msgInit{version: 1, epoch: seq8(0xc0), window: 256, reserve: 32, inline: 262144, kinds: []kindWish{{1, true}, {2, false}}}
	resumed := in
	resumed.resume = &resumeClaim{epoch: seq8(0xd0), highest: 301, digests: []digest{seq8(1)}}
	one := func(e entry) []byte { return appendOffers(nil, 1, e.append(nil)) }
	key := seq16(0)
	s := sessionOf(&key)
	hs := func(pre string, id byte, feat uint64) []byte {
		return VersionData{Network: 42, NodeID: seq16(id), Features: feat}.Append(unhex(t, pre))
	}
	ctl := func(m control) []byte { return m.append(nil) }
	fetch := func(m msgFetch) []byte { return m.append(nil) }
	chunk := func(tag byte, req, idx uint64, data []byte) []byte {
		return append(appendPieceHead(nil, tag, req, idx, len(data)), data...)
	}
	return map[string][]byte{
		"handshake, propose, main bearer": hs("8200a1194a01", 0xa0, 0),
		"handshake, accept":               hs("8301194a01", 0xb0, 0),
		"handshake, propose, bulk bearer": hs("8200a1194a01", 0xa0, FeatureBulk),
		"handshake, accept, bulk bearer":  hs("8301194a01", 0xb0, FeatureBulk),
		"init, window 256, 32 urgent, inline 262,144, kind 1 eager, kind 2 lazy, no resume": in.append(nil),
		"the same with resume, highest 301, one block":                                      resumed.append(nil),
		"initOk, 64 slots, not resumed, 2 bulk bearers":                                     (&msgInitOk{epoch: seq8(0xd0), slots: 64, bulk: &bulkOffer{2, seq16(0)}}).append(nil),
		"initOk, 64 slots, resumed, no bulk":                                                (&msgInitOk{epoch: seq8(0xd0), slots: 64, resumed: true}).append(nil),
		"initNo(duplicate)":                                                                 appendInitNo(nil, initNoDuplicate),
		"requestNext(16, 4096)":                                                             msgRequestNext{16, 4096}.append(nil),
		"offers: push, slot 5, commit 300, class 0, attr 01, body \"hello\"":                one(entry{tag: entryPush, slot: 5, commit: 300, kind: 1, id: hello, attr: []byte{1}, body: []byte("hello")}),
		"offers: offer of the same body, slot 6, commit 301, class 1, attr empty, chunking null": one(entry{
			tag: entryOffer, slot: 6, commit: 301, kind: 1, id: hello, size: 5, hint: 1}),
		"offers: offer of F (below), slot 7, commit 302, class 2 cut-through, attr 02, root inline": one(entry{
			tag: entryOffer, slot: 7, commit: 302, kind: 1, id: RootID(1, f.Root), size: 65537, hint: 2 + partialHint, attr: []byte{2},
			chunks: chunking{size: 65536, count: 2, root: f.Root}}),
		"offers: withdraw, slot 5, commit 300": one(entry{tag: entryWithdraw, slot: 5, commit: 300}),
		"offers: known, slot 6, commit 301":    one(entry{tag: entryKnown, slot: 6, commit: 301}),
		"offers: synced":                       one(entry{tag: entrySynced}),
		"offers, empty":                        appendOffers(nil, 0, nil),
		"done":                                 appendDone(nil),
		"dispose (5, 300, delivered)":          ctl(control{tag: tagDispose, dispose: []disposition{{5, 300, Delivered}}}),
		"have, id aa × 32":                     ctl(control{tag: tagHave, have: []ID{fill32(0xaa)}}),
		"reoffer both, all kinds":              ctl(control{tag: tagReoffer, which: 3}),
		"reoffer noRoom of kind 1":             ctl(control{tag: tagReoffer, which: 2, reoffer: []reofferKind{{kind: 1}}}),
		"cancel request 7":                     ctl(control{tag: tagCancel, cancel: []uint64{7}}),
		"stop":                                 ctl(control{tag: tagStop}),
		"compare, 9 answers, block 0":          ctl(control{tag: tagCompare, answers: 9, digests: []digest{seq8(1)}}),
		"eager, kind 1 on":                     ctl(control{tag: tagEager, eager: []kindWish{{1, true}}}),
		"ctlAck":                               ctl(control{tag: tagCtlAck}),
		"ctlDone":                              ctl(control{tag: tagCtlDone}),
		"fetch: request 7, id aa × 32, chunk 0, 16,384 B, class 3, 1 s": fetch(msgFetch{
			id: 7, artifact: fill32(0xaa), chunks: []span{{0, 1}}, maxBytes: 16384, class: Idle, deadline: 1000}),
		"fetch: request 8, F, part 0, 32,768 B, class 2, 1 s": fetch(msgFetch{
			id: 8, artifact: RootID(1, f.Root), parts: []span{{0, 1}}, maxBytes: 32768, class: Bulk, deadline: 1000}),
		"manifest: request 8, part 0 of F":                    chunk(tagManifest, 8, 0, f.Root),
		"chunk(7, 0, 010203)":                                 chunk(tagChunk, 7, 0, []byte{1, 2, 3}),
		"chunk(9, 1, 00), the last of F":                      chunk(tagChunk, 9, 1, []byte{0}),
		"fetchDone(7, ok)":                                    appendFetchDone(nil, 7, statusOK, 0),
		"fetchDone(7, busy, 250 ms)":                          appendFetchDone(nil, 7, statusBusy, 250),
		"fetchEnd":                                            appendFetchEnd(nil),
		"join, session be45cb2605bf36be, bearer 0, attempt 1": (&msgJoin{session: s, attempt: 1, mac: joinMAC(&key, "join", s, 0, 1)}).append(nil),
		"joinOk to it":                                        appendJoinOk(nil, joinMAC(&key, "joined", s, 0, 1)),
		"joinNo(bad mac)":                                     appendJoinNo(nil, joinBadMAC),
		"joinNo(stale attempt)":                               appendJoinNo(nil, joinStale),
		"SDU, time 0: requestNext(16, 4096) on offer, from the initiator": msgRequestNext{16, 4096}.append(unhex(t, "000000004a010006")),
		"SDU, time 0: ctlAck on control, from the responder":              (&control{tag: tagCtlAck}).append(unhex(t, "00000000ca020002")),
	}
}

func TestGoldenVectorsEncode(t *testing.T) {
	built := builders(t)
	seen := 0
	for _, v := range vectors(t) {
		if strings.HasPrefix(v[0], "refuse") {
			continue // the handshake protocol's
		}
		got, ok := built[v[0]]
		require.True(t, ok, v[0])
		require.Equal(t, v[1], hex.EncodeToString(got), v[0])
		seen++
	}
	require.Equal(t, len(built), seen)
}

// decodeAny decodes b by every decoder that takes it and re-encodes what came out.
func decodeAny(b []byte) (out [][]byte) {
	if m, err := decodeToProvider(b); err == nil {
		switch m.tag {
		case tagInit:
			out = append(out, m.init.append(nil))
		case tagRequestNext:
			out = append(out, m.next.append(nil))
		default:
			out = append(out, appendDone(nil))
		}
	}
	if m, err := decodeFromProvider(b, maxWindow, nil); err == nil {
		switch m.tag {
		case tagInitOk:
			out = append(out, m.ok.append(nil))
		case tagInitNo:
			out = append(out, appendInitNo(nil, m.reason))
		default:
			var es []byte
			for i := range m.offers {
				es = m.offers[i].append(es)
			}
			out = append(out, appendOffers(nil, len(m.offers), es))
		}
	}
	if m, err := decodeControl(b, nil); err == nil {
		out = append(out, m.append(nil))
	}
	if decodeCtlAck(b) == nil {
		out = append(out, (&control{tag: tagCtlAck}).append(nil))
	}
	if m, end, err := decodeFetch(b); err == nil {
		if end {
			out = append(out, appendFetchEnd(nil))
		} else {
			out = append(out, m.append(nil))
		}
	}
	if m, err := decodePiece(b); err == nil {
		switch m.tag {
		case tagFetchDone:
			out = append(out, appendFetchDone(nil, m.request, m.status, m.retryMs))
		default:
			out = append(out, append(appendPieceHead(nil, byte(m.tag), m.request, m.index, len(m.data)), m.data...))
		}
	}
	if m, err := decodeJoin(b); err == nil {
		out = append(out, m.append(nil))
	}
	if ok, mac, reason, err := decodeJoinReply(b); err == nil {
		if ok {
			out = append(out, appendJoinOk(nil, mac))
		} else {
			out = append(out, appendJoinNo(nil, reason))
		}
	}
	return out
}

func TestGoldenVectorsDecode(t *testing.T) {
	for _, v := range vectors(t) {
		b := unhex(t, v[1])
		switch {
		case strings.HasPrefix(v[0], "refuse"):
			continue
		case strings.HasPrefix(v[0], "handshake"):
			data := b[len(b)-21:]
			d, err := DecodeVersionData(data)
			require.NoError(t, err, v[0])
			require.Equal(t, data, d.Append(nil))
			continue
		case strings.HasPrefix(v[0], "SDU"):
			b = b[8:]
		}
		found := false
		for _, again := range decodeAny(b) {
			found = found || bytes.Equal(again, b)
		}
		require.True(t, found, v[0])
		for n := range b { // no prefix of a message is a message of the same kind
			for _, again := range decodeAny(b[:n]) {
				require.NotEqual(t, b, again)
			}
		}
		require.Empty(t, decodeAny(append(bytes.Clone(b), 0)), "trailing byte: %s", v[0])
	}
}

func TestDecodersAcceptLongHeadsAndIndefiniteLengths(t *testing.T) {
	m, err := decodeToProvider(unhex(t, "9f18021a00000010191000ff"))
	require.NoError(t, err)
	require.Equal(t, msgRequestNext{16, 4096}, m.next)
	c, err := decodeControl(unhex(t, "9f009f9f051b000000000000012c01ffffff"), nil)
	require.NoError(t, err)
	require.Equal(t, []disposition{{5, 300, Delivered}}, c.dispose)
	p, err := decodePiece(unhex(t, "84020700"+"5f4101420203ff"))
	require.NoError(t, err)
	require.Equal(t, []byte{1, 2, 3}, p.data)
}

func TestDecodersRefuse(t *testing.T) {
	big := func(n int) string {
		return hex.EncodeToString(appendHead(nil, majorBytes, uint64(n))) + strings.Repeat("00", n)
	}
	for name, h := range map[string]string{
		"empty":                           "",
		"not an array":                    "00",
		"negative number":                 "83022010",
		"bignum":                          "8302c2410110",
		"float":                           "8302f9000000",
		"map":                             "a0",
		"text for bytes":                  "8502" + "68" + "6161616161616161",
		"above 2^63-1":                    "83021bffffffffffffffff00",
		"unknown tag":                     "8118ff",
		"reserved head":                   "831c",
		"array too short":                 "820210",
		"array too long":                  "84021019100000",
		"indefinite without break":        "9f0210191000",
		"nested indefinite strings":       "840207005f5f4101ffff",
		"huge claimed array":              "82009bffffffffffffffff",
		"huge claimed bytes":              "840207005bffffffffffffffff",
		"dispose of nothing":              "820080",
		"have of nothing":                 "820180",
		"eager of nothing":                "820680",
		"reoffer which 0":                 "83020080",
		"reoffer which 4":                 "83020480",
		"verdict 6":                       "820081830519012c06",
		"slot 65536":                      "8200818 31a0001000019012c01",
		"fetch of nothing":                "8800075820" + strings.Repeat("aa", 32) + "8080194000031903e8",
		"fetch with descending ranges":    "8800075820" + strings.Repeat("aa", 32) + "8082820501820001194000031903e8",
		"fetch with overlapping ranges":   "8800075820" + strings.Repeat("aa", 32) + "8082820002820101194000031903e8",
		"fetch with an empty range":       "8800075820" + strings.Repeat("aa", 32) + "8081820000194000031903e8",
		"fetch with class 4":              "8800075820" + strings.Repeat("aa", 32) + "8081820001194000041903e8",
		"fetch of 2^63 chunks":            "8800075820" + strings.Repeat("aa", 32) + "8081821b7fffffffffffffff01194000031903e8",
		"push with the partial bit":       "82038188010519012c01" + "5820" + strings.Repeat("aa", 32) + "044101" + "40",
		"push above 64 KiB":               "82038188010519012c01" + "5820" + strings.Repeat("aa", 32) + "004101" + big(65537),
		"attr above 256":                  "82038188010519012c01" + "5820" + strings.Repeat("aa", 32) + "00" + big(257) + "40",
		"offer, chunking at 64 KiB":       "82038189000519012c01" + "5820" + strings.Repeat("aa", 32) + "1a000100000140831a0001000001f6",
		"offer, no chunking above 64 KiB": "82038189000519012c01" + "5820" + strings.Repeat("aa", 32) + "1a000100010140f6",
		"offer, zero chunks":              "82038189000519012c01" + "5820" + strings.Repeat("aa", 32) + "1a000100010140831a0001000000f6",
		"entry of the wrong length":       "820381840205190 3e800",
		"two synced":                      "82038281048104",
		"initOk with 63 slots":            "850148d0d1d2d3d4d5d6d7183ff5f6",
		"initOk with 0 slots":             "850148d0d1d2d3d4d5d6d700f5f6",
		"initOk with 5 bearers":           "850148d0d1d2d3d4d5d6d71840f4820550000102030405060708090a0b0c0d0e0f",
		"initNo reason 3":                 "820603",
		"init, kind twice":                "85000148c0c1c2c3c4c5c6c78419010018201a00040000828201f58201f4f6",
		"init, kinds descending":          "85000148c0c1c2c3c4c5c6c78419010018201a00040000828202f58201f4f6",
		"init, window 0":                  "85000148c0c1c2c3c4c5c6c7840018201a00040000828201f58202f4f6",
		"status 6":                        "83030706",
		"chunk above 64 KiB":              "84020700" + big(65537),
		"manifest above 32 KiB":           "84010700" + big(32769),
		"joinNo 4":                        "820204",
		"join with a short mac":           "850048be45cb2605bf36be00014fc06c502417d894bf4fefc7ed6f281b",
	} {
		require.Empty(t, decodeAny(unhex(t, strings.ReplaceAll(h, " ", ""))), name)
	}
	_, err := decodeControl(unhex(t, "820380"), nil)
	require.Error(t, err, "cancel of nothing")
	_, err = DecodeVersionData(unhex(t, "831b000000010000000050"+strings.Repeat("a0", 16)+"00"))
	require.Error(t, err, "network above 32 bits")
	_, err = DecodeVersionData(unhex(t, "83182a4f"+strings.Repeat("a0", 15)+"00"))
	require.Error(t, err, "nodeId of 15 bytes")
}

func TestOffersRespectsCredit(t *testing.T) {
	known := (&entry{tag: entryKnown, slot: 6, commit: 301}).append(nil)
	msg := appendOffers(nil, 3, bytes.Repeat(known, 3))
	_, err := decodeFromProvider(msg, 3, nil)
	require.NoError(t, err)
	_, err = decodeFromProvider(msg, 2, nil)
	require.Error(t, err)
	gone := (&entry{tag: entryWithdraw, slot: 6, commit: 301}).append(nil)
	_, err = decodeFromProvider(appendOffers(nil, 512, bytes.Repeat(gone, 512)), 0, nil)
	require.NoError(t, err)
	_, err = decodeFromProvider(appendOffers(nil, 513, bytes.Repeat(gone, 513)), 0, nil)
	require.Error(t, err)
	long := (&entry{tag: entryOffer, attr: make([]byte, 256)}).append(nil)
	_, err = decodeFromProvider(appendOffers(nil, 250, bytes.Repeat(long, 250)), 256, nil)
	require.Error(t, err, "above 64 KiB without a body")
}

func fuzzDecoder(f *testing.F) {
	for _, v := range vectors(f) {
		b, err := hex.DecodeString(v[1])
		if err == nil {
			f.Add(b)
		}
	}
}

// roundTrips checks that what is decoded can be written and read again to the same value.
func roundTrips(t *testing.T, b []byte) {
	for _, again := range decodeAny(b) {
		ok := false
		for _, third := range decodeAny(again) {
			ok = ok || bytes.Equal(third, again)
		}
		if !ok {
			t.Fatalf("%x decodes to %x, which does not decode to itself", b, again)
		}
	}
}

func FuzzOffer(f *testing.F) {
	fuzzDecoder(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeFromProvider(b, 256, nil); err == nil && len(m.offers) > 256+maxWithdraw+1 {
			t.Fatal("more entries than were granted")
		}
		_, _ = decodeToProvider(b)
		roundTrips(t, b)
	})
}

func FuzzControl(f *testing.F) {
	fuzzDecoder(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeControl(b, nil); err == nil && (len(m.dispose) > maxDispose || len(m.have) > maxHave) {
			t.Fatal("limit")
		}
		roundTrips(t, b)
	})
}

func FuzzFetch(f *testing.F) {
	fuzzDecoder(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, end, err := decodeFetch(b); err == nil && !end && len(m.parts)+len(m.chunks) > 2*maxRanges {
			t.Fatal("limit")
		}
		if p, err := decodePiece(b); err == nil && len(p.data) > maxFlat {
			t.Fatal("limit")
		}
		roundTrips(t, b)
	})
}
