package artifact

// Mini-protocol numbers on the mux, 15 bits (artifact §6.2). Initiator is the consumer; in join the dialler.
const (
	NumOffer   uint16 = 0x4A01
	NumControl uint16 = 0x4A02
	NumUrgent  uint16 = 0x4A03 // fetch, urgent lane
	NumBulk    uint16 = 0x4A04 // fetch, bulk lane
	NumJoin    uint16 = 0x4A05
	// Version is the one version number of the handshake on mini-protocol 0.
	Version uint16 = 0x4A01
)

// Limits of single messages in bytes (artifact §6.2).
const (
	MaxInit     = 16 << 10
	MaxSmall    = 256         // initOk, initNo, requestNext, done, acks, join messages
	MaxOffers   = 64 << 10    // plus the inline bytes granted
	MaxControl  = 4 << 10     // every consumer → provider message of control
	MaxFetch    = 1 << 10     // fetch
	MaxPiece    = 64<<10 + 64 // chunk; exactly chunkSize + 64
	MaxManifest = 32<<10 + 64

	maxDispose  = 240
	maxHave     = 64
	maxKinds    = 64
	maxRanges   = 32
	maxWithdraw = 512
	maxSlots    = 65536
	maxWindow   = 2048
	maxAttr     = 256
	maxInline   = 1024 // largest inline root
	maxFlat     = 64 << 10
	pipeOffer   = 4
	pipeControl = 16
	pipeFetch   = 16
	blockSlots  = 64
	maxBearers  = 4
	maxCompare  = 448 // digests in one compare
	maxFilter   = 1024
)

// Class is the urgency of an artifact. It is computed locally by the [Bouncer]; a peer's hint only breaks ties in the
// provider's order (artifact §6.5).
type Class uint8

// The classes, most urgent first.
const (
	Urgent Class = iota
	Normal
	Bulk
	Idle
	classes
)

// String returns "urgent", "normal", "bulk" or "idle".
func (c Class) String() string {
	switch c {
	case Urgent:
		return "urgent"
	case Normal:
		return "normal"
	case Bulk:
		return "bulk"
	case Idle:
		return "idle"
	}
	return "invalid class"
}

// Ranks of messages, 0 first (artifact §6.7): what a host's mux orders its streams by.
const (
	RankJoin    uint8 = 0
	RankControl uint8 = 1
	RankNow     uint8 = 2 // an offers message with something urgent or the withdrawal of something still worked on
	RankUrgent  uint8 = 3
	RankDefault uint8 = 4
	RankBulk    uint8 = 5
)

// ID names an artifact: the hash of its exact bytes, or of its manifest (artifact §6.3).
type ID = [32]byte

// PeerID is the 16-byte nodeId of a peer (artifact §6.2, Identity).
type PeerID = [16]byte

type digest = [8]byte

// partialHint is added to the class in a hint by a provider that does not hold all of the artifact yet (cut-through).
const partialHint = 4
