package metrics

import (
	"regexp"
	"strings"
)

var (
	selectionName = regexp.MustCompile(`^peerSelection\.(Root|Known|Cold|Established|Warm|Active|Hot)(BigLedger|LocalRoot|NonRoot|Bootstrap|Local)?(Peers|Roots)?(Promotions|Demotions)?$`)
	churnName     = regexp.MustCompile(`^peerSelection\.churn(Decreased|Increased)(Active|Established|Known)(Peers|BigLedgerPeers)\.duration$`)
)

var kinds = map[string]string{"": "peers", "BigLedger": "big ledger peers", "LocalRoot": "local root peers", "Local": "local root peers",
	"NonRoot": "peers that are no roots", "Bootstrap": "bootstrap peers"}

var connHelp = map[string]string{
	"connectionManager.fullDuplexConns":     "Connections that both ends use.",
	"connectionManager.duplexConns":         "Connections that both ends may use.",
	"connectionManager.unidirectionalConns": "Connections that only the end that dialled may use.",
	"connectionManager.inboundConns":        "Connections that the remote uses, or may use without our help.",
	"connectionManager.outboundConns":       "Connections that this node uses.",
}

// help is one sentence on a metric of cardano-node.
func help(name string) string {
	if h, ok := connHelp[name]; ok {
		return h
	}
	if m := churnName.FindStringSubmatch(name); m != nil {
		kind := strings.ToLower(m[2]) + " peers"
		if m[3] == "BigLedgerPeers" {
			kind = strings.ToLower(m[2]) + " big ledger peers"
		}
		return "Seconds that the last step of churn took in which the number of " + kind + " " + strings.ToLower(m[1]) + "."
	}
	if m := selectionName.FindStringSubmatch(name); m != nil {
		what := strings.ToLower(m[1])
		kind := kinds[m[2]]
		switch {
		case m[4] != "":
			return "Number of " + strings.ToLower(m[4]) + " of " + what + " " + kind + " in progress."
		case m[1] == "Root":
			return "Number of root peers."
		}
		return "Number of " + what + " " + kind + "."
	}
	governor, state, _ := strings.Cut(name, ".")
	whose := "node-to-node"
	if governor == "localInboundGovernor" {
		whose = "node-to-client"
	}
	return "Number of " + whose + " connections whose remote side is " + state + "."
}
