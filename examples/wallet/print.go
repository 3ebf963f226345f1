package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/hearthnet/hearth/examples/chain"
)

// place is a point in JSON; both null for the origin.
type place struct {
	Slot *uint64 `json:"slot"`
	Hash *string `json:"hash"`
}

func placeOf(p chain.Point) place {
	if p.IsOrigin() {
		return place{}
	}
	h := hex.EncodeToString(p.Hash[:])
	return place{&p.Slot, &h}
}

type tipLine struct {
	place
	Block *uint64 `json:"block"`
}

type eventLine struct {
	Event string `json:"event"`
	place
	Block *uint64 `json:"block,omitempty"`
	Bytes *int    `json:"bytes,omitempty"`
	Tip   tipLine `json:"tip"`
}

func (w *wallet) print(c change) error {
	if !w.json {
		if c.forward {
			_, err := fmt.Fprintf(w.out, "forward  %v block %d, %d bytes\n", c.point, c.number, c.bytes)
			return err
		}
		_, err := fmt.Fprintf(w.out, "backward %v\n", c.point)
		return err
	}
	l := eventLine{Event: "backward", place: placeOf(c.point), Tip: tipLine{place: placeOf(c.tip.Point)}}
	if !c.tip.IsOrigin() {
		l.Tip.Block = &c.tip.Block
	}
	if c.forward {
		l.Event, l.Block, l.Bytes = "forward", &c.number, &c.bytes
	}
	return json.NewEncoder(w.out).Encode(l)
}
