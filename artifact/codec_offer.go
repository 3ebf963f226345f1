package artifact

// The messages of artifact-offer (artifact §6.2). Slices of a decoded message are views into it.

const (
	tagInit = iota
	tagInitOk
	tagRequestNext
	tagOffers
	_
	tagDone
	tagInitNo
)

// Reasons of initNo.
const (
	initNoVersion   = 0
	initNoBusy      = 1
	initNoDuplicate = 2
)

type kindWish struct {
	kind  uint32
	eager bool
}

type resumeClaim struct {
	epoch   [8]byte
	highest uint64
	digests []digest
}

type msgInit struct {
	version uint64
	epoch   [8]byte // the consumer's
	window  int
	reserve int
	inline  int
	kinds   []kindWish
	resume  *resumeClaim
}

type bulkOffer struct {
	bearers int
	key     [16]byte
}

type msgInitOk struct {
	epoch   [8]byte
	slots   int
	resumed bool
	bulk    *bulkOffer
}

type msgRequestNext struct{ entries, inline int }

func (m *msgInit) append(b []byte) []byte {
	b = append(b, 0x85, tagInit)
	b = appendUint(b, m.version)
	b = appendBytes(b, m.epoch[:])
	b = appendArray(b, 4)
	b = appendUint(b, uint64(m.window))
	b = appendUint(b, uint64(m.reserve))
	b = appendUint(b, uint64(m.inline))
	b = appendArray(b, len(m.kinds))
	for _, k := range m.kinds {
		b = appendArray(b, 2)
		b = appendUint(b, uint64(k.kind))
		b = appendBool(b, k.eager)
	}
	if m.resume == nil {
		return append(b, cborNull)
	}
	b = appendArray(b, 3)
	b = appendBytes(b, m.resume.epoch[:])
	b = appendUint(b, m.resume.highest)
	return appendDigests(b, m.resume.digests)
}

func appendDigests(b []byte, ds []digest) []byte {
	b = appendArray(b, len(ds))
	for i := range ds {
		b = appendBytes(b, ds[i][:])
	}
	return b
}

func (r *reader) digests(max int) []digest {
	var ds []digest
	for a := r.array("digests"); r.next(&a); {
		if len(ds) == max {
			r.fail("no more digests")
			return nil
		}
		d := r.bytes(8, 8, "a digest")
		if r.err != nil {
			return nil
		}
		ds = append(ds, digest(d))
	}
	return ds
}

func (r *reader) bytes8(want string) (out [8]byte) {
	copy(out[:], r.bytes(8, 8, want))
	return out
}

func decodeInit(b []byte) (*msgInit, error) {
	r := &reader{b: b}
	a, tag := r.tagged()
	if len(b) > MaxInit || r.err == nil && tag != tagInit {
		r.fail("init")
	}
	m := &msgInit{}
	r.field(&a, "version")
	m.version = r.uint(maxInt63, "version")
	r.field(&a, "consumer epoch")
	m.epoch = r.bytes8("consumer epoch")
	r.field(&a, "limits")
	l := r.open(4, "limits")
	m.window = int(r.uint(1<<31, "window"))
	m.reserve = int(r.uint(1<<31, "urgent reserve"))
	m.inline = int(r.uint(1<<31, "inline bytes"))
	for k := r.array("kinds"); r.next(&k); {
		w := r.open(2, "kind")
		id := uint32(r.uint(1<<32-1, "kind"))
		if n := len(m.kinds); n == maxKinds || n > 0 && m.kinds[n-1].kind >= id {
			r.fail("at most 64 kinds, ascending")
		}
		eager := r.bool("eager")
		r.shut(w, "end of kind")
		if r.err != nil {
			return nil, r.err
		}
		m.kinds = append(m.kinds, kindWish{id, eager})
	}
	r.shut(l, "end of limits")
	r.field(&a, "resume")
	if !r.null() {
		s := r.open(3, "resume")
		m.resume = &resumeClaim{epoch: r.bytes8("provider epoch"), highest: r.uint(maxInt63, "highest")}
		m.resume.digests = r.digests(maxSlots / blockSlots)
		r.shut(s, "end of resume")
	}
	if err := r.finish(&a); err != nil {
		return nil, err
	}
	if m.window == 0 {
		return nil, &DecodeError{Want: "a window"}
	}
	return m, nil
}

