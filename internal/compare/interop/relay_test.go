package interop

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	gcommon "github.com/blinklabs-io/gouroboros/protocol/common"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

// TestRelay is a governed relay half of whose peers are gouroboros's: two servers that it follows, asks for peers and gives transactions
// to, and two clients that follow it, give it transactions and ask it for peers. The other half are two relays, a third one that
// only a gouroboros server names, and a wallet. The chain grows at the gouroboros servers. Everybody gets every block in order and
// every transaction once, no connection ends, nothing grows, and SIGTERM ends it all.
//
// It takes 5 s with ten blocks a second. With HEARTH_SOAK=1 it takes ten minutes with a block a second, which is long enough for the
// relay to ask the gouroboros servers for peers: five minutes after it has connected to them.
func TestRelay(t *testing.T) {
	r := &interchange{t: t, length: 5 * time.Second, pace: 100 * time.Millisecond}
	if os.Getenv("HEARTH_SOAK") == "1" {
		r.length, r.pace = 10*time.Minute, time.Second
	}
	r.start()
	r.grow()
	r.settle()
	r.check()
	r.stop()
}

// interchange is one run.
type interchange struct {
	t            *testing.T
	length, pace time.Duration

	generator *chain.Generator
	links     []link
	source    *ledger // of the gouroboros servers

	relay, wallet *program
	friends       [3]*program // two that the relay knows, and one that only a gouroboros server names
	pools         []string    // mempool folders of the relay and its friends
	servers       [2]*taken
	serverAddrs   []string
	clients       [2]*theirClient
	payments      map[[32]byte]bool
	named         []string // peers that the relay has named to a gouroboros client

	mu     sync.Mutex
	ending bool
	failed []string // what gouroboros found wrong before the end
}

// theirClient is a gouroboros client of the relay.
type theirClient struct {
	*theirs
	*offers
	followed chan error

	mu  sync.Mutex
	got int // blocks
}

// complain notes an error of gouroboros's.
func (r *interchange) complain(who string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil && !r.ending {
		r.failed = append(r.failed, who+": "+err.Error())
	}
}

func (r *interchange) extend() {
	item := r.generator.Next(nil)
	r.links = append(r.links, newLink(r.t, item))
	r.source.set(r.links)
}

// start brings everybody up and waits until they are connected.
func (r *interchange) start() {
	t := r.t
	relay, wallet := build(t, "relay"), build(t, "wallet")
	r.generator, r.source, r.payments = chain.NewGenerator(7), newLedger(nil), map[[32]byte]bool{}
	for range 20 {
		r.extend()
	}
	run := func(name string, args ...string) *program {
		pool := filepath.Join(t.TempDir(), name)
		r.pools = append(r.pools, pool)
		return runProgram(t, name, r.length/10, relay, append([]string{"-listen", "127.0.0.1:0", "-magic", strconv.Itoa(int(network)),
			"-mempool", pool, "-json"}, args...)...)
	}
	for i := range r.friends {
		r.friends[i] = run(fmt.Sprintf("friend %d", i))
	}
	stranger, err := net.ResolveTCPAddr("tcp", r.friends[2].addr())
	require.NoError(t, err)
	for i := range r.servers {
		k := &taken{times: map[[32]byte]map[string]int{}}
		r.servers[i] = k
		addr, _ := serveTheirs(t, "tcp", "127.0.0.1:0", theirConfig{serve: r.source, nodeToNode: true, duplex: i == 1,
			failed: func(err error) { r.complain(fmt.Sprintf("server %d", i), err) },
			more:   k.server(func() []net.TCPAddr { return []net.TCPAddr{*stranger} })})
		r.serverAddrs = append(r.serverAddrs, addr)
	}
	topology := filepath.Join(t.TempDir(), "topology.json")
	require.NoError(t, os.WriteFile(topology, r.topology(), 0o600))
	r.relay = run("relay", "-topology", topology, "-peers", filepath.Join(t.TempDir(), "peers"))
	r.wallet = runProgram(t, "wallet", r.length/10, wallet, "-peer", r.relay.addr(), "-magic", strconv.Itoa(int(network)), "-blocks", "-json")
	for i := range r.clients {
		o := newOffers()
		c := &theirClient{offers: o, followed: make(chan error, 1)}
		c.theirs = dialTheirs(t, "tcp", r.relay.addr(), theirConfig{nodeToNode: true, duplex: i == 1, more: o.client()})
		c.conn.TxSubmission().Client.Init()
		r.clients[i] = c
		ctx, cancel := context.WithCancel(context.Background())
		t.Cleanup(func() {
			close(c.over)
			cancel()
			<-c.followed
		})
		go func() { c.followed <- c.keepUp(ctx, r) }()
	}
	r.eventually(10*time.Second, "everybody has the first blocks", func() string { return r.behind() })
}

