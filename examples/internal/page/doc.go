// Package page shows a running network, or one node, to people and programs: a live page without anything from elsewhere, the JSON
// behind it, server-sent events and Prometheus metrics, all of them rendered from numbered snapshots. A host that is a [Faults] as
// well has buttons that kill nodes, restart them and cut them off.
//
// The API, which GET /api/ answers with this text:
//
//	GET  /                         the page
//	GET  /metrics[?snapshot=N]     Prometheus text format
//	GET  /api/                     this text
//	GET  /api/state[?snapshot=N]   a snapshot: the latest, or number N of the last 64. Each node's "counters" are the samples
//	                               of /metrics?snapshot=N by name and labels, without the label "node"
//	GET  /api/series?counter=K[&node=I]
//	                               one counter in the snapshots that are kept, of node I or of all together: a list of
//	                               {"snapshot", "seconds", "value"}, oldest first; K is a key of "counters"
//	GET  /api/log?after=N&limit=L  events after number N, the latest L of them (200, at most 500)
//	GET  /api/explain?node=I       what node I thinks of its peers, and why; [] while it is down
//	GET  /api/stream               server-sent events: "history" once (a list of points, at most 600, one a second), then with
//	                               each snapshot "state" (the snapshot without counters) and "log" (a list of events)
//	POST /api/kill?node=I          end a node as if its process had been killed
//	POST /api/restart?node=I       start it again with what it has on the disk
//	POST /api/partition?nodes=I,J  cut these nodes off from all others
//	POST /api/heal                 end the partition
//
// What changes state wants "Authorization: Bearer TOKEN" and answers {"snapshot": N}, the first that shows it. Errors are
// {"error": "…"}: 400 for what cannot be understood, 401 without the token, 404 for a node, snapshot, counter or action that is not
// there, 409 for what cannot be done now, 503 when 16 streams are open.
package page