func (m *msgInitOk) append(b []byte) []byte {
	b = append(b, 0x85, tagInitOk)
	b = appendBytes(b, m.epoch[:])
	b = appendUint(b, uint64(m.slots))
	b = appendBool(b, m.resumed)
	if m.bulk == nil {
		return append(b, cborNull)
	}
	b = appendArray(b, 2)
	b = appendUint(b, uint64(m.bulk.bearers))
	return appendBytes(b, m.bulk.key[:])
}

func appendInitNo(b []byte, reason uint64) []byte {
	return appendUint(append(b, 0x82, tagInitNo), reason)
}

func (m msgRequestNext) append(b []byte) []byte {
	b = appendUint(append(b, 0x83, tagRequestNext), uint64(m.entries))
	return appendUint(b, uint64(m.inline))
}

func appendDone(b []byte) []byte { return append(b, 0x81, tagDone) }

// toProvider is a decoded message of the consumer on offer.
type toProvider struct {
	tag  uint64 // tagInit, tagRequestNext, tagDone
	init *msgInit
	next msgRequestNext
}

func decodeToProvider(b []byte) (toProvider, error) {
	r := &reader{b: b}
	a, tag := r.tagged()
	m := toProvider{tag: tag}
	switch {
	case r.err != nil:
		return m, r.err
	case tag == tagInit:
		in, err := decodeInit(b)
		m.init = in
		return m, err
	case tag == tagRequestNext && len(b) <= MaxSmall:
		r.field(&a, "entries")
		m.next.entries = int(r.uint(1<<31, "entries"))
		r.field(&a, "inline bytes")
		m.next.inline = int(r.uint(1<<31, "inline bytes"))
	case tag == tagDone:
	default:
		r.fail("init, requestNext or done")
	}
	return m, r.finish(&a)
}

// entry kinds inside offers.
const (
	entryOffer = iota
	entryPush
	entryWithdraw
	entryKnown
	entrySynced
)

// chunking of an offer; count 0 stands for null: the body is one piece of at most 64 KiB.
type chunking struct {
	size  int    // bytes of a chunk
	count uint64 // chunks
	root  []byte // inline manifest, nil if there is none
}

type entry struct {
	tag    uint8
	hint   uint8
	slot   uint32
	kind   uint32
	commit uint64
	id     ID
	size   int64
	attr   []byte
	chunks chunking
	body   []byte // of a push
}

func (e *entry) partial() bool { return e.hint&partialHint != 0 }

func (e *entry) append(b []byte) []byte {
	switch e.tag {
	case entryOffer:
		b = append(b, 0x89, entryOffer)
		b = appendUint(b, uint64(e.slot))
		b = appendUint(b, e.commit)
		b = appendUint(b, uint64(e.kind))
		b = appendBytes(b, e.id[:])
		b = appendUint(b, uint64(e.size))
		b = append(b, e.hint)
		b = appendBytes(b, e.attr)
		if e.chunks.count == 0 {
			return append(b, cborNull)
		}
		b = appendArray(b, 3)
		b = appendUint(b, uint64(e.chunks.size))
		b = appendUint(b, e.chunks.count)
		return appendBytesOrNull(b, e.chunks.root)
	case entryPush:
		b = append(b, 0x88, entryPush)
		b = appendUint(b, uint64(e.slot))
		b = appendUint(b, e.commit)
		b = appendUint(b, uint64(e.kind))
		b = appendBytes(b, e.id[:])
		b = append(b, e.hint)
		b = appendBytes(b, e.attr)
		return appendBytes(b, e.body)
	case entryWithdraw, entryKnown:
		b = append(b, 0x83, e.tag)
		b = appendUint(b, uint64(e.slot))
		return appendUint(b, e.commit)
	}
	return append(b, 0x81, entrySynced)
}

// appendOffers writes an offers message around entries that are encoded already.
func appendOffers(b []byte, n int, entries []byte) []byte {
	return append(appendArray(append(b, 0x82, tagOffers), n), entries...)
}

