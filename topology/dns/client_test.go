package dns

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a real DNS server on loopback, on one port over UDP and TCP. What it answers is a table that tests change.
type server struct {
	t    *testing.T
	addr string

	mu      sync.Mutex
	records map[string][]dns.RR // by type and name
	rcodes  map[string]int
	silent  map[string]bool // no answer at all
	cut     map[string]bool // truncated over UDP
	old     map[string]bool // does not know EDNS
	udp     map[string]int  // questions
	tcp     map[string]int
}

func newServer(t *testing.T) *server {
	s := &server{t: t, records: map[string][]dns.RR{}, rcodes: map[string]int{}, silent: map[string]bool{}, cut: map[string]bool{}, old: map[string]bool{},
		udp: map[string]int{}, tcp: map[string]int{}}
	var pc net.PacketConn
	var l net.Listener
	for range 20 { // the same free port twice
		var err error
		l, err = net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		if pc, err = net.ListenPacket("udp", l.Addr().String()); err == nil {
			break
		}
		require.NoError(t, l.Close())
	}
	require.NotNil(t, pc)
	s.addr = l.Addr().String()
	for _, srv := range []*dns.Server{{PacketConn: pc, Handler: dns.HandlerFunc(s.handle)}, {Listener: l, Handler: dns.HandlerFunc(s.handle)}} {
		started, done := make(chan struct{}), make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		go func() {
			defer close(done)
			_ = srv.ActivateAndServe()
		}()
		<-started
		t.Cleanup(func() {
			_ = srv.Shutdown()
			<-done
		})
	}
	return s
}

func key(qtype uint16, name string) string { return dns.TypeToString[qtype] + " " + name }

// set gives the records of a name, written as in a zone file without the owner: "60 IN A 10.0.0.1".
func (s *server) set(qtype uint16, name string, records ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := key(qtype, name)
	s.records[k] = nil
	for _, r := range records {
		rr, err := dns.NewRR(r)
		require.NoError(s.t, err)
		s.records[k] = append(s.records[k], rr)
	}
	delete(s.rcodes, k)
}

func (s *server) fail(qtype uint16, name string, rcode int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rcodes[key(qtype, name)] = rcode
}

// mark adds a name to silent, cut or old.
func (s *server) mark(set map[string]bool, qtype uint16, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set[key(qtype, name)] = true
}

func (s *server) handle(w dns.ResponseWriter, q *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := key(q.Question[0].Qtype, q.Question[0].Name)
	_, overUDP := w.LocalAddr().(*net.UDPAddr)
	if overUDP {
		s.udp[k]++
	} else {
		s.tcp[k]++
	}
	if s.silent[k] {
		return
	}
	r := new(dns.Msg).SetReply(q)
	r.Answer = s.records[k]
	r.Rcode = s.rcodes[k]
	if s.old[k] && q.IsEdns0() != nil {
		r.Answer, r.Rcode = nil, dns.RcodeFormatError
	}
	if overUDP && s.cut[k] {
		r.Answer, r.Truncated = nil, true
	}
	_ = w.WriteMsg(r)
}

func (s *server) asked(qtype uint16, name string) (udp, tcp int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.udp[key(qtype, name)], s.tcp[key(qtype, name)]
}

func (s *server) client() *Client { return New(Config{Servers: []string{s.addr}}) }

func dnsError(t *testing.T, err error) *net.DNSError {
	t.Helper()
	var d *net.DNSError
	require.ErrorAs(t, err, &d)
	return d
}

