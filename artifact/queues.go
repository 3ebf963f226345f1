package artifact

import "time"

// Queue is how much of one class waits where on its way through a node (artifact §5). All are counts at one moment, over all
// peers and kinds, and bounded by the configuration: Pending and Shown by Slots × peers and Window × peers, Held by Window ×
// peers, what is under way by the offers held, Serving by 8 fetches a peer and lane.
type Queue struct {
	Pending   int // registers that some peer has not been shown
	Shown     int // offers of ours without a verdict
	Held      int // offers of peers without a verdict
	Wanted    int // artifacts not yet whole
	Requested int // requests to peers that are not answered
	Unjudged  int // whole artifacts that wait for their verdict
	Parked    int // whole artifacts that cannot be judged yet
	Serving   int // requests of peers that are not answered
}

// Queues are the queues of a node, by Class.
type Queues [classes]Queue

// Queues counts what waits now. It looks at everything under way: O(peers × kinds + downloads + requests).
func (c *Core) Queues() (out Queues) {
	for _, p := range c.peers {
		if v := p.prov.view; v != nil {
			for class := range out {
				for _, n := range v.npend[class] {
					out[class].Pending += n
				}
				out[class].Shown += v.nout[class]
			}
		}
		for class := range out {
			out[class].Held += p.con.byClass[class]
		}
		for i := range p.net.lanes {
			for _, r := range p.net.lanes[i].open {
				out[r.class].Requested++
			}
		}
		for i := range p.prov.lanes {
			for _, s := range p.prov.lanes[i].q {
				out[s.m.class].Serving++
			}
		}
	}
	for _, d := range c.con.downs {
		switch q := &out[d.class]; d.state {
		case downGrace, downWant:
			q.Wanted++
		case downJudge:
			q.Unjudged++
		case downParked:
			q.Parked++
		}
	}
	return out
}

// Queues counts what waits now.
func (n *Node) Queues() (q Queues) {
	n.do(func(c *Core, _ time.Duration) { q = c.Queues() })
	return q
}