// topology names the two gouroboros servers and two of the friends.
func (r *interchange) topology() []byte {
	type point struct {
		Address string `json:"address"`
		Port    uint16 `json:"port"`
	}
	group := func(addrs ...string) map[string]any {
		var points []point
		for _, a := range addrs {
			at := netip.MustParseAddrPort(a)
			points = append(points, point{at.Addr().String(), at.Port()})
		}
		return map[string]any{"accessPoints": points, "hotValency": len(points), "advertise": true, "trustable": true}
	}
	b, err := json.Marshal(map[string]any{"localRoots": []any{group(r.serverAddrs...), group(r.friends[0].addr(), r.friends[1].addr())},
		"publicRoots": []any{}, "useLedgerAfterSlot": -1})
	require.NoError(r.t, err)
	return b
}

// keepUp follows the relay and fetches every block that it announces, until ctx ends.
func (c *theirClient) keepUp(ctx context.Context, r *interchange) error {
	if err := c.conn.ChainSync().Client.Sync([]gcommon.Point{gcommon.NewPointOrigin()}); err != nil {
		return err
	}
	first, err := c.next(ctx, c.changes)
	if err != nil {
		return err
	}
	if first.kind != chainsync.Backward || !first.point.IsOrigin() {
		return errors.New("the first event is not the roll back to the intersection")
	}
	for i := 0; ; i++ {
		change, err := c.next(ctx, c.changes)
		if err != nil {
			return err
		}
		links, _ := r.source.now()
		if i >= len(links) {
			return fmt.Errorf("block %d is announced, there are %d", i, len(links))
		}
		if err := change.check(links[i], false); err != nil {
			return err
		}
		if err := c.fetch(ctx, links[i:i+1]); err != nil {
			return err
		}
		c.mu.Lock()
		c.got = i + 1
		c.mu.Unlock()
	}
}

// pay has a transaction made known at one of the places where there are some: gouroboros's clients, and a friend's folder.
func (r *interchange) pay(i int) {
	id, raw := payment(uint32(i))
	r.payments[id] = true
	if i%3 < 2 {
		r.clients[i%3].add(id, raw)
		return
	}
	name := filepath.Join(r.pools[0], "mine-"+strconv.Itoa(i))
	require.NoError(r.t, os.WriteFile(name+".part", raw, 0o600))
	require.NoError(r.t, os.Rename(name+".part", name+".tx"))
}

// grow makes blocks and transactions for the length of the run, and has the clients ask for peers.
func (r *interchange) grow() {
	every := time.NewTicker(r.pace)
	defer every.Stop()
	for n, end := 0, time.Now().Add(r.length); time.Now().Before(end); n++ {
		<-every.C
		r.extend()
		r.pay(n)
		if n%30 == 10 {
			c := r.clients[n/30%2]
			peers, err := c.conn.PeerSharing().Client.GetPeers(8)
			require.NoError(r.t, err)
			for _, p := range peers {
				r.named = append(r.named, net.JoinHostPort(p.IP.String(), strconv.Itoa(int(p.Port))))
			}
		}
	}
}

// behind says who lacks blocks.
func (r *interchange) behind() string {
	for _, p := range r.nodes() {
		if n := len(p.all("block")); n < len(r.links) {
			return fmt.Sprintf("%s has %d of %d blocks", p.name, n, len(r.links))
		}
	}
	if n := len(r.wallet.all("forward")); n < len(r.links) {
		return fmt.Sprintf("the wallet has %d of %d blocks", n, len(r.links))
	}
	for i, c := range r.clients {
		c.mu.Lock()
		n := c.got
		c.mu.Unlock()
		if n < len(r.links) {
			return fmt.Sprintf("client %d has %d of %d blocks", i, n, len(r.links))
		}
	}
	return ""
}

// sharing is whether the run is long enough for the relay to ask for peers.
func (r *interchange) sharing() bool { return r.length > 6*time.Minute }

// nodes are the relay and those of its friends that it knows.
func (r *interchange) nodes() []*program {
	all := []*program{r.relay, r.friends[0], r.friends[1]}
	if r.sharing() && len(r.friends[2].all("block")) > 0 {
		all = append(all, r.friends[2])
	}
	return all
}