// TestAnswers: records, life times, no data, NXDOMAIN and SERVFAIL.
func TestAnswers(t *testing.T) {
	s := newServer(t)
	c := s.client()
	ctx := context.Background()
	s.set(dns.TypeA, "a.example.", "a.example. 300 IN A 10.0.0.1", "a.example. 200 IN A 10.0.0.2", "other.example. 5 IN A 10.9.9.9")
	s.set(dns.TypeAAAA, "a.example.", "a.example. 77 IN AAAA 2001:db8::1")
	addrs, ttl, err := c.LookupIP(ctx, 4, "a.example")
	require.NoError(t, err)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}, addrs)
	require.Equal(t, 200*time.Second, ttl)
	addrs, ttl, err = c.LookupIP(ctx, 6, "A.EXAMPLE.")
	require.NoError(t, err)
	require.Empty(t, addrs, "the server knows the name in lower case only: names are sent as they are")
	require.Zero(t, ttl)
	addrs, ttl, err = c.LookupIP(ctx, 6, "a.example.")
	require.NoError(t, err)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("2001:db8::1")}, addrs)
	require.Equal(t, 77*time.Second, ttl)

	addrs, _, err = c.LookupIP(ctx, 4, "nothing.example.")
	require.NoError(t, err)
	require.Empty(t, addrs)

	s.fail(dns.TypeA, "gone.example.", dns.RcodeNameError)
	_, _, err = c.LookupIP(ctx, 4, "gone.example.")
	require.True(t, dnsError(t, err).IsNotFound)

	s.fail(dns.TypeA, "broken.example.", dns.RcodeServerFailure)
	_, _, err = c.LookupIP(ctx, 4, "broken.example.")
	d := dnsError(t, err)
	require.False(t, d.IsNotFound)
	require.Contains(t, d.Error(), "SERVFAIL")
	n, _ := s.asked(dns.TypeA, "broken.example.")
	require.Equal(t, 1, n, "a server that has answered is not asked again")

	_, _, err = c.LookupIP(ctx, 4, "bad..name")
	require.True(t, dnsError(t, err).IsNotFound)
}

// TestAliases: a chain in one answer, a chain whose rest has to be asked for, and a loop.
func TestAliases(t *testing.T) {
	s := newServer(t)
	c := s.client()
	s.set(dns.TypeA, "www.example.", "www.example. 300 IN CNAME b.example.", "b.example. 30 IN CNAME c.example.", "c.example. 100 IN A 10.0.0.1")
	s.set(dns.TypeA, "far.example.", "far.example. 300 IN CNAME end.example.")
	s.set(dns.TypeA, "end.example.", "end.example. 40 IN A 10.0.0.2")
	s.set(dns.TypeA, "loop.example.", "loop.example. 300 IN CNAME loop2.example.")
	s.set(dns.TypeA, "loop2.example.", "loop2.example. 300 IN CNAME loop.example.")
	for name, want := range map[string]string{"www.example.": "10.0.0.1", "far.example.": "10.0.0.2"} {
		addrs, ttl, err := c.LookupIP(context.Background(), 4, name)
		require.NoError(t, err)
		require.Equal(t, []netip.Addr{netip.MustParseAddr(want)}, addrs)
		require.Less(t, ttl, 50*time.Second, "the shortest on the way")
	}
	addrs, _, err := c.LookupIP(context.Background(), 4, "loop.example.")
	require.NoError(t, err)
	require.Empty(t, addrs)
}

// TestTruncation: a cut answer is fetched over TCP.
func TestTruncation(t *testing.T) {
	s := newServer(t)
	var records []string
	for i := range 300 {
		records = append(records, "big.example. 60 IN A 10.0."+strconv.Itoa(i/250)+"."+strconv.Itoa(i%250+1))
	}
	s.set(dns.TypeA, "big.example.", records...)
	s.mark(s.cut, dns.TypeA, "big.example.")
	addrs, _, err := s.client().LookupIP(context.Background(), 4, "big.example.")
	require.NoError(t, err)
	require.Len(t, addrs, maxRecords, "bounded")
	udp, tcp := s.asked(dns.TypeA, "big.example.")
	require.Equal(t, [2]int{1, 1}, [2]int{udp, tcp})
}

// TestOldServer: a server that does not know EDNS is asked without; one that finds every question malformed is given up.
func TestOldServer(t *testing.T) {
	s := newServer(t)
	s.set(dns.TypeA, "a.example.", "a.example. 60 IN A 10.0.0.1")
	s.mark(s.old, dns.TypeA, "a.example.")
	addrs, _, err := s.client().LookupIP(context.Background(), 4, "a.example.")
	require.NoError(t, err)
	require.Len(t, addrs, 1)
	s.fail(dns.TypeA, "b.example.", dns.RcodeFormatError)
	_, _, err = s.client().LookupIP(context.Background(), 4, "b.example.")
	require.Contains(t, dnsError(t, err).Error(), "FORMERR")
	n, _ := s.asked(dns.TypeA, "b.example.")
	require.Equal(t, 2, n)
}