func (r *reader) entry() (e entry) {
	a := r.array("an entry")
	if !r.next(&a) {
		r.fail("an entry")
	}
	e.tag = uint8(r.uint(entrySynced, "an entry's tag"))
	want := [...]uint64{8, 7, 2, 2, 0}[e.tag]
	if r.err == nil && !a.indef && a.left != want {
		r.fail("an entry of the right length")
	}
	if e.tag != entrySynced {
		e.slot = uint32(r.uint(maxSlots-1, "a slot"))
		e.commit = r.uint(maxInt63, "a commit")
	}
	if e.tag == entryOffer || e.tag == entryPush {
		e.kind = uint32(r.uint(1<<32-1, "a kind"))
		copy(e.id[:], r.bytes(32, 32, "an id"))
		if e.tag == entryOffer {
			e.size = int64(r.uint(maxInt63, "a size"))
		}
		top := uint64(7)
		if e.tag == entryPush {
			top = 3
		}
		e.hint = uint8(r.uint(top, "a hint"))
		e.attr = r.bytes(0, maxAttr, "an attr of at most 256 bytes")
		if e.tag == entryPush {
			e.body = r.bytes(0, maxFlat, "a body of at most 65,536 bytes")
			e.size = int64(len(e.body))
		} else if !r.null() {
			c := r.open(3, "chunking")
			e.chunks.size = int(r.uint(maxFlat, "a chunk size"))
			e.chunks.count = r.uint(maxInt63, "a chunk count")
			if !r.null() {
				e.chunks.root = r.bytes(1, maxInline, "an inline manifest of at most 1,024 bytes")
			}
			r.shut(c, "end of chunking")
			if r.err == nil && e.chunks.count == 0 {
				r.fail("at least one chunk")
			}
		}
		if r.err == nil && e.tag == entryOffer && (e.size <= maxFlat) != (e.chunks.count == 0) {
			r.fail("chunking exactly above 65,536 bytes")
		}
	}
	r.shut(a, "end of entry")
	return e
}

// fromProvider is a decoded message of the provider on offer.
type fromProvider struct {
	tag    uint64 // tagInitOk, tagInitNo, tagOffers
	ok     msgInitOk
	reason uint64
	bodies int     // sum of the pushed bodies, bytes
	shown  int     // offers, pushes and knowns
	gone   int     // withdrawals
	offers []entry // appended to what decodeFromProvider was given
}

// decodeFromProvider decodes one message. An offers message may have max entries that use credit; withdrawals are limited
// apart from them. Entries are appended to into[:0], so that one slice serves a whole session.
func decodeFromProvider(b []byte, max int, into []entry) (m fromProvider, err error) {
	r := &reader{b: b}
	a, tag := r.tagged()
	m.tag = tag
	switch {
	case r.err != nil:
	case tag == tagInitOk && len(b) <= MaxSmall:
		r.field(&a, "provider epoch")
		m.ok.epoch = r.bytes8("provider epoch")
		r.field(&a, "slots")
		m.ok.slots = int(r.uint(maxSlots, "slots"))
		if m.ok.slots == 0 || m.ok.slots%blockSlots != 0 {
			r.fail("a multiple of 64 slots")
		}
		r.field(&a, "resumed")
		m.ok.resumed = r.bool("resumed")
		r.field(&a, "bulk")
		if !r.null() {
			l := r.open(2, "bulk")
			m.ok.bulk = &bulkOffer{bearers: int(r.uint(maxBearers, "1 to 4 bearers"))}
			copy(m.ok.bulk.key[:], r.bytes(16, 16, "a key"))
			r.shut(l, "end of bulk")
			if m.ok.bulk.bearers == 0 {
				r.fail("1 to 4 bearers")
			}
		}
	case tag == tagInitNo && len(b) <= MaxSmall:
		r.field(&a, "a reason")
		m.reason = r.uint(initNoDuplicate, "a reason")
	case tag == tagOffers:
		r.field(&a, "entries")
		m.offers = into[:0]
		synced := 0
		for l := r.array("entries"); r.next(&l); {
			e := r.entry()
			if r.err != nil {
				break
			}
			switch e.tag {
			case entryWithdraw:
				m.gone++
			case entrySynced:
				synced++
			default:
				m.shown++
				m.bodies += len(e.body)
			}
			if m.shown > max || m.gone > maxWithdraw || synced > 1 {
				r.fail("no more entries than were granted")
				break
			}
			m.offers = append(m.offers, e)
		}
		if len(b)-m.bodies > MaxOffers {
			r.fail("an offers message of at most 64 KiB beside its bodies")
		}
	default:
		r.fail("initOk, initNo or offers")
	}
	return m, r.finish(&a)
}
