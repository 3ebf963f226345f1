package artifact

// The messages of artifact-fetch (artifact §6.2).

const (
	tagFetch = iota
	tagManifest
	tagChunk
	tagFetchDone
	tagFetchEnd
)

// Status of fetchDone.
const (
	statusOK = iota
	statusNotFound
	statusBusy
	statusCancelled
	statusTooLarge
	statusLate
)

// span is a range of indices, first … first+count-1.
type span struct{ first, count uint64 }

type msgFetch struct {
	id       uint64 // request
	artifact ID
	parts    []span // 0 is the root, i+1 part i
	chunks   []span
	maxBytes uint64
	class    Class
	deadline uint64 // ms
}

func appendSpans(b []byte, ss []span) []byte {
	b = appendArray(b, len(ss))
	for _, s := range ss {
		b = appendUint(append(b, 0x82), s.first)
		b = appendUint(b, s.count)
	}
	return b
}

func (m *msgFetch) append(b []byte) []byte {
	b = appendUint(append(b, 0x88, tagFetch), m.id)
	b = appendBytes(b, m.artifact[:])
	b = appendSpans(b, m.parts)
	b = appendSpans(b, m.chunks)
	b = appendUint(b, m.maxBytes)
	b = append(b, byte(m.class))
	return appendUint(b, m.deadline)
}

func (r *reader) spans() []span {
	var ss []span
	next := uint64(0)
	for a := r.array("ranges"); r.next(&a); {
		d := r.open(2, "a range")
		s := span{r.uint(maxInt63, "first"), r.uint(maxInt63, "count")}
		r.shut(d, "end of range")
		if s.count == 0 || s.first < next || s.first > maxInt63-s.count || len(ss) == maxRanges {
			r.fail("at most 32 ascending, disjoint, non-empty ranges")
		}
		if r.err != nil {
			return nil
		}
		next = s.first + s.count
		ss = append(ss, s)
	}
	return ss
}

// decodeFetch decodes a fetch; end is true for fetchEnd.
func decodeFetch(b []byte) (m *msgFetch, end bool, err error) {
	r := &reader{b: b}
	a, tag := r.tagged()
	if len(b) > MaxFetch {
		r.fail("a fetch of at most 1 KiB")
	}
	if r.err == nil && tag == tagFetchEnd {
		return nil, true, r.finish(&a)
	}
	if r.err == nil && tag != tagFetch {
		r.fail("fetch or fetchEnd")
	}
	m = &msgFetch{}
	r.field(&a, "a request id")
	m.id = r.uint(maxInt63, "a request id")
	r.field(&a, "an id")
	copy(m.artifact[:], r.bytes(32, 32, "an id"))
	r.field(&a, "parts")
	m.parts = r.spans()
	r.field(&a, "chunks")
	m.chunks = r.spans()
	r.field(&a, "max bytes")
	m.maxBytes = r.uint(maxInt63, "max bytes")
	r.field(&a, "a class")
	m.class = Class(r.uint(3, "a class"))
	r.field(&a, "a deadline")
	m.deadline = r.uint(maxInt63, "a deadline")
	if r.err == nil && len(m.parts)+len(m.chunks) == 0 {
		r.fail("something to fetch")
	}
	if err := r.finish(&a); err != nil {
		return nil, false, err
	}
	return m, false, nil
}

// piece is a decoded message of the provider on a fetch lane.
type piece struct {
	tag     uint64 // tagManifest, tagChunk, tagFetchDone
	request uint64
	index   uint64
	data    []byte
	status  uint64
	retryMs uint64
}

func appendPieceHead(b []byte, tag byte, request, index uint64, n int) []byte {
	b = appendUint(append(b, 0x84, tag), request)
	b = appendUint(b, index)
	return appendHead(b, majorBytes, uint64(n))
}

// appendFetchDone writes a fetchDone; retryMs 0 is left out.
func appendFetchDone(b []byte, request, status, retryMs uint64) []byte {
	if retryMs == 0 {
		return appendUint(appendUint(append(b, 0x83, tagFetchDone), request), status)
	}
	b = appendUint(appendUint(append(b, 0x84, tagFetchDone), request), status)
	return appendUint(b, retryMs)
}

func appendFetchEnd(b []byte) []byte { return append(b, 0x81, tagFetchEnd) }

func decodePiece(b []byte) (m piece, err error) {
	r := &reader{b: b}
	a, tag := r.tagged()
	m.tag = tag
	r.field(&a, "a request id")
	m.request = r.uint(maxInt63, "a request id")
	switch {
	case r.err != nil:
	case tag == tagManifest:
		r.field(&a, "a part")
		m.index = r.uint(maxInt63, "a part")
		r.field(&a, "a manifest")
		m.data = r.bytes(0, MaxManifest-64, "a manifest of at most 32 KiB")
		if len(b) > MaxManifest {
			r.fail("a manifest message of at most 32 KiB + 64")
		}
	case tag == tagChunk:
		r.field(&a, "an index")
		m.index = r.uint(maxInt63, "an index")
		r.field(&a, "a chunk")
		m.data = r.bytes(0, maxFlat, "a chunk of at most 64 KiB")
		if len(b)-len(m.data) > 64 {
			r.fail("a chunk message of at most 64 bytes beside its data")
		}
	case tag == tagFetchDone && len(b) <= MaxSmall:
		r.field(&a, "a status")
		m.status = r.uint(statusLate, "a status")
		if r.next(&a) {
			m.retryMs = r.uint(maxInt63, "a delay")
		}
	default:
		r.fail("manifest, chunk or fetchDone")
	}
	return m, r.finish(&a)
}
