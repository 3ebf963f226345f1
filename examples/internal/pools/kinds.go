package pools

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"

	"github.com/hearthnet/hearth/artifact"
)

// Kind is one kind of artifact.
type Kind struct {
	ID    uint32
	Name  string // of its folder
	Limit int    // bytes of the largest
	Chunk int
	Push  artifact.PushMode
}

// Kinds are all there are: small ones for what is urgent, large ones that eager peers push when they are short, and large ones that
// are always fetched.
var Kinds = []Kind{
	{ID: 1, Name: "notices", Limit: 64 << 10, Chunk: 16 << 10, Push: artifact.Tree},
	{ID: 2, Name: "records", Limit: 1 << 20, Chunk: 64 << 10, Push: artifact.Tree},
	{ID: 3, Name: "bundles", Limit: 1 << 20, Chunk: 64 << 10, Push: artifact.None},
}

func (k Kind) config() artifact.KindConfig {
	return artifact.KindConfig{ID: k.ID, MaxSize: int64(k.Limit), ChunkSize: k.Chunk}
}

// headerBytes begin every body: its class, then its serial number. They are the attr by which it is bounced.
const headerBytes = 9

// MinSize is the size of the smallest body that [Random] makes.
const MinSize = 64

// Header is what a body says of itself.
type Header struct {
	Class  artifact.Class
	Serial uint64
}

var errHeader = errors.New("an artifact begins with its class, 0 to 3, and its serial number")

func parseHeader(b []byte) (h Header, err error) {
	if len(b) < headerBytes || b[0] > byte(artifact.Idle) {
		return h, errHeader
	}
	return Header{artifact.Class(b[0]), binary.BigEndian.Uint64(b[1:])}, nil
}

// Random makes a body with a serial number: one in eight urgent and small, the others of any class and kind; sizes are log-uniform
// between 64 bytes and the kind's limit.
func Random(rnd *rand.Rand, serial uint64) (kind Kind, class artifact.Class, body []byte) {
	kind, class = Kinds[rnd.IntN(len(Kinds))], artifact.Class(1+rnd.IntN(3))
	if rnd.IntN(8) == 0 {
		kind, class = Kinds[0], artifact.Urgent
	}
	size := int(MinSize * math.Exp(rnd.Float64()*math.Log(float64(kind.Limit)/MinSize)))
	body = make([]byte, size)
	for i := 0; i < size; i += 8 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], rnd.Uint64())
		copy(body[i:], word[:])
	}
	body[0] = byte(class)
	binary.BigEndian.PutUint64(body[1:], serial)
	return kind, class, body
}