// TestTimeout: a silent server costs the time of the context, not more, and is tried twice; a second server steps in.
func TestTimeout(t *testing.T) {
	s := newServer(t)
	s.mark(s.silent, dns.TypeA, "mute.example.")
	c := s.client()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	start := time.Now()
	_, _, err := c.LookupIP(ctx, 4, "mute.example.")
	require.True(t, dnsError(t, err).IsTimeout)
	require.Less(t, time.Since(start), 3*time.Second)
	n, _ := s.asked(dns.TypeA, "mute.example.")
	require.Equal(t, 2, n)

	good := newServer(t)
	good.set(dns.TypeA, "mute.example.", "mute.example. 60 IN A 10.0.0.1")
	ctx, cancel = context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	addrs, _, err := New(Config{Servers: []string{s.addr, good.addr}}).LookupIP(ctx, 4, "mute.example.")
	require.NoError(t, err)
	require.Len(t, addrs, 1)

	ctx, cancel = context.WithCancel(context.Background())
	cancel()
	_, _, err = c.LookupIP(ctx, 4, "mute.example.")
	require.Error(t, err)
}

// TestForgery: datagrams that answer another question are passed over.
func TestForgery(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2000)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if q.Unpack(buf[:n]) != nil {
				continue
			}
			send := func(change func(*dns.Msg), ip string) {
				r := new(dns.Msg).SetReply(q)
				rr, _ := dns.NewRR(q.Question[0].Name + " 60 IN A " + ip)
				r.Answer = []dns.RR{rr}
				change(r)
				b, _ := r.Pack()
				_, _ = pc.WriteTo(b, from)
			}
			send(func(r *dns.Msg) { r.Id++ }, "10.6.6.1")
			send(func(r *dns.Msg) { r.Question[0].Name = "evil.example." }, "10.6.6.2")
			send(func(r *dns.Msg) { r.Response = false }, "10.6.6.3")
			_, _ = pc.WriteTo([]byte("nonsense"), from)
			_, _ = pc.WriteTo(append([]byte{byte(q.Id >> 8), byte(q.Id), 0x80, 0, 0, 9}, make([]byte, 20)...), from)
			send(func(*dns.Msg) {}, "10.0.0.1")
		}
	}()
	defer func() {
		require.NoError(t, pc.Close())
		<-done
	}()
	addrs, _, err := New(Config{Servers: []string{pc.LocalAddr().String()}}).LookupIP(context.Background(), 4, "a.example.")
	require.NoError(t, err)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("10.0.0.1")}, addrs)
}

// TestResolvConf: servers come from the file, and anew when it changes; without a usable file the error says so.
func TestResolvConf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	c := New(Config{ResolvConf: file})
	var config *topology.ResolverConfigError
	_, _, err := c.LookupIP(context.Background(), 4, "a.example.")
	require.ErrorAs(t, err, &config)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(file, []byte("# none\n"), 0o600))
	_, _, err = c.LookupIP(context.Background(), 4, "a.example.")
	require.ErrorAs(t, err, &config)
	require.NoError(t, os.WriteFile(file, []byte("nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 2001:db8::1\nnameserver 192.0.2.4\n"), 0o600))
	servers, err := c.nameServers()
	require.NoError(t, err)
	require.Equal(t, []string{"192.0.2.1:53", "192.0.2.2:53", "[2001:db8::1]:53"}, servers)
	require.NoError(t, os.WriteFile(file, []byte("nameserver 192.0.2.9\n"), 0o600))
	servers, err = c.nameServers()
	require.NoError(t, err)
	require.Equal(t, []string{"192.0.2.9:53"}, servers)
}

func topo(points ...topology.AccessPoint) *topology.Topology {
	return &topology.Topology{LocalRoots: []topology.Group{{AccessPoints: points, HotValency: 9, WarmValency: 9}}}
}

func members(p *topology.Provider) []string {
	groups, _ := p.LocalRoots()
	out := []string{}
	for _, g := range groups {
		for _, m := range g.Members {
			out = append(out, m.String())
		}
	}
	return out
}

