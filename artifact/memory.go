package artifact

// Memory is the table of artifact §6.8, row by row, in bytes.
type Memory struct {
	View         int64 // provider view
	Offers       int64 // offers held
	Manifests    int64 // inline manifests
	InlineCredit int64 // pushed bodies on their way
	Requested    int64 // asked for and not received: what the fetch lanes' ingress may hold
	Unvalidated  int64 // partial downloads, unjudged and parked bodies, manifests and bitmaps
	Checks       int64 // receive check
	Stash        int64
	Resume       int64
	Serving      int64 // answers materialised, here and in the mux
	Streams      int64 // mux ingress of offers and control
	Requests     int64 // mux ingress of init and of the peer's fetches
}

// Total is the sum of all rows.
func (m Memory) Total() int64 {
	return m.View + m.Offers + m.Manifests + m.InlineCredit + m.Requested + m.Unvalidated + m.Checks + m.Stash + m.Resume +
		m.Serving + m.Streams + m.Requests
}

// Sizes the formula counts with.
const (
	outBytes    = 24
	haveBytes   = 40
	offerBytes  = 512
	checkBytes  = 56
	stashBytes  = 320
	scoreBytes  = 64
	slotBytes   = 256 // metadata of a register, attr included
	lanesServed = 2 + maxBearers
)

// Bound is the most one peer can make us hold, whatever it does, in the terms of artifact §6.8. It depends on the configuration
// alone. (The view has a seventh bit a slot until synced, C/8 beyond the row of the specification.)
func Bound(cfg Config) Memory {
	c := cfg.withDefaults()
	n, w := int64(c.Slots), int64(c.Window)
	m := Memory{
		View:         int64(classes)*int64(len(c.Kinds))*n/8 + 7*n/8 + n/16 + w*outBytes + haveSize*haveBytes,
		Offers:       w * offerBytes,
		Manifests:    w * maxInline,
		InlineCredit: int64(c.InlineBytes),
		Requested:    windowMax + windowMax/10,
		Checks:       receiveChecks * checkBytes,
		Stash:        stashSize * stashBytes,
		Resume:       int64(c.PeerSlots) * 8,
		Serving:      8*maxFlat + 3*2*maxFlat,
		Streams:      (pipeOffer*MaxOffers + pipeControl*MaxControl) * 11 / 10,
		Requests:     (MaxInit + lanesServed*pipeFetch*MaxFetch) * 11 / 10,
	}
	for i := range c.Kinds {
		m.Unvalidated += c.Kinds[i].Quota
	}
	return m
}

// NodeBound is the most a whole node holds because of its peers: peers × Bound, resume memory and verdicts of those who left,
// scores and bans, and the metadata of the registers. UnvalidatedBytes, where it is less, takes the place of the sum of the
// peers' unvalidated rows.
func NodeBound(cfg Config, peers int) int64 {
	c := cfg.withDefaults()
	b := Bound(cfg)
	unvalidated := min(int64(peers)*b.Unvalidated, c.UnvalidatedBytes)
	return int64(peers)*(b.Total()-b.Unvalidated) + unvalidated + resumePeers*b.Resume + b.Checks + scoreEntries*scoreBytes + int64(c.Slots)*slotBytes
}

// Usage is what a peer makes us hold now, in the rows of Bound. Rows of the mux are not the core's and stay 0.
func (c *Core) Usage(id PeerID) Memory {
	p := c.byID[id]
	if p == nil {
		return Memory{}
	}
	return c.usage(p)
}

func (c *Core) usage(p *peer) (m Memory) {
	if p.prov.view != nil {
		m.View = p.prov.view.memory()
	}
	s, a := &p.con, p.acct
	m.Offers = int64(s.window()) * offerBytes
	for _, o := range s.held {
		m.Manifests += int64(len(o.chunks.root))
	}
	for _, n := range s.granted {
		m.InlineCredit += int64(n)
	}
	m.Requested = p.net.bytes
	m.Unvalidated = a.total
	if a.checked {
		m.Checks = int64(a.checks.n) * checkBytes
	}
	if s.stash != nil {
		m.Stash = int64(s.stash.Len()+s.extras) * stashBytes
	}
	m.Resume = int64(len(a.seen)) * 8
	for i := range p.prov.lanes {
		if q := p.prov.lanes[i].q; len(q) > 0 {
			m.Serving += maxFlat
			m.Requests += int64(len(q)) * MaxFetch
		}
	}
	return m
}

// NodeUsage is what all peers make us hold now, in the terms of NodeBound.
func (c *Core) NodeUsage() (n int64) {
	for _, p := range c.peers {
		m := c.usage(p)
		n += m.Total() - m.Unvalidated
	}
	n += c.con.quota.total
	for x := c.con.left.front(); x != nil; x = c.con.left.after(x) {
		n += int64(len(x.v.seen)) * 8
	}
	n += int64(c.con.checks.former.checks.n) * checkBytes
	return n + int64(c.scores.who.Len())*scoreBytes + int64(c.table.Len())*slotBytes
}
