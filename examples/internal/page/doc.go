// Package page shows a running network, or one node, to people and programs: a live page without anything from elsewhere, the JSON
// behind it, server-sent events and Prometheus metrics, all of them rendered from numbered snapshots.
//
//	GET  /                         the page
//	GET  /metrics[?snapshot=N]     Prometheus text format
//	GET  /api/state[?snapshot=N]   a [Snapshot]: the latest, or number N of the last 64
//	GET  /api/log?after=N&limit=L  events after number N, the latest L of them (200)
//	GET  /api/explain?node=I       what node I thinks of its peers, and why: a list of [Explanation]
//	GET  /api/stream               server-sent events: "state" (a snapshot without counters) and "log" (a list of events)
//	POST /api/kill?node=I          end a node as if its process had been killed
//	POST /api/restart?node=I       start it again with what it has on the disk
//	POST /api/partition?nodes=I,J  cut these nodes off from all others
//	POST /api/heal                 end the partition
//
// What changes state wants "Authorization: Bearer TOKEN". Errors are {"error": "…"}: 400 for what cannot be understood, 401 without
// the token, 404 for a node or snapshot that is not there or for an action on a host that does not implement [Faults], 409 for what cannot be done now, 503 when 16 streams are open.
package page
