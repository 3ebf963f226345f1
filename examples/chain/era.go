package chain

import "fmt"

// Era is the tag of an era in storage and in block payloads (wire §5.3). Node-to-node headers number eras differently:
// see [Era.Index].
type Era uint8

// The eras, by block tag.
const (
	ByronBoundary Era = iota // an epoch boundary block (EBB)
	Byron
	Shelley
	Allegra
	Mary
	Alonzo
	Babbage
	Conway
	Dijkstra

	// EraUnknown asks [ParseHeader] to derive the era from the header.
	EraUnknown Era = 0xff
)

const lastEra = Dijkstra

// byronEpochSlots is the number of slots in a Byron epoch, the same on every public network.
const byronEpochSlots = 21600

func (e Era) String() string {
	switch e {
	case ByronBoundary:
		return "Byron boundary"
	case Byron:
		return "Byron"
	case Shelley:
		return "Shelley"
	case Allegra:
		return "Allegra"
	case Mary:
		return "Mary"
	case Alonzo:
		return "Alonzo"
	case Babbage:
		return "Babbage"
	case Conway:
		return "Conway"
	case Dijkstra:
		return "Dijkstra"
	}
	return fmt.Sprintf("era %d", uint8(e))
}

// IsByron reports whether e is one of the two Byron tags, whose headers have a form, a hash and a payload of their own.
func (e Era) IsByron() bool { return e <= Byron }

// Index is the number that node-to-node headers, transactions and queries give the era: 0 for both Byron tags, then one less
// than the tag (wire §5.3).
func (e Era) Index() uint64 {
	if e.IsByron() {
		return 0
	}
	return uint64(e) - 1
}

// eraOfMajor is the era of a header found without a tag, by the major protocol version that it names.
func eraOfMajor(major uint64) (Era, bool) {
	switch {
	case major < 2:
		return 0, false
	case major <= 4:
		return Shelley + Era(major-2), true
	case major <= 6:
		return Alonzo, true
	case major <= 8:
		return Babbage, true
	case major <= 10:
		return Conway, true
	}
	return Dijkstra, true
}
