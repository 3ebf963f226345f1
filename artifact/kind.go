package artifact

import (
	"encoding/json"
	"io"
)

// Kind describes one kind of artifact to the layer above: its contract (ID, MaxSize, ChunkSize: the same on every node), how it
// travels, and how a T becomes bytes (artifact §6.13).
type Kind[T any] struct {
	ID                uint32
	MaxSize           int64
	ChunkSize, Weight int         // bytes, 0: 64 KiB; share among kinds, 0: 1
	Push              PushMode    // Tree (zero value), None, All
	Relay             RelayPolicy // AfterValidation (zero value), OriginOnly, AfterHeader, Never
	Ephemeral         bool
	Quota, DiskQuota  int64 // per peer, bytes; see KindConfig
	// Sink is where bodies above 64 KiB go while they arrive; nil: memory. When it is an io.ReaderAt too, what it holds
	// already is verified and not fetched again. The validated body is read from it, so a Sink must be an io.ReaderAt if
	// the artifact is to be served on.
	Sink   func(id ID, size int64) (io.WriterAt, error)
	Encode func(T) ([]byte, error)
	Decode func([]byte) (T, error) // of a body in memory; for a Sink's body see DecodeFile
	// DecodeFile makes the value of a body that went to a Sink.
	DecodeFile func(id ID, size int64, attr []byte) (T, error)
	Attr       func(T) []byte                     // ≤ 256 B, derived from the body alone; nil: none
	Match      func(filter, attr []byte) bool     // for reoffer; nil: everything matches
	Header     func(attr, firstChunk []byte) bool // AfterHeader only
}

func (k *Kind[T]) config() KindConfig {
	return KindConfig{ID: k.ID, MaxSize: k.MaxSize, ChunkSize: k.ChunkSize, Weight: k.Weight, Push: k.Push, Relay: k.Relay,
		Ephemeral: k.Ephemeral, Disk: k.Sink != nil, Quota: k.Quota, DiskQuota: k.DiskQuota}
}

func (k *Kind[T]) attrOf(v T) []byte {
	if k.Attr == nil {
		return nil
	}
	return k.Attr(v)
}

// JSONKind fills in Encode and Decode with encoding/json.
func JSONKind[T any](k Kind[T]) Kind[T] {
	k.Encode = func(v T) ([]byte, error) { return json.Marshal(v) }
	k.Decode = func(b []byte) (v T, err error) { return v, json.Unmarshal(b, &v) }
	return k
}

// BytesKind fills in Encode and Decode for a kind whose values are their bytes.
func BytesKind(k Kind[[]byte]) Kind[[]byte] {
	k.Encode = func(v []byte) ([]byte, error) { return v, nil }
	k.Decode = func(b []byte) ([]byte, error) { return b, nil }
	return k
}

// Client is the layer above for one kind. All three are called by one goroutine, without a lock held.
type Client[T any] interface {
	// OnChange looks at the pool and returns what should change. It is called when the unvalidated section has changed, at
	// the latest every 200 ms while something waits there. Every artifact in it needs a change sooner or later: one that
	// has none within 2 s is parked and seen again at the next Refresh.
	OnChange(r Reader[T]) []Change[T]
	// Bouncer returns a pure, quick function over a snapshot of the pool that says, from id and attr alone, whether an offer
	// is wanted. attr is the claim of one peer. It is called concurrently, until the next one replaces it. nil: everything
	// is wanted as Normal.
	Bouncer(r Reader[T]) func(id ID, attr []byte) Interest
	// Quota is what a peer may have under way, bytes; 0: the kind's.
	Quota(peer PeerID) int64
}
