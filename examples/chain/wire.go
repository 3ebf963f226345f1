package chain

import "fmt"

// AppendItem appends the stored item `[era, block]` of a bare block.
func AppendItem(dst []byte, era Era, block []byte) []byte {
	return append(append(dst, 0x82, byte(era)), block...)
}

// AppendBlockPayload appends `#24(item)`, what block-fetch and node-to-client chain-sync carry (wire §5.4), for a stored item.
func AppendBlockPayload(dst, item []byte) []byte {
	return append(appendBlockHead(dst, len(item)), item...)
}

func appendBlockHead(dst []byte, size int) []byte {
	return appendHead(append(dst, 0xd8, 0x18), majorBytes, uint64(size))
}

// BlockItem returns the stored item inside a block payload `#24([era, block])`, a part of payload. The item itself is not
// looked at: give it to [ParseBlock].
func BlockItem(payload []byte) ([]byte, error) {
	r := reader{b: payload}
	item := r.embedded("block payload")
	if err := r.end(); err != nil {
		return nil, err
	}
	return item, nil
}

// ParseBlockPayload reads a block payload `#24([era, block])`. The result refers to payload; payload may be hostile.
func ParseBlockPayload(payload []byte) (Block, error) {
	item, err := BlockItem(payload)
	if err != nil {
		return Block{}, err
	}
	blk, err := ParseBlock(item)
	if err != nil {
		return Block{}, shift(err, len(payload)-len(item))
	}
	if !blk.Wrapped {
		return Block{}, bad(len(payload)-len(item), "block without its era")
	}
	return blk, nil
}

// AppendHeaderPayload appends what node-to-node chain-sync carries for a header (wire §5.4): `[eraIndex, #24(header)]`, for
// Byron `[0, [[kind, size], #24(header)]]`. Size is the length of the stored item and used for Byron only.
func AppendHeaderPayload(dst []byte, era Era, header []byte, size int) []byte {
	return append(appendHeaderHead(dst, era, len(header), size), header...)
}

func appendHeaderHead(dst []byte, era Era, length, size int) []byte {
	if era.IsByron() {
		dst = append(dst, 0x82, 0x00, 0x82, 0x82, byte(era))
		dst = appendHead(dst, majorUint, uint64(size))
	} else {
		dst = append(dst, 0x82, byte(era.Index()))
	}
	return appendHead(append(dst, 0xd8, 0x18), majorBytes, uint64(length))
}

// HeaderPayload appends the header payload of a stored item or bare block.
func HeaderPayload(dst, b []byte) ([]byte, error) {
	blk, err := ParseBlock(b)
	if err != nil {
		return dst, err
	}
	return AppendHeaderPayload(dst, blk.Era, blk.Bytes, blk.Size), nil
}

// HeaderInPayload returns the era and the header inside a header payload, a part of payload, and for Byron the size of
// the stored item as the sender gives it, a hint (0 else). The header itself is not looked at.
func HeaderInPayload(payload []byte) (era Era, header []byte, size int, err error) {
	r := reader{b: payload}
	r.exactly(2, "header payload")
	at := r.off
	index := r.uint("era index")
	switch {
	case r.err != nil:
	case index == 0:
		r.exactly(2, "Byron header")
		r.exactly(2, "Byron header kind")
		kind := r.uint("Byron header kind")
		hint := r.uint("block size")
		if r.err == nil && (kind > 1 || hint > 1<<32-1) {
			r.fail(at, fmt.Sprintf("Byron header of kind %d, size %d", kind, hint))
		}
		era, size = Era(kind), int(hint)
	case index >= uint64(lastEra):
		r.fail(at, fmt.Sprintf("unknown era index %d", index))
	default:
		era = Era(index) + 1
	}
	header = r.embedded("header")
	if err := r.end(); err != nil {
		return 0, nil, 0, err
	}
	return era, header, size, nil
}

// ParseHeaderPayload reads a header payload of any era. The result refers to payload; payload may be hostile.
func ParseHeaderPayload(payload []byte) (Header, error) {
	era, header, _, err := HeaderInPayload(payload)
	if err != nil {
		return Header{}, err
	}
	h, err := ParseHeader(era, header)
	if err != nil {
		return Header{}, shift(err, len(payload)-len(header))
	}
	return h, nil
}