// TestProvider runs a whole provider against the server in virtual time: the server lives outside of the bubble, so that the
// clock stands still while a question is on its way.
func TestProvider(t *testing.T) {
	s := newServer(t)
	name := topology.AccessPoint{Kind: topology.Domain, Name: "r.example.", Port: 3001}
	s.set(dns.TypeA, "r.example.", "r.example. 100 IN A 10.0.0.1")
	s.set(dns.TypeAAAA, "r.example.", "r.example. 100 IN AAAA 2001:db8::1")
	synctest.Test(t, func(t *testing.T) {
		p, err := topology.NewProvider(topo(name), topology.ProviderConfig{Resolver: s.client()})
		require.NoError(t, err)
		defer p.Close()
		waitFor := func(want ...string) {
			t.Helper()
			for {
				groups, changed := p.LocalRoots()
				_ = groups
				if got := members(p); len(got) == len(want) {
					require.Equal(t, want, got)
					return
				}
				select {
				case <-changed:
				case <-time.After(time.Hour):
					t.Fatalf("no change within an hour: %v, want %v", members(p), want)
				}
			}
		}
		start := time.Now()
		waitFor("10.0.0.1:3001", "[2001:db8::1]:3001")

		// Changing answers: seen when the life time is over, and not before.
		s.set(dns.TypeA, "r.example.", "r.example. 100 IN A 10.0.0.1", "r.example. 100 IN A 10.0.0.2")
		waitFor("10.0.0.1:3001", "10.0.0.2:3001", "[2001:db8::1]:3001")
		require.Equal(t, 100*time.Second, time.Since(start))

		// One family failing: its addresses stay, the other one's follow the server.
		s.fail(dns.TypeAAAA, "r.example.", dns.RcodeServerFailure)
		s.set(dns.TypeA, "r.example.", "r.example. 100 IN A 10.0.0.3")
		waitFor("10.0.0.3:3001", "[2001:db8::1]:3001")
		require.Equal(t, 200*time.Second, time.Since(start))

		// Both failing: everything stays, and the name is asked for again after 2·100+5 s, then after 2·205+5 s.
		s.fail(dns.TypeA, "r.example.", dns.RcodeServerFailure)
		time.Sleep(time.Until(start.Add(299 * time.Second)))
		before, _ := s.asked(dns.TypeA, "r.example.")
		time.Sleep(2 * time.Second) // fails at 300 s
		s.set(dns.TypeA, "r.example.", "r.example. 5000 IN A 10.0.0.4", "r.example. 5000 IN A 10.0.0.5")
		require.Equal(t, []string{"10.0.0.3:3001", "[2001:db8::1]:3001"}, members(p))
		after, _ := s.asked(dns.TypeA, "r.example.")
		require.Equal(t, before+1, after)
		waitFor("10.0.0.4:3001", "10.0.0.5:3001", "[2001:db8::1]:3001")
		require.Equal(t, 505*time.Second, time.Since(start))

		// A life time of 5,000 s counts 900 s; a name that no longer exists keeps its addresses and is asked for every 900 s.
		s.fail(dns.TypeA, "r.example.", dns.RcodeNameError)
		s.fail(dns.TypeAAAA, "r.example.", dns.RcodeNameError)
		before, _ = s.asked(dns.TypeA, "r.example.")
		time.Sleep(901 * time.Second)
		after, _ = s.asked(dns.TypeA, "r.example.")
		require.Equal(t, before+1, after)
		require.Len(t, members(p), 3)
		time.Sleep(898 * time.Second)
		after, _ = s.asked(dns.TypeA, "r.example.")
		require.Equal(t, before+1, after)
		time.Sleep(2 * time.Second)
		after, _ = s.asked(dns.TypeA, "r.example.")
		require.Equal(t, before+2, after)
	})
}

