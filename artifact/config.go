package artifact

import (
	"errors"
	"fmt"
	"time"
)

// PushMode says to whom small bodies of a kind are pushed whole inside the offer (artifact §6.4).
type PushMode uint8

// Push modes. With Tree bodies of at most 1 KiB travel along eager links only and all other links carry the offer; urgent
// ones go to up to 8 peers at once. None sends adverts only: always exactly one body. All pushes on every link.
const (
	Tree PushMode = iota
	None
	All
)

// RelayPolicy says when what came from a peer is published to the others (artifact §6.4).
type RelayPolicy uint8

// Relay policies. AfterHeader is cut-through: once the kind's Header accepts the first chunk the artifact is offered while
// the rest is still on its way, and a relay is not blamed for a body that proves invalid.
const (
	AfterValidation RelayPolicy = iota
	OriginOnly
	AfterHeader
	Never
)

// KindConfig is the untyped part of a kind. ID, MaxSize and ChunkSize are the contract of the kind, the same on every node:
// an artifact's id depends on them.
type KindConfig struct {
	ID        uint32
	MaxSize   int64 // bytes; at most MaxArtifact(ChunkSize)
	ChunkSize int   // a power of two, 4 … 64 KiB; 0: 64 KiB. 16 KiB for kinds made for urgent use
	Weight    int   // share among kinds of the same class; 0: 1
	Push      PushMode
	Relay     RelayPolicy
	Ephemeral bool // the oldest relayed entries may leave a full table
	// Disk marks a kind whose bodies go to a sink: only chunks under way are in memory, sizes are charged to DiskQuota.
	Disk bool
	// Quota is what one peer may have under way, unjudged or parked in memory, bytes; at least twice the largest
	// artifact with its manifest (for a Disk kind: the manifest). 0: the larger of 4 MiB and that minimum.
	Quota int64
	// DiskQuota is the same for a sink, per peer; 0: 4 × MaxSize.
	DiskQuota int64
}

// Config is what the cores are made from. The zero value of a field means its default; Validate reports every problem at once.
type Config struct {
	NodeID PeerID
	Kinds  []KindConfig // ascending by ID, at most 64

	Slots         int // registers of the table, a multiple of 64, ≤ 65,536; 4,096. One eighth is kept for urgent ones
	Window        int // offers a peer may have outstanding with us, and the most we have with one; 64 … 2,048; 256
	UrgentReserve int // places of the window only urgent offers may use; 32
	InlineBytes   int // bytes of pushed bodies on their way to us per peer; 256 KiB
	PeerSlots     int // slots of a provider's table whose settlement is remembered across reconnects, per provider; 4,096

	MaxPeers int // peers at a time; 50
	// UnvalidatedBytes is the node-wide cap over everything under way, unjudged or parked. Half of it is shared, the other
	// half is guaranteed in equal parts to MaxPeers peers; a part must hold the largest artifact. 0: the smallest such cap
	// that is ≥ 64 MiB.
	UnvalidatedBytes int64
	BulkBearers      int // parallel bulk bearers offered as acceptor, 0 … 4. Negative: none; 0: 2

	EgressRate  int64 // bytes of chunks per second we serve; 0: unlimited
	IngressRate int64 // bytes of chunks per second we ask for; 0: unlimited

	// Seed of all random choices. A Core that stands for a restarted process needs another one, for the epoch by which peers tell the
	// two apart comes from it; a Node draws its epoch from the system.
	Seed uint64
}

// Defaults of artifact §6.12 that are not configuration: changing one changes the behaviour peers rely on.
const (
	pushThreshold  = 1 << 10
	eagerMax       = 16 << 10
	urgentFanout   = 8
	eagerWanted    = 3
	lateGraft      = 8
	graceMin       = 2 * time.Millisecond
	graceMax       = 100 * time.Millisecond
	lagMax         = 400 * time.Millisecond // of pushes, beyond which they are not waited for
	maxRequests    = 32
	urgentRequests = 4
	// unprovenRequests is how many may be open to a peer that has sent nothing yet. After a wrong piece it is one, until a right one.
	unprovenRequests = 4
	urgentBytes      = 64 << 10
	windowStart      = 64 << 10
	windowMax        = 2 << 20
	deadlineMin      = 250 * time.Millisecond
	deadlineMax      = 15 * time.Second
	receiveChecks    = 5000
	checkLife        = 10 * time.Minute
	stashSize        = 1024
	haveSize         = 1024
	resumePeers      = 256
	resumeLife       = 10 * time.Minute
	keepPartial      = 60 * time.Second
	lagAfter         = 10 * time.Second
	noRoomAfter      = 2 * time.Second
	judgeLimit       = 2 * time.Second
	exhaustedAfter   = 60 * time.Second
	compareEvery     = 60 * time.Second
	ackLimit         = 120 * time.Second // StAck
	stopLimit        = 120 * time.Second // from our stop to our ctlDone: 60 s for the answers and as much for lanes and acks
	tickEvery        = time.Second
	tailDelay        = 500 * time.Millisecond
	disposeDelay     = time.Second
	offerRest        = 10 * time.Millisecond
	requestRest      = 10 * time.Millisecond
	// What only repairs the push tree rests as long as nothing had to be repaired, within repairRest and calmRest.
	repairRest = 2 * time.Millisecond
	calmRest   = 32 * time.Millisecond
	// Where entries follow each other in less than busyGap, they rest longer.
	busyGap       = 5 * time.Millisecond
	busyOfferRest = 20 * time.Millisecond
	busyCalmRest  = 64 * time.Millisecond
	// What waits for company waits until the next multiple of these, so that one wake-up serves many peers.
	restGrid      = 2 * time.Millisecond
	tailGrid      = 50 * time.Millisecond // dispositions too
	mainBulkBytes = 128 << 10
	// delaySignal is the queueing at which the node-wide window shrinks. It is less than the 50 ms of artifact §6.5, for the
	// queue still grows for a round trip after the signal, and 50 ms are what it may come to (artifact §9).
	delaySignal  = 30 * time.Millisecond
	perArtifact  = 10 // chunks of one artifact in flight from one peer
	banFor       = time.Hour
	banScore     = -100
	scoreEntries = 4096
)

