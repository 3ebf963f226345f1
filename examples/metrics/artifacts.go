package metrics

import "github.com/hearthnet/hearth/artifact"

// Artifacts is what a node's artifact gossip counts and holds.
type Artifacts struct {
	artifact.Counters
	Queues      artifact.Queues
	Peers, Bulk int   // main and bulk bearers
	Held        int   // validated artifacts
	HeldBytes   int64 // their bodies
}

func (n Node) artifacts() []Sample {
	a := n.Artifacts
	if a == nil {
		return nil
	}
	total := func(name, help string, v uint64) Sample {
		return counter("hearth_artifact_"+name+"_total", help, float64(v))
	}
	out := []Sample{
		gauge("hearth_artifact_peers", "Peers with a main bearer of artifacts.", float64(a.Peers)),
		gauge("hearth_artifact_bulk_bearers", "Bulk bearers of artifacts that have joined.", float64(a.Bulk)),
		gauge("hearth_artifact_held", "Validated artifacts held.", float64(a.Held)),
		gauge("hearth_artifact_held_bytes", "Bytes of the validated artifacts held.", float64(a.HeldBytes)),
		total("offers_received", "Offers received without their body.", a.OffersReceived),
		total("offers_repeated", "Offers made again of what a peer had been shown before.", a.OfferedAgain),
		total("pushes_received", "Bodies received inside an offer.", a.PushesReceived),
		total("pushes_sent", "Bodies sent inside an offer.", a.BodiesPushed),
		total("bodies_received", "Bodies received whole, duplicates included.", a.BodiesReceived),
		total("bodies_duplicate", "Bodies received that were there already.", a.DuplicateBodies),
		total("body_bytes_received", "Bytes of bodies received, duplicates included.", a.BodyBytes),
		total("body_bytes_duplicate", "Bytes of bodies received that were not needed.", a.DuplicateBytes),
		total("body_bytes_aborted", "Bytes asked for and cancelled.", a.AbortedBytes),
		total("body_bytes_hedged", "Bytes asked of a second peer because the first was late.", a.HedgeBytes),
		total("body_bytes_served", "Bytes of chunks served.", a.BytesServed),
		total("chunks_served", "Chunks served.", a.ChunksServed),
		total("requests", "Requests for chunks.", a.Requests),
		total("requests_hedged", "Requests that repeat one that was late.", a.Hedges),
		total("requests_timed_out", "Requests that met their deadline.", a.Timeouts),
		total("no_room", "Offers that were put off for want of room.", a.NoRoom),
		total("sessions_resumed", "Sessions that began where the last one with the peer had ended.", a.Resumed),
		total("sessions_not_resumed", "Sessions that began with the peer's whole table.", a.NotResumed),
		total("grafts", "Links that were made eager.", a.Grafts),
		total("prunes", "Links that were made lazy.", a.Prunes),
		total("violations", "Violations of the protocol by peers.", a.Violations),
	}
	for v, n := range a.Verdicts {
		out = append(out, labelled(total("verdicts", "Verdicts on offers, by what they were.", n), "verdict", artifact.Verdict(v).String()))
	}
	for class, q := range a.Queues {
		name := artifact.Class(class).String()
		out = append(out,
			labelled(total("delivered", "Artifacts of peers that were validated, by class.", a.Delivered[class]), "class", name),
			labelled(counter("hearth_artifact_delivery_seconds_total", "Seconds from the first offer to the verdict, over all delivered, by class.",
				a.DeliveryTime[class].Seconds()), "class", name))
		for _, w := range []struct {
			place string
			n     int
		}{{"held", q.Held}, {"parked", q.Parked}, {"pending", q.Pending}, {"requested", q.Requested}, {"serving", q.Serving},
			{"shown", q.Shown}, {"unjudged", q.Unjudged}, {"wanted", q.Wanted}} {
			out = append(out, labelled(gauge("hearth_artifact_queue", "What waits, by class and place.", float64(w.n)), "class", name, "place", w.place))
		}
	}
	return out
}
