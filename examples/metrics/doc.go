// Package metrics exports what Hearth's nodes count to Prometheus, under the names that dashboards for cardano-node know
// (governor §9.1) and a few of its own:
//
//	cardano_node_metrics_peerSelection_…_int    peers by temperature and kind, promotions and demotions in progress
//	cardano_node_metrics_peerSelection_churn…   how long the steps of churn took
//	cardano_node_metrics_connectionManager_…    connections by kind
//	cardano_node_metrics_inboundGovernor_…      connections by what the remote does with them
//	hearth_governor_decisions_total{decision}   decisions taken, by name
//	hearth_mux_bytes_total{protocol,direction}  payload by mini-protocol
//	hearth_artifact_…                           artifact gossip: offers, bodies, bytes, verdicts, queues by class
//	hearth_chain_…, hearth_mempool_…            what the host holds
//
// A host makes a [Node] of its counters whenever it is asked, and registers a [Collector]:
//
//	registry.MustRegister(metrics.NewCollector("", func() []metrics.Node { return []metrics.Node{read()} }))
//
// Several nodes of one process are told apart by a label. [Dashboard] is a Grafana dashboard for these names.
package metrics