// TestSRVWeights: only the lowest priority is used, in proportion to the weights; the port and the life time are the SRV
// record's.
func TestSRVWeights(t *testing.T) {
	s := newServer(t)
	s.set(dns.TypeSRV, "_x._tcp.example.",
		"_x._tcp.example. 90 IN SRV 5 0 1 never.example.", "_x._tcp.example. 90 IN SRV 1 30 3001 a.example.",
		"_x._tcp.example. 90 IN SRV 1 10 3002 b.example.", "_x._tcp.example. 90 IN SRV 0 10 3003 .")
	for name, ip := range map[string]string{"never.example.": "10.9.9.9", "a.example.": "10.0.0.1", "b.example.": "10.0.0.2"} {
		s.set(dns.TypeA, name, name+" 600 IN A "+ip)
	}
	srv := topology.AccessPoint{Kind: topology.SRV, Name: "_x._tcp.example."}
	counts := map[netip.AddrPort]int{}
	p, err := topology.NewProvider(&topology.Topology{BootstrapPeers: []topology.AccessPoint{srv}}, topology.ProviderConfig{Resolver: s.client(), NoIPv6: true, Seed: 7})
	require.NoError(t, err)
	defer p.Close()
	const n = 400
	for range n {
		peers, ttl, err := p.BootstrapPeers(context.Background())
		require.NoError(t, err)
		require.Len(t, peers, 1)
		require.Equal(t, 90*time.Second, ttl)
		counts[peers[0]]++
	}
	a, b := counts[netip.MustParseAddrPort("10.0.0.1:3001")], counts[netip.MustParseAddrPort("10.0.0.2:3002")]
	require.Equal(t, n, a+b)
	// Three quarters, with four standard deviations to each side; the seed is fixed.
	require.InDelta(t, 0.75*n, a, 35)
	asked, _ := s.asked(dns.TypeA, "never.example.")
	require.Zero(t, asked)
	asked, _ = s.asked(dns.TypeAAAA, "a.example.")
	require.Zero(t, asked, "IPv6 is off")
}

// TestSystemResolver: the standard library's resolver behind the same interface, without life times.
func TestSystemResolver(t *testing.T) {
	s := newServer(t)
	s.set(dns.TypeA, "a.example.", "a.example. 300 IN A 10.0.0.1")
	s.set(dns.TypeAAAA, "a.example.", "a.example. 300 IN AAAA 2001:db8::1")
	s.set(dns.TypeSRV, "_x._tcp.example.", "_x._tcp.example. 90 IN SRV 1 30 3001 a.example.")
	s.fail(dns.TypeA, "gone.example.", dns.RcodeNameError)
	r := topology.SystemResolver{Resolver: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.addr)
	}}}
	for family, want := range map[int]string{4: "10.0.0.1", 6: "2001:db8::1"} {
		addrs, ttl, err := r.LookupIP(context.Background(), family, "a.example.")
		require.NoError(t, err)
		require.Equal(t, []netip.Addr{netip.MustParseAddr(want)}, addrs)
		require.Zero(t, ttl)
	}
	records, _, err := r.LookupSRV(context.Background(), "_x._tcp.example.")
	require.NoError(t, err)
	require.Equal(t, []topology.SRVRecord{{Target: "a.example.", Port: 3001, Priority: 1, Weight: 30}}, records)
	_, _, err = r.LookupIP(context.Background(), 4, "gone.example.")
	require.True(t, dnsError(t, err).IsNotFound)
}

// TestConcurrency: many look-ups at the same time through one client.
func TestConcurrency(t *testing.T) {
	s := newServer(t)
	s.set(dns.TypeA, "a.example.", "a.example. 60 IN A 10.0.0.1")
	c := s.client()
	var bad atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 10 {
				if a, _, err := c.LookupIP(context.Background(), 4, "a.example."); err != nil || len(a) != 1 {
					bad.Add(1)
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, bad.Load())
}

// TestLocalhostIsNotAskedFor: RFC 6761 §6.3.
func TestLocalhostIsNotAskedFor(t *testing.T) {
	s := newServer(t)
	for _, name := range []string{"localhost", "LOCALHOST.", "a.localhost."} {
		four, _, err := s.client().LookupIP(t.Context(), 4, name)
		require.NoError(t, err)
		require.Equal(t, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, four)
		six, _, err := s.client().LookupIP(t.Context(), 6, name)
		require.NoError(t, err)
		require.Equal(t, []netip.Addr{netip.IPv6Loopback()}, six)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Empty(t, s.udp)
}
