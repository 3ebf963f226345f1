package metrics

import (
	_ "embed" // for the dashboard
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/governor"
)

// Dashboard is a Grafana dashboard, as JSON. It uses names that a [Collector] exports and no others.
//
//go:embed dashboard.json
var Dashboard []byte

// Node is what one node counts at one moment. What is nil is not exported.
type Node struct {
	Name        string // value of the label that tells nodes apart; empty: no label
	Governor    *governor.Counters
	Connections *connmgr.ManagerCounters // node to node
	Local       *connmgr.ManagerCounters // node to client
	Traffic     []Traffic                // those of one name are added up
	Artifacts   *Artifacts
	Host        *Host
}

// Host is what the node that is built on the library holds.
type Host struct {
	Blocks       int // on the chain
	Slot         uint64
	Transactions int
	MempoolBytes int
}

// Sample is one value of one node.
type Sample struct {
	Name          string // of the family, as Prometheus sees it
	Help          string
	Counter       bool     // else a gauge
	Labels        []string // sorted, as the text format has them
	LabelValues   []string
	Value         float64
	cardanoSource string // the name in cardano-node; empty for our own
}

// Key is the name with its labels, exactly as in the text format without the label of the node.
func (s Sample) Key() string {
	if len(s.Labels) == 0 {
		return s.Name
	}
	var b strings.Builder
	b.WriteString(s.Name)
	for i, l := range s.Labels {
		b.WriteByte(",{"[min(1, max(0, 1-i))])
		b.WriteString(l + `="` + s.LabelValues[i] + `"`)
	}
	return b.String() + "}"
}

// Samples returns everything the node exports, sorted by name.
func (n Node) Samples() []Sample {
	return slices.SortedStableFunc(n.samples(), func(a, b Sample) int { return strings.Compare(a.Name, b.Name) })
}

func (n Node) samples() iter.Seq[Sample] {
	return func(yield func(Sample) bool) {
		for _, part := range []func() []Sample{n.governor, n.connections, n.traffic, n.artifacts, n.host} {
			for _, s := range part() {
				if !yield(s) {
					return
				}
			}
		}
	}
}

func (n Node) governor() (out []Sample) {
	if n.Governor == nil {
		return nil
	}
	names := n.Governor.Names()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		out = append(out, cardano(name, names[name]))
	}
	for _, d := range governor.Decisions() {
		s := counter("hearth_governor_decisions_total", "Decisions of the outbound governor, by the name of the rule.", float64(n.Governor.Decisions[d.Name]))
		out = append(out, labelled(s, "decision", d.Name))
	}
	outage := 0.0
	if n.Governor.Outage {
		outage = 1
	}
	return append(out, gauge("hearth_governor_cooling_peers", "Peers whose connection is being torn down.", float64(n.Governor.CoolingPeers)),
		gauge("hearth_governor_banned_peers", "Addresses banned for misbehaviour.", float64(n.Governor.BannedPeers)),
		gauge("hearth_governor_outage", "1 while the node takes itself to be cut off and blames nobody.", outage))
}

