package diffusion

// SizeTolerance is by how many bytes an item may differ from its announced size, either way (wire §8).
const SizeTolerance = 32

// Announced is one id that was announced, and the bytes of the item.
type Announced struct {
	ID   []byte
	Size int // as announced; where no sizes are announced the dialect's MaxItem
}

// Dialect is how a mini-protocol says what both have in common.
type Dialect struct {
	Window  int  // ids that may be announced and not acknowledged
	MaxItem int  // bytes of the largest item that is offered or asked for
	Batch   int  // bytes that one request for items asks for; one item more may exceed it
	Sized   bool // sizes are announced, and hold within SizeTolerance

	// AskerOpens: the side that asks sends Init, and may send Done when no answer is outstanding. Otherwise the owner does, Done
	// in answer to a blocking request.
	AskerOpens bool
	Init, Done []byte

	TagRequestIDs, TagDone uint64

	AppendRequestIDs   func(dst []byte, blocking bool, ack, req uint16) []byte
	AppendReplyIDs     func(dst []byte, ids []Announced) []byte
	AppendRequestItems func(dst []byte, ids [][]byte) []byte
	AppendReplyItems   func(dst []byte, items [][]byte) []byte

	DecodeRequestIDs func(msg []byte) (blocking bool, ack, req uint16, err error)
	// DecodeReplyIDs refuses more than limit ids, none after a blocking request, and ids of a kind that no node announces.
	DecodeReplyIDs     func(msg []byte, limit int, blocking bool) ([]Announced, error)
	DecodeRequestItems func(dst [][]byte, msg []byte, limit int) ([][]byte, error)
	DecodeReplyItems   func(dst [][]byte, msg []byte, limit int) ([][]byte, error)
}
