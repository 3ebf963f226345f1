package artifact

import (
	"net/netip"
	"time"
)

// Stream is one of the message streams between two peers, seen from one end. Out: we are its initiator, In: its responder.
type Stream uint8

// The eight streams of the main bearer, then one fetch lane each way for every bulk bearer.
const (
	OfferOut Stream = iota // we are the consumer
	ControlOut
	UrgentOut
	BulkOut
	OfferIn // we are the provider
	ControlIn
	UrgentIn
	BulkIn
	bearerOut                          // our lane on bulk bearer 0 … 3
	bearerIn  = bearerOut + maxBearers // the other end's lanes, in order of arrival
	streams   = bearerIn + maxBearers
)

// PeerInfo is what a host knows of a peer when its main bearer is up.
type PeerInfo struct {
	ID      PeerID
	Addr    netip.Addr
	Dialler bool // we dialled the main bearer
	// Authenticated: the bearer proves the nodeId (TLS). Otherwise it is a mere claim and somebody on the path may be to
	// blame for wrong bytes.
	Authenticated bool
	RTT           time.Duration // smoothed; 0: not known yet
}

// peer is everything about one connected peer.
type peer struct {
	PeerInfo
	serial uint64 // of the attachment; larger is newer
	acct   *account
	gone   bool
	wake   uint32 // streams in the wake list
	link   eagerLink
	con    conSession
	prov   provSession
	net    supplier
	join   joinState
}

// eagerLink is the push tree's view of one link, per kind (artifact §6.4).
type eagerLink struct {
	on    []bool
	first []int // bodies that came first
	dup   []int // bodies that were duplicates; both are halved at 32
	off   []int // offs sent whose ack is still out: the number of control messages that must be acked before
	tell  []int8
	// what the two inits of this link said, 0: not yet. A link is eager from the start if both said so.
	wish, peerWish []int8
}

const (
	wishUnsaid int8 = iota
	wishYes
	wishNo
)

func wishOf(eager bool) int8 {
	if eager {
		return wishYes
	}
	return wishNo
}

// agree turns the link eager for a kind once both inits have said so.
func (l *eagerLink) agree(kind int) {
	if l.wish[kind] == wishYes && l.peerWish[kind] == wishYes {
		l.on[kind] = true
	}
}

const (
	tellNothing int8 = iota
	tellOn
	tellOff
)

func newEagerLink(kinds int) eagerLink {
	return eagerLink{make([]bool, kinds), make([]int, kinds), make([]int, kinds), make([]int, kinds), make([]int8, kinds),
		make([]int8, kinds), make([]int8, kinds)}
}

// offer is one entry a provider has shown us and that has no verdict yet. size, hint, attr and chunking are claims of that one
// peer.
type offer struct {
	p        *peer
	slot     uint32
	hint     uint8
	class    Class // ours
	wants    bool
	failed   bool // tried in this round
	pushed   bool
	full     bool // waits for quota
	extra    bool // came from the stash, takes no place in the window
	kind     int
	commit   uint64
	id       ID
	size     int64
	attr     []byte
	chunks   chunking
	at       time.Duration
	blocked  time.Duration // waiting for quota since, 0: not
	notFound time.Duration // when the provider last said so, 0: not
	retry    time.Duration // failed, but may be tried again from then on
	fails    int
	d        *download
	ready    listNode[*offer]
}

func (o *offer) partial() bool { return o.hint&partialHint != 0 }

// download is an artifact on its way: the tracker of artifact §6.5.
type download struct {
	id     ID
	kind   int
	class  Class
	state  downloadState
	seq    uint64
	offers []*offer

	charge *account
	mem    int64 // charged, bytes
	disk   int64
	parked int64

	size    int64 // of the body; a claim until known is set
	known   bool  // size and shape are verified
	man     *Manifest
	buf     []byte    // the body, or what has arrived of it; nil for a Disk kind
	done    bitmap    // chunks verified
	asked   bitmap    // chunks in flight
	one     [2]uint64 // done and asked of what has one chunk
	ndone   int
	cursor  int
	partAt  int // parts below this have been asked for or are there
	parts   bitmap
	nparts  int
	rootOut bool // the root is in flight
	sink    sinkState
	header  headerState
	attr    []byte // of the offer that was charged

	inflight  []*request
	round     int
	retry     timer
	grace     timer
	lazy      *peer // offered first, without body
	exhausted time.Duration
	orphaned  time.Duration // no advertiser since
	suppliers []PeerID
	parkRefs  []parkRef
	judge     listNode[*download]
	taken     time.Duration // given to the validator at
	isTaken   bool
	since     time.Duration // offered first
	art       *Artifact     // cut-through: what the table shows
	first     struct {      // room for the usual number of
		offers    [4]*offer
		suppliers [1]PeerID
	}
}

type downloadState uint8

const (
	downGrace  downloadState = iota // a push is expected
	downWant                        // chunks are wanted
	downJudge                       // assembled, with the validator or on the way to it
	downParked                      // assembled, cannot be judged yet
	downGone
)

type sinkState uint8

const (
	sinkNone sinkState = iota // not a Disk kind, or the manifest is not complete
	sinkAsked
	sinkOpen
)

type headerState uint8

const (
	headerNone headerState = iota
	headerAsked
	headerYes
	headerNo
)

// parkRef is an offer that was disposed "later" while its body is kept.
type parkRef struct {
	p      *peer
	serial uint64
	slot   uint32
	commit uint64
}

// oneChunk makes d one that has a single chunk, which is neither there nor in flight.
func (d *download) oneChunk() {
	d.one = [2]uint64{}
	d.done, d.asked = d.one[:1:1], d.one[1:]
}

// wantsWork reports whether there is something to ask for that is not in flight.
func (d *download) wantsWork(k *KindConfig) bool {
	if d.state != downWant {
		return false
	}
	if !d.known {
		if d.size > maxFlat {
			return !d.rootOut
		}
		return d.ndone == 0 && !d.asked.get(0)
	}
	if d.man == nil {
		return d.ndone == 0 && !d.asked.get(0)
	}
	if d.partAt < d.man.parts {
		return true
	}
	return (!k.Disk || d.sink == sinkOpen) && d.nextChunk() >= 0
}

// nextChunk returns a chunk whose hash is known and that is neither there nor in flight, -1 when there is none.
func (d *download) nextChunk() int {
	n := d.man.chunks
	for _, r := range [2][2]int{{d.cursor, n}, {0, d.cursor}} {
		for i := r[0]; i < r[1]; {
			i = d.asked.nextZero(i, r[1])
			if i < 0 {
				break
			}
			if d.man.HasPart(i) {
				return i
			}
			i = (i/manifestFan + 1) * manifestFan
		}
	}
	return -1
}

func (d *download) complete() bool {
	if d.man == nil {
		return d.known && d.ndone == 1
	}
	return d.ndone == d.man.chunks
}

// supplied notes who supplied something that was used.
func (d *download) supplied(id PeerID) {
	for _, s := range d.suppliers {
		if s == id {
			return
		}
	}
	d.suppliers = append(d.suppliers, id)
}
