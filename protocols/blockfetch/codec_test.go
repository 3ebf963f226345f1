package blockfetch

import (
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/internal/testdata"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/protocols/internal/vectors"
)

var codec = vectors.Codec[Message]{Spec: Spec(), Decode: Decode, Append: Message.Append}

func point(slot uint64, b byte) chainsync.Point {
	p := chainsync.Point{Slot: slot}
	for i := range p.Hash {
		p.Hash[i] = b
	}
	return p
}

var (
	pointA = point(133660799, 0xaa)
	pointB = point(133660779, 0xbb)
)

var cases = []vectors.Case[Message]{
	{ID: "B1", State: StateIdle, Want: MsgRequestRange{pointB, pointA}},
	{ID: "B2", State: StateIdle, Want: MsgClientDone{}},
	{ID: "B3", State: StateBusy, Want: MsgStartBatch{}},
	{ID: "B4", State: StateBusy, Want: MsgNoBlocks{}},
	{ID: "B5", State: StateStreaming, Want: MsgBlock{vectors.Hex("82078282010280")}},
	{ID: "B6", State: StateStreaming, Want: MsgBatchDone{}},
}

func TestGoldenBlockFetch(t *testing.T) {
	codec.Golden(t, cases)
	vectors.Complete(t, "B", cases)
}

func TestDocBlockFetch(t *testing.T) { vectors.DocTable(t, Spec()) }

func samples() *rapid.Generator[vectors.Sample[Message]] {
	points := rapid.Custom(func(t *rapid.T) chainsync.Point {
		return point(rapid.Uint64().Draw(t, "slot"), rapid.ByteRange(1, 255).Draw(t, "hash"))
	})
	return rapid.Custom(func(t *rapid.T) vectors.Sample[Message] {
		switch rapid.IntRange(0, 6).Draw(t, "message") {
		case 0:
			return vectors.Sample[Message]{State: StateIdle, Msg: MsgRequestRange{points.Draw(t, "from"), points.Draw(t, "to")}}
		case 1:
			return vectors.Sample[Message]{State: StateIdle, Msg: MsgRequestRange{To: points.Draw(t, "to")}}
		case 2:
			return vectors.Sample[Message]{State: StateIdle, Msg: MsgClientDone{}}
		case 3:
			return vectors.Sample[Message]{State: StateBusy, Msg: MsgStartBatch{}}
		case 4:
			return vectors.Sample[Message]{State: StateBusy, Msg: MsgNoBlocks{}}
		case 5:
			return vectors.Sample[Message]{State: StateStreaming, Msg: MsgBatchDone{}}
		default:
			block := cbor.AppendUint(cbor.AppendArray(nil, 2), uint64(rapid.Uint8Range(0, 8).Draw(t, "era")))
			return vectors.Sample[Message]{State: StateStreaming, Msg: MsgBlock{cbor.AppendBytes(block, rapid.SliceOfN(rapid.Byte(), 0, 700).Draw(t, "block"))}}
		}
	})
}

func TestCodecBlockFetch(t *testing.T)          { codec.RoundTrip(t, samples()) }
func TestCodecValidCBORBlockFetch(t *testing.T) { codec.ValidCBOR(t, samples()) }
func TestCodecSplits2BlockFetch(t *testing.T)   { codec.Splits2(t, cases, samples()) }
func TestCodecSplits3BlockFetch(t *testing.T)   { codec.Splits3(t, cases, samples()) }

func TestCDDLBlockFetch(t *testing.T) {
	codec.ValidCDDL(t, vectors.LoadGrammar(t, "block-fetch"), cases, samples(), map[string]func(*rand.Rand) []byte{
		"network.base.point": func(rnd *rand.Rand) []byte {
			return chainsync.AppendPoint(nil, point(rnd.Uint64(), byte(1+rnd.IntN(255))))
		},
		"network.base.block": func(rnd *rand.Rand) []byte {
			return chainsync.AppendBlock(nil, cbor.AppendBytes(nil, make([]byte, rnd.IntN(99))))
		},
	}, nil)
}

