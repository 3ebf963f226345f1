package metrics

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/protocols/handshake"
	"github.com/hearthnet/hearth/protocols/keepalive"
	"github.com/hearthnet/hearth/protocols/localstatequery"
	"github.com/hearthnet/hearth/protocols/localtxmonitor"
	"github.com/hearthnet/hearth/protocols/localtxsubmission"
	"github.com/hearthnet/hearth/protocols/objectdiffusion"
	"github.com/hearthnet/hearth/protocols/peersharing"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

var protocolNames = map[uint16]string{
	handshake.Number: "handshake", chainsync.Number: "chain-sync", blockfetch.Number: "block-fetch",
	txsubmission.Number: "tx-submission", keepalive.Number: "keep-alive", peersharing.Number: "peer-sharing",
	chainsync.LocalNumber: "local-chain-sync", localtxsubmission.Number: "local-tx-submission",
	localstatequery.Number: "local-state-query", localtxmonitor.Number: "local-tx-monitor",
	objectdiffusion.CertificateNumber: "certificate-diffusion", objectdiffusion.VoteNumber: "vote-diffusion",
	artifact.NumOffer: "artifact-offer", artifact.NumControl: "artifact-control", artifact.NumUrgent: "artifact-urgent",
	artifact.NumBulk: "artifact-bulk", artifact.NumJoin: "artifact-join",
}

// ProtocolName is the name of a mini-protocol; those of the host itself are called by their number.
func ProtocolName(number uint16) string {
	if s, ok := protocolNames[number]; ok {
		return s
	}
	return fmt.Sprint(number)
}

// Traffic is the payload of one mini-protocol, both roles together, in bytes.
type Traffic struct {
	Protocol string `json:"protocol"`
	In       uint64 `json:"in"`
	Out      uint64 `json:"out"`
}

// Tally adds up the traffic of a manager's connections, those that have ended included: what a connection carried between the last
// look at it and its end is lost, so a host looks every second or so. The zero value is ready. It remembers one entry for each
// open connection and mini-protocol. Safe for concurrent use.
type Tally struct {
	mu    sync.Mutex
	ended map[uint16][2]uint64
	open  map[connmgr.RecordID][]mux.StreamCounters
}

// Look takes the connections as they are now and returns the totals, sorted by name.
func (t *Tally) Look(conns []connmgr.Info) []Traffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended == nil {
		t.ended = map[uint16][2]uint64{}
	}
	open := make(map[connmgr.RecordID][]mux.StreamCounters, len(conns))
	for _, c := range conns {
		if before := t.open[c.Record]; len(c.Streams) == 0 && len(before) > 0 {
			open[c.Record] = before // it is closing
			continue
		}
		open[c.Record] = c.Streams
	}
	for record, streams := range t.open {
		if _, ok := open[record]; !ok {
			add(t.ended, streams)
		}
	}
	t.open = open
	sum := maps.Clone(t.ended)
	for _, streams := range open {
		add(sum, streams)
	}
	return byName(sum)
}

// Streams is the traffic of these streams.
func Streams(streams []mux.StreamCounters) []Traffic {
	sum := map[uint16][2]uint64{}
	add(sum, streams)
	return byName(sum)
}

func byName(sum map[uint16][2]uint64) []Traffic {
	out := make([]Traffic, 0, len(sum))
	for number, bytes := range sum {
		out = append(out, Traffic{ProtocolName(number), bytes[0], bytes[1]})
	}
	slices.SortFunc(out, func(a, b Traffic) int { return strings.Compare(a.Protocol, b.Protocol) })
	return out
}

// Sum adds up lists of traffic, sorted by name: keep-alive runs beside other mini-protocols in more than one place.
func Sum(lists ...[]Traffic) []Traffic {
	sum := map[string]Traffic{}
	for _, list := range lists {
		for _, t := range list {
			old := sum[t.Protocol]
			sum[t.Protocol] = Traffic{t.Protocol, old.In + t.In, old.Out + t.Out}
		}
	}
	out := slices.Collect(maps.Values(sum))
	slices.SortFunc(out, func(a, b Traffic) int { return strings.Compare(a.Protocol, b.Protocol) })
	return out
}

func add(sum map[uint16][2]uint64, streams []mux.StreamCounters) {
	for _, s := range streams {
		b := sum[s.Number]
		sum[s.Number] = [2]uint64{b[0] + s.BytesIn, b[1] + s.BytesOut}
	}
}
