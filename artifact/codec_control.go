package artifact

// The messages of artifact-control (artifact §6.2).

const (
	tagDispose = iota
	tagHave
	tagReoffer
	tagCancel
	tagStop
	tagCompare
	tagEager
	tagCtlAck
	tagCtlDone
)

// Verdict is what a consumer answers to an offer (artifact §6.2).
type Verdict uint8

// The verdicts. Later and NoRoom park an offer at the provider, all others settle it.
const (
	Have Verdict = iota
	Delivered
	Unwanted
	Later
	NoRoom
	Invalid
)

// String returns the name that the grammar of artifact §6.2 has for it, such as "have" or "noRoom".
func (v Verdict) String() string {
	if v > Invalid {
		return "invalid verdict"
	}
	return [...]string{"have", "delivered", "unwanted", "later", "noRoom", "invalid"}[v]
}

func (v Verdict) terminal() bool { return v != Later && v != NoRoom }

// Which of the parked offers a reoffer brings back.
const (
	reofferLater  = 1
	reofferNoRoom = 2
)

type disposition struct {
	slot    uint32
	commit  uint64
	verdict Verdict
}

type reofferKind struct {
	kind   uint32
	filter []byte // nil: all
}

// control is one decoded message of the consumer.
type control struct {
	tag     uint64
	dispose []disposition
	have    []ID
	which   int
	reoffer []reofferKind // empty: all kinds
	cancel  []uint64
	answers uint64
	first   int // block
	digests []digest
	eager   []kindWish
}

func (m *control) append(b []byte) []byte {
	switch m.tag {
	case tagDispose:
		b = appendArray(append(b, 0x82, tagDispose), len(m.dispose))
		for _, d := range m.dispose {
			b = appendUint(append(b, 0x83), uint64(d.slot))
			b = appendUint(b, d.commit)
			b = append(b, byte(d.verdict))
		}
	case tagHave:
		b = appendArray(append(b, 0x82, tagHave), len(m.have))
		for i := range m.have {
			b = appendBytes(b, m.have[i][:])
		}
	case tagReoffer:
		b = appendUint(append(b, 0x83, tagReoffer), uint64(m.which))
		b = appendArray(b, len(m.reoffer))
		for _, k := range m.reoffer {
			b = appendUint(append(b, 0x82), uint64(k.kind))
			b = appendBytesOrNull(b, k.filter)
		}
	case tagCancel:
		b = appendArray(append(b, 0x82, tagCancel), len(m.cancel))
		for _, c := range m.cancel {
			b = appendUint(b, c)
		}
	case tagCompare:
		b = appendUint(append(b, 0x84, tagCompare), m.answers)
		b = appendUint(b, uint64(m.first))
		b = appendDigests(b, m.digests)
	case tagEager:
		b = appendArray(append(b, 0x82, tagEager), len(m.eager))
		for _, k := range m.eager {
			b = appendUint(append(b, 0x82), uint64(k.kind))
			b = appendBool(b, k.eager)
		}
	default: // stop, ctlAck, ctlDone
		b = append(b, 0x81, byte(m.tag))
	}
	return b
}

// decodeControl decodes what a consumer sends on control, except ctlAck. Dispositions are appended to into[:0].
func decodeControl(b []byte, into []disposition) (control, error) {
	r := &reader{b: b}
	a, tag := r.tagged()
	m := control{tag: tag, dispose: into[:0]}
	if len(b) > MaxControl {
		r.fail("a control message of at most 4 KiB")
	}
	if r.err != nil {
		return m, r.err
	}
	some := true
	switch tag {
	case tagDispose:
		r.field(&a, "dispositions")
		for l := r.array("dispositions"); r.next(&l); {
			d := r.open(3, "a disposition")
			v := disposition{slot: uint32(r.uint(maxSlots-1, "a slot")), commit: r.uint(maxInt63, "a commit")}
			v.verdict = Verdict(r.uint(uint64(Invalid), "a verdict"))
			r.shut(d, "end of disposition")
			if len(m.dispose) == maxDispose {
				r.fail("at most 240 dispositions")
			}
			if r.err != nil {
				break
			}
			m.dispose = append(m.dispose, v)
		}
		some = len(m.dispose) > 0
	case tagHave:
		r.field(&a, "ids")
		for l := r.array("ids"); r.next(&l); {
			id := r.bytes(32, 32, "an id")
			if len(m.have) == maxHave {
				r.fail("at most 64 ids")
			}
			if r.err != nil {
				break
			}
			m.have = append(m.have, ID(id))
		}
		some = len(m.have) > 0
	case tagReoffer:
		r.field(&a, "which")
		m.which = int(r.uint(3, "1, 2 or 3"))
		some = m.which > 0
		r.field(&a, "kinds")
		for l := r.array("kinds"); r.next(&l); {
			d := r.open(2, "a kind")
			k := reofferKind{kind: uint32(r.uint(1<<32-1, "a kind"))}
			if !r.null() {
				k.filter = r.bytes(0, maxFilter, "a filter of at most 1,024 bytes")
			}
			r.shut(d, "end of kind")
			if len(m.reoffer) == maxKinds {
				r.fail("at most 64 kinds")
			}
			if r.err != nil {
				break
			}
			m.reoffer = append(m.reoffer, k)
		}
	case tagCancel:
		r.field(&a, "request ids")
		for l := r.array("request ids"); r.next(&l); {
			id := r.uint(maxInt63, "a request id")
			if r.err != nil {
				break
			}
			m.cancel = append(m.cancel, id)
		}
		some = len(m.cancel) > 0
	case tagCompare:
		r.field(&a, "answers")
		m.answers = r.uint(maxInt63, "answers")
		r.field(&a, "first block")
		m.first = int(r.uint(maxSlots/blockSlots-1, "a block"))
		r.field(&a, "digests")
		m.digests = r.digests(maxSlots/blockSlots - m.first)
	case tagEager:
		r.field(&a, "kinds")
		for l := r.array("kinds"); r.next(&l); {
			d := r.open(2, "a kind")
			k := kindWish{kind: uint32(r.uint(1<<32-1, "a kind")), eager: r.bool("on or off")}
			r.shut(d, "end of kind")
			if len(m.eager) == maxKinds {
				r.fail("at most 64 kinds")
			}
			if r.err != nil {
				break
			}
			m.eager = append(m.eager, k)
		}
		some = len(m.eager) > 0
	case tagStop, tagCtlDone:
	default:
		r.fail("a control message")
	}
	if err := r.finish(&a); err != nil {
		return control{tag: tag}, err
	}
	if !some {
		return control{tag: tag}, &DecodeError{Want: "at least one item"}
	}
	return m, nil
}

func decodeCtlAck(b []byte) error {
	r := &reader{b: b}
	a, tag := r.tagged()
	if r.err == nil && (tag != tagCtlAck || len(b) > MaxSmall) {
		r.fail("ctlAck")
	}
	return r.finish(&a)
}