// unpaid says where a transaction is missing.
func (r *interchange) unpaid() string {
	for i, pool := range r.pools {
		if i == 2 { // the third friend: what came before it was named is not offered to it in full
			continue
		}
		ids := map[string]bool{}
		files, err := os.ReadDir(pool)
		require.NoError(r.t, err)
		for _, f := range files {
			if raw, err := os.ReadFile(filepath.Join(pool, f.Name())); err == nil && filepath.Ext(f.Name()) == ".tx" {
				ids[string(raw)] = true
			}
		}
		if len(ids) < len(r.payments) {
			return fmt.Sprintf("%s has %d of %d transactions", pool, len(ids), len(r.payments))
		}
	}
	for i, k := range r.servers {
		k.mu.Lock()
		n := len(k.times)
		k.mu.Unlock()
		if n < len(r.payments) {
			return fmt.Sprintf("server %d has %d of %d transactions", i, n, len(r.payments))
		}
	}
	return ""
}

func (r *interchange) eventually(within time.Duration, what string, missing func() string) {
	r.t.Helper()
	end := time.Now().Add(within)
	for {
		is := missing()
		if is == "" {
			return
		}
		r.mu.Lock()
		failed := slices.Clone(r.failed)
		r.mu.Unlock()
		for _, c := range r.clients {
			if c != nil && len(c.followed) > 0 {
				r.t.Fatalf("a client does not follow any more: %v", <-c.followed)
			}
		}
		if time.Now().After(end) {
			r.t.Fatalf("not after %v: %s: %s; gouroboros says %q", within, what, is, failed)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// settle waits until everybody has everything.
func (r *interchange) settle() {
	r.eventually(20*time.Second, "everybody has every block", r.behind)
	r.eventually(20*time.Second, "everybody has every transaction", r.unpaid)
}

func (r *interchange) check() {
	t := r.t
	// Blocks, in order, each once.
	for _, p := range append(r.nodes(), r.wallet) {
		kind := "block"
		if p == r.wallet {
			kind = "forward"
		}
		blocks := p.all(kind)
		assert.Len(t, blocks, len(r.links), p.name)
		for i, b := range blocks {
			assert.Equal(t, hex.EncodeToString(r.links[i].point.Hash[:]), b.Hash, "%s, block %d", p.name, i)
		}
	}
	// Transactions, each once.
	for i, k := range r.servers {
		k.mu.Lock()
		assert.Empty(t, k.wrong, "server %d", i)
		for id := range r.payments {
			for from, n := range k.times[id] {
				assert.Equal(t, 1, n, "server %d, %x from %s", i, id, from)
			}
		}
		assert.Len(t, k.times, len(r.payments))
		k.mu.Unlock()
	}
	for i, c := range r.clients {
		c.offers.mu.Lock()
		assert.Empty(t, c.wrong, "client %d", i)
		for _, id := range c.ids {
			assert.Equal(t, 1, c.asked[id], "client %d is asked for %x", i, id)
		}
		assert.Len(t, c.asked, len(c.ids))
		c.offers.mu.Unlock()
		assert.Greater(t, c.pongs.Load(), int64(10), "keep-alive of client %d", i)
	}
	// Peers: the relay names those that it may name, and has been told of the third friend.
	known := append(slices.Clone(r.serverAddrs), r.friends[0].addr(), r.friends[1].addr())
	if r.sharing() {
		known = append(known, r.friends[2].addr())
		assert.Len(t, r.nodes(), 4, "the relay has not learnt of the third friend")
	}
	assert.NotEmpty(t, r.named)
	assert.Subset(t, known, r.named)
	// Nobody has ended a connection.
	for _, p := range append(r.nodes(), r.wallet) {
		for _, e := range p.all("connection") {
			assert.NotEqual(t, "disconnected", e.Name, "%s: %+v", p.name, e)
		}
		assert.Empty(t, p.all("lost"), "events of %s", p.name)
		assert.Empty(t, p.all("no JSON"), p.name)
		p.flat()
	}
	r.mu.Lock()
	assert.Empty(t, r.failed)
	r.ending = true
	r.mu.Unlock()
	t.Logf("%d blocks and %d transactions in %v; peers named: %q", len(r.links), len(r.payments), r.length, slices.Compact(slices.Sorted(slices.Values(r.named))))
}

// flat: goroutines and descriptors do not grow with the run, but with the connections.
func (p *program) flat() {
	p.t.Helper()
	p.mu.Lock()
	n := slices.Clone(p.looks)
	p.mu.Unlock()
	if !assert.GreaterOrEqual(p.t, len(n), 6, "looks at %s", p.name) {
		return
	}
	early, late := n[2], n[len(n)-1]
	assert.LessOrEqual(p.t, late.goroutines, early.goroutines+4+10*(late.connections-early.connections), "goroutines of %s: %v", p.name, n)
	assert.Less(p.t, p.descriptors(), 60, p.name)
	p.t.Logf("%s: goroutines and connections %v, %d descriptors", p.name, n, p.descriptors())
}

// stop ends the relay first, so that its peers see it go.
func (r *interchange) stop() {
	r.relay.terminate()
	r.wallet.terminate()
	for _, p := range r.friends {
		p.terminate()
	}
}