func (c *Config) withDefaults() Config {
	d := *c
	def := func(v *int, n int) {
		if *v == 0 {
			*v = n
		}
	}
	def(&d.Slots, 4096)
	def(&d.Window, 256)
	def(&d.UrgentReserve, min(32, d.Window/4))
	def(&d.InlineBytes, 256<<10)
	def(&d.PeerSlots, 4096)
	def(&d.MaxPeers, 50)
	def(&d.BulkBearers, 2)
	d.BulkBearers = max(d.BulkBearers, 0)
	d.Kinds = append([]KindConfig(nil), c.Kinds...)
	largest := int64(0)
	for i := range d.Kinds {
		k := &d.Kinds[i]
		def(&k.ChunkSize, DefaultChunkSize)
		def(&k.Weight, 1)
		if k.Quota == 0 {
			k.Quota = max(4<<20, 2*k.largest())
		}
		if k.DiskQuota == 0 {
			k.DiskQuota = 4 * k.MaxSize
		}
		largest = max(largest, k.largest())
	}
	if d.UnvalidatedBytes == 0 {
		d.UnvalidatedBytes = max(64<<20, 2*int64(d.MaxPeers)*largest)
	}
	return d
}

// largest is the memory the largest artifact of the kind takes while it is under way.
func (k *KindConfig) largest() int64 {
	if k.MaxSize <= maxFlat || !validChunkSize(k.ChunkSize) || k.MaxSize > MaxArtifact(k.ChunkSize) {
		return min(k.MaxSize, maxFlat)
	}
	return k.need(k.MaxSize)
}

// need is the memory an artifact of that size takes while it is under way: body, manifest and bitmaps; of a Disk kind
// without the body.
func (k *KindConfig) need(size int64) int64 {
	if size <= maxFlat {
		return size
	}
	n := layoutOf(size, k.ChunkSize).overhead()
	if !k.Disk {
		n += size
	}
	return n
}

// Validate reports everything that is wrong with the configuration, joined; nil when it can be used.
func (c *Config) Validate() error {
	d := c.withDefaults()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("artifact: "+format, args...)) }
	in := func(name string, v, lo, hi int) {
		if v < lo || v > hi {
			bad("%s is %d, not in %d … %d", name, v, lo, hi)
		}
	}
	if d.Slots%blockSlots != 0 {
		bad("Slots is %d, not a multiple of 64", d.Slots)
	}
	in("Slots", d.Slots, blockSlots, maxSlots)
	if d.PeerSlots%blockSlots != 0 {
		bad("PeerSlots is %d, not a multiple of 64", d.PeerSlots)
	}
	in("PeerSlots", d.PeerSlots, blockSlots, maxSlots)
	in("Window", d.Window, 64, 2048)
	in("UrgentReserve", d.UrgentReserve, 1, d.Window/2)
	in("InlineBytes", d.InlineBytes, 4*maxFlat, 16<<20)
	in("MaxPeers", d.MaxPeers, 1, 100000)
	in("BulkBearers", d.BulkBearers, 0, maxBearers)
	in("number of Kinds", len(d.Kinds), 1, maxKinds)
	if d.EgressRate < 0 || d.IngressRate < 0 {
		bad("a rate is negative")
	}
	share := d.UnvalidatedBytes / 2 / int64(d.MaxPeers)
	for i, k := range d.Kinds {
		if i > 0 && d.Kinds[i-1].ID >= k.ID {
			bad("kind %d: kinds are not ascending by ID", k.ID)
		}
		if !validChunkSize(k.ChunkSize) {
			bad("kind %d: ChunkSize %d is not a power of two in 4 … 64 KiB", k.ID, k.ChunkSize)
			continue
		}
		if k.MaxSize < 1 || k.MaxSize > MaxArtifact(k.ChunkSize) {
			bad("kind %d: MaxSize %d is not in 1 … %d", k.ID, k.MaxSize, MaxArtifact(k.ChunkSize))
			continue
		}
		if k.Push > All || k.Relay > Never || k.Weight < 1 || k.Weight > 1000 {
			bad("kind %d: push mode, relay policy or weight out of range", k.ID)
		}
		if k.Quota < 2*k.largest() {
			bad("kind %d: Quota %d is less than twice the largest artifact (%d): something could never be admitted", k.ID, k.Quota, k.largest())
		}
		if k.Disk && k.DiskQuota < 2*k.MaxSize {
			bad("kind %d: DiskQuota %d is less than twice MaxSize (%d)", k.ID, k.DiskQuota, k.MaxSize)
		}
		if share < k.largest() {
			bad("kind %d: UnvalidatedBytes %d guarantees a peer %d, less than the largest artifact (%d)", k.ID, d.UnvalidatedBytes, share, k.largest())
		}
	}
	return errors.Join(errs...)
}

// kindTable maps kind numbers to indices.
type kindTable struct {
	cfg   []KindConfig
	index map[uint32]int
}

func newKindTable(cfg []KindConfig) kindTable {
	t := kindTable{cfg: cfg, index: make(map[uint32]int, len(cfg))}
	for i := range cfg {
		t.index[cfg[i].ID] = i
	}
	return t
}
