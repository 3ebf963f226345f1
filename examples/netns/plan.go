package main

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/hearthnet/hearth/internal/tunlink"
)

// Ports of the processes at a site.
const (
	relayPort  = 3001
	gossipPort = 4001
)

// inside is the round trip between two sites of one region. A packet is late on its way up to the region's router only.
const inside = 5 * time.Millisecond

// Rates of cables, bytes per second.
const (
	localRate = 100e6 / 8
	longRate  = 20e6 / 8
)

// regionNames and how many relays are there. The first has the block producer, the last is the one that is cut off.
var (
	regionNames = []string{"a", "b", "c"}
	regionSizes = []int{3, 3, 2}
)

// span is what lies between the routers of two regions.
type span struct {
	from, to int
	rtt      time.Duration
	loss     float64 // each way
}

var spans = []span{
	{0, 1, 90 * time.Millisecond, 0.005},
	{1, 2, 160 * time.Millisecond, 0.01},
	{0, 2, 250 * time.Millisecond, 0.02},
}

// site is a place in the network with an address.
type site struct {
	name   string
	region int
	addr   netip.Addr
}

// plan is the network as it is to be: relays first, the producer last.
type plan struct {
	relays   []site
	producer site
	edges    [][2]int // pairs of relays that are each other's peers
}

func newPlan() plan {
	var p plan
	var at [][]int // relays of each region
	for r, n := range regionSizes {
		at = append(at, nil)
		for i := range n {
			at[r] = append(at[r], len(p.relays))
			p.relays = append(p.relays, site{fmt.Sprint(regionNames[r], i+1), r, address(r, i+1)})
		}
	}
	p.producer = site{"p", 0, address(0, 100)}
	for r := range at {
		for i := range at[r] {
			for k := range i {
				p.edges = append(p.edges, [2]int{at[r][k], at[r][i]}) // all of a region know each other
			}
			for q := range r {
				if i < len(at[q]) { // and one of every other region
					p.edges = append(p.edges, [2]int{at[q][i], at[r][i]})
				}
			}
		}
	}
	return p
}

// producerPeers is how many relays the producer is connected to: the first ones.
const producerPeers = 2

// ofProducer is the producer, for a relay that is its peer.
func (p plan) ofProducer(relay int) []site {
	if relay < producerPeers {
		return []site{p.producer}
	}
	return nil
}

// address is that of a site in a region; the router has number 254.
func address(region, n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 77, byte(region + 1), byte(n)})
}

func router(region int) netip.Addr { return address(region, 254) }

func subnet(region int) netip.Prefix { return netip.PrefixFrom(address(region, 0), 24) }

// sites are all of them.
func (p plan) sites() []site { return append(p.relays[:len(p.relays):len(p.relays)], p.producer) }

// peers lists the relays that a relay has an edge to. dialled leaves out those that have to dial it.
func (p plan) peers(i int, dialled bool) (out []site) {
	for _, e := range p.edges {
		switch {
		case e[1] == i:
			out = append(out, p.relays[e[0]])
		case e[0] == i && !dialled:
			out = append(out, p.relays[e[1]])
		}
	}
	return out
}

// oneWay is the least time that anything needs between two sites.
func (p plan) oneWay(from, to int) time.Duration {
	if from == to {
		return inside / 2
	}
	least := time.Duration(1 << 62)
	for via := range regionNames { // the direct way need not be the fastest: relays relay
		d := between(from, via) + between(via, to)
		least = min(least, d)
	}
	return least + inside/2
}

func between(r, q int) time.Duration {
	for _, s := range spans {
		if s.from == min(r, q) && s.to == max(r, q) {
			return s.rtt / 2
		}
	}
	return 0
}

// up and down are the cable between a site and its router, long one between routers.
func up() tunlink.Params   { return tunlink.Params{Delay: inside / 2, Rate: localRate} }
func down() tunlink.Params { return tunlink.Params{Rate: localRate} }

func (s span) params() tunlink.Params {
	d := s.rtt / 2
	return tunlink.Params{Delay: d, Jitter: d / 20, Loss: s.loss, Rate: longRate}
}