func TestRefusesBlockFetch(t *testing.T) {
	codec.Refuse(t, []vectors.Refusal{
		{Name: "StartBatch in Idle", State: StateIdle, Hex: "8102"},
		{Name: "RequestRange in Busy", State: StateBusy, Hex: "83008080"},
		{Name: "Block before StartBatch", State: StateBusy, Hex: "8204d8184100"},
		{Name: "NoBlocks in Streaming", State: StateStreaming, Hex: "8103"},
		{Name: "StartBatch twice", State: StateStreaming, Hex: "8102"},
		{Name: "anything in Done", State: StateDone, Hex: "8101"},
		{Name: "range of one point", State: StateIdle, Hex: "820080"},
		{Name: "range of numbers", State: StateIdle, Hex: "83000102"},
		{Name: "range with bytes behind", State: StateIdle, Hex: "8300808000"},
		{Name: "second point bad", State: StateIdle, Hex: "8300808101"},
		{Name: "outer array indefinite", State: StateStreaming, Hex: "9f04d8184100ff"},
		{Name: "block without tag 24", State: StateStreaming, Hex: "82044100"},
		{Name: "block under another tag", State: StateStreaming, Hex: "8204c24100"},
		{Name: "block with bytes behind", State: StateStreaming, Hex: "8204d81843800080"},
		{Name: "empty block", State: StateStreaming, Hex: "8204d81840"},
		{Name: "block cut short inside", State: StateStreaming, Hex: "8204d818428281"},
		{Name: "block in chunks", State: StateStreaming, Hex: "8204d8185f4180ff"},
		{Name: "block longer than the message", State: StateStreaming, Hex: "8204d8185a00ffffff80"},
	})
}

// Blocks of every era, as they are stored.
func TestBlocksOfEveryEra(t *testing.T) {
	files, err := filepath.Glob(testdata.Path(t, "blocks", "*.cbor"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	wrapped := map[uint8]int{}
	for _, f := range files {
		block := testdata.Read(t, "blocks", filepath.Base(f))
		msg := AppendBlock(nil, block)
		got, err := DecodeBlock(msg)
		require.NoError(t, err, f)
		require.Equal(t, block, got)
		require.Equal(t, msg, append(AppendBlockHead(nil, len(block)), block...))
		if era, err := chainsync.BlockEra(block); err == nil && !strings.Contains(f, "bare") {
			wrapped[era]++
		}
	}
	require.GreaterOrEqual(t, len(wrapped), 5)
}

func TestCapturesBlockFetch(t *testing.T) {
	blocks := 0
	codec.Replay(t, Number, func(m Message, c vectors.Captured) {
		require.Equal(t, c.Bytes, m.Append(nil))
		if b, ok := m.(MsgBlock); ok {
			_, err := chainsync.BlockEra(b.Block)
			require.NoError(t, err)
			blocks++
		}
	})
	require.Equal(t, 24+216+12, blocks)
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	msg := AppendBlock(nil, cbor.AppendBytes(nil, make([]byte, 65536)))
	request := AppendRequestRange(nil, pointA, pointB)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, err := DecodeBlock(msg); err != nil {
			panic(err)
		}
		if _, _, err := DecodeRequestRange(request); err != nil {
			panic(err)
		}
		if _, err := Spec().Step(StateStreaming, msg); err != nil {
			panic(err)
		}
	}))
}

func BenchmarkBlock(b *testing.B) {
	one := func(name string, block []byte) {
		msg := AppendBlock(nil, block)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(msg)))
			for b.Loop() {
				if _, err := DecodeBlock(msg); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	one("64KiB", cbor.AppendBytes(nil, make([]byte, 65536)))
	one("real", testdata.Read(b, "blocks", "alonzo27.cbor"))
}