func (n Node) connections() (out []Sample) {
	inbound := func(prefix string, k connmgr.RemoteCounters) {
		out = append(out, cardano(prefix+".idle", float64(k.Idle)), cardano(prefix+".cold", float64(k.Cold)),
			cardano(prefix+".warm", float64(k.Warm)), cardano(prefix+".hot", float64(k.Hot)))
	}
	if k := n.Connections; k != nil {
		for _, v := range []struct {
			name  string
			value int
		}{{"fullDuplexConns", k.FullDuplex}, {"duplexConns", k.Duplex}, {"unidirectionalConns", k.Unidirectional},
			{"inboundConns", k.Inbound}, {"outboundConns", k.Outbound}} {
			out = append(out, cardano("connectionManager."+v.name, float64(v.value)))
		}
		inbound("inboundGovernor", k.Remote)
		out = append(out, gauge("hearth_connmgr_unnegotiated", "Accepted sockets that have not negotiated yet.", float64(k.Accept.Unnegotiated)),
			counter("hearth_connmgr_accepted_total", "Sockets accepted.", float64(k.Accept.Accepted)),
			counter("hearth_connmgr_delayed_total", "Sockets that waited because of the soft limit.", float64(k.Accept.Delayed)),
			counter("hearth_connmgr_refused_total", "Sockets reset at the hard limit.", float64(k.Accept.Refused)),
			counter("hearth_connmgr_evicted_total", "Sockets that had to leave the un-negotiated budget.", float64(k.Accept.Evicted)),
			counter("hearth_connmgr_accept_errors_total", "Failures of accept.", float64(k.Accept.AcceptErrors)))
	}
	if k := n.Local; k != nil {
		inbound("localInboundGovernor", k.Remote)
	}
	return out
}

func (n Node) traffic() (out []Sample) {
	for _, t := range Sum(n.Traffic) {
		for _, d := range []struct {
			name  string
			bytes uint64
		}{{"in", t.In}, {"out", t.Out}} {
			s := counter("hearth_mux_bytes_total", "Payload bytes by mini-protocol and direction.", float64(d.bytes))
			out = append(out, labelled(s, "direction", d.name, "protocol", t.Protocol))
		}
	}
	return out
}

func (n Node) host() []Sample {
	h := n.Host
	if h == nil {
		return nil
	}
	return []Sample{
		gauge("hearth_chain_blocks", "Blocks on the chain.", float64(h.Blocks)),
		gauge("hearth_chain_slot", "Slot of the last block.", float64(h.Slot)),
		gauge("hearth_mempool_transactions", "Transactions in the mempool.", float64(h.Transactions)),
		gauge("hearth_mempool_bytes", "Bytes of the transactions in the mempool.", float64(h.MempoolBytes)),
	}
}

func gauge(name, help string, v float64) Sample { return Sample{Name: name, Help: help, Value: v} }

func counter(name, help string, v float64) Sample {
	return Sample{Name: name, Help: help, Counter: true, Value: v}
}

// labelled adds labels, names and values in turn, by name in alphabetical order.
func labelled(s Sample, labels ...string) Sample {
	for i := 0; i < len(labels); i += 2 {
		s.Labels, s.LabelValues = append(s.Labels, labels[i]), append(s.LabelValues, labels[i+1])
	}
	return s
}

// cardano is a gauge of cardano-node in the form it has for Prometheus: dots become underscores, and the type is a suffix.
func cardano(name string, v float64) Sample {
	suffix := "_int"
	if strings.HasSuffix(name, ".duration") {
		suffix = "_real"
	}
	return Sample{Name: "cardano_node_metrics_" + strings.ReplaceAll(name, ".", "_") + suffix, Help: help(name), Value: v, cardanoSource: name}
}

// Collector is a [prometheus.Collector] of nodes.
type Collector struct {
	label string
	read  func() []Node
}

// NewCollector returns a collector of what read returns. label is the name of the label that gets each node's name; with an empty
// one, and for a node without a name, there is no such label; then read must return that node only.
func NewCollector(label string, read func() []Node) *Collector { return &Collector{label, read} }

// Describe implements [prometheus.Collector]; which families there are depends on the nodes.
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	for _, n := range c.read() {
		for _, s := range n.Samples() {
			labels, values := s.Labels, s.LabelValues
			if c.label != "" && n.Name != "" {
				labels, values = append([]string{c.label}, labels...), append([]string{n.Name}, values...)
			}
			kind := prometheus.GaugeValue
			if s.Counter {
				kind = prometheus.CounterValue
			}
			m, err := prometheus.NewConstMetric(prometheus.NewDesc(s.Name, s.Help, labels, nil), kind, s.Value, values...)
			if err != nil {
				m = prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
			}
			out <- m
		}
	}
}
