package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/hearthnet/hearth/topology"
)

const (
	// udpSize is what we take over UDP: it passes without fragments everywhere.
	udpSize = 1232
	// maxRecords bounds what is used of one answer; more does not make a name more reachable.
	maxRecords = 256
	// maxAliases bounds a chain of CNAME records, over all answers.
	maxAliases = 16
	// defaultTimeout of a look-up whose context has no deadline.
	defaultTimeout = 3 * time.Second
	// triesPerServer makes up for a lost datagram.
	triesPerServer = 2
	defaultConfig  = "/etc/resolv.conf"
)

// Config of a client. The zero value asks the servers of /etc/resolv.conf.
type Config struct {
	// Servers as "host:port"; when empty they come from ResolvConf.
	Servers []string
	// ResolvConf is read when Servers is empty, and again when its modification time or size changes; "" is /etc/resolv.conf.
	ResolvConf string
	// Timeout of a look-up whose context has no deadline; 3 s when 0. All servers and tries share it.
	Timeout time.Duration
}

// Client is a stub resolver: it asks recursive servers, in turn, until one answers. It implements topology.Resolver, is safe
// for concurrent use, keeps no sockets and has no goroutines of its own.
type Client struct {
	cfg Config

	mu      sync.Mutex
	servers []string
	info    os.FileInfo // of ResolvConf as it was when servers was read
}

var _ topology.Resolver = (*Client)(nil)

// New returns a client. Nothing is read or asked before the first look-up.
func New(cfg Config) *Client {
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = defaultConfig
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	return &Client{cfg: cfg}
}

// LookupIP implements topology.Resolver: the addresses of at most 256 records, at the end of a chain of aliases, and the
// shortest life time on the way. Errors are *net.DNSError or *topology.ResolverConfigError.
func (c *Client) LookupIP(ctx context.Context, family int, name string) ([]netip.Addr, time.Duration, error) {
	qtype := dns.TypeA
	if family == 6 {
		qtype = dns.TypeAAAA
	}
	records, ttl, err := c.lookup(ctx, name, qtype)
	var out []netip.Addr
	for _, r := range records {
		var ip net.IP
		switch r := r.(type) {
		case *dns.A:
			ip = r.A.To4()
		case *dns.AAAA:
			ip = r.AAAA.To16()
		}
		if a, ok := netip.AddrFromSlice(ip); ok {
			out = append(out, a)
		}
	}
	return out, ttl, err
}

// LookupSRV implements topology.Resolver, with the same bounds and errors as LookupIP.
func (c *Client) LookupSRV(ctx context.Context, name string) ([]topology.SRVRecord, time.Duration, error) {
	records, ttl, err := c.lookup(ctx, name, dns.TypeSRV)
	var out []topology.SRVRecord
	for _, r := range records {
		if r, ok := r.(*dns.SRV); ok {
			out = append(out, topology.SRVRecord{Target: r.Target, Port: r.Port, Priority: r.Priority, Weight: r.Weight})
		}
	}
	return out, ttl, err
}

// lookup returns the records of a type at the end of the chain of aliases that starts at name. A server that gives only the
// beginning of a chain is asked for the rest.
func (c *Client) lookup(ctx context.Context, name string, qtype uint16) ([]dns.RR, time.Duration, error) {
	if _, ok := dns.IsDomainName(name); !ok {
		return nil, 0, &net.DNSError{Err: "not a domain name", Name: name, IsNotFound: true}
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.cfg.Timeout)
		defer cancel()
	}
	name = dns.Fqdn(name)
	if isLocalhost(name) {
		return localhost(name, qtype), 0, nil
	}
	servers, err := c.nameServers()
	if err != nil {
		return nil, 0, err
	}
	chain := chain{owner: name, first: true}
	for {
		asked := chain.owner
		answer, err := ask(ctx, servers, asked, qtype)
		if err != nil {
			return nil, 0, err
		}
		records := chain.follow(answer, qtype)
		if len(records) > 0 || chain.owner == asked || chain.aliases >= maxAliases {
			return records, chain.ttl, nil
		}
	}
}

// isLocalhost tells names that no server is to be asked for (RFC 6761 §6.3).
func isLocalhost(name string) bool {
	name = dns.CanonicalName(name)
	return name == "localhost." || strings.HasSuffix(name, ".localhost.")
}

func localhost(name string, qtype uint16) []dns.RR {
	h := dns.RR_Header{Name: name, Rrtype: qtype, Class: dns.ClassINET}
	switch qtype {
	case dns.TypeA:
		return []dns.RR{&dns.A{Hdr: h, A: net.IPv4(127, 0, 0, 1)}}
	case dns.TypeAAAA:
		return []dns.RR{&dns.AAAA{Hdr: h, AAAA: net.IPv6loopback}}
	}
	return nil
}

// chain walks along CNAME records.
type chain struct {
	owner   string
	aliases int
	ttl     time.Duration // the shortest so far
	first   bool          // there is none so far
}

func (c *chain) follow(answer []dns.RR, qtype uint16) (records []dns.RR) {
	for c.aliases < maxAliases {
		alias := false
		for _, r := range answer {
			if cname, ok := r.(*dns.CNAME); ok && sameName(r.Header().Name, c.owner) && qtype != dns.TypeCNAME {
				c.note(r)
				c.owner = dns.Fqdn(cname.Target)
				c.aliases++
				alias = true
				break
			}
		}
		if !alias {
			break
		}
	}
	for _, r := range answer {
		if r.Header().Rrtype == qtype && sameName(r.Header().Name, c.owner) && len(records) < maxRecords {
			c.note(r)
			records = append(records, r)
		}
	}
	return records
}

func (c *chain) note(r dns.RR) {
	ttl := time.Duration(r.Header().Ttl) * time.Second
	if r.Header().Ttl > 1<<31-1 {
		ttl = 0 // RFC 2181 §8
	}
	if c.first || ttl < c.ttl {
		c.first, c.ttl = false, ttl
	}
}

func sameName(a, b string) bool { return dns.CanonicalName(a) == dns.CanonicalName(b) }

// ask puts one question to the servers in turn. The time that is left is divided among the tries that are left.
func ask(ctx context.Context, servers []string, name string, qtype uint16) ([]dns.RR, error) {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.SetEdns0(udpSize, false)
	var failure error
	tries := triesPerServer * len(servers)
	refused := make([]bool, len(servers))
	for i := 0; i < tries; i++ {
		server := servers[i%len(servers)]
		if refused[i%len(servers)] {
			continue // it has answered, just not usefully
		}
		if err := ctx.Err(); err != nil {
			break
		}
		deadline, _ := ctx.Deadline()
		try, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(tries-i))
		m.Id = dns.Id()
		r, err := exchange(try, "udp", server, m)
		cancel()
		if err == nil && r.Truncated {
			// The stream gets all the time there is: nothing is lost on it.
			r, err = exchange(ctx, "tcp", server, m)
		}
		switch {
		case err != nil:
			failure = timeoutError(err, name, server)
			continue
		case r.Rcode == dns.RcodeSuccess:
			return r.Answer, nil
		case r.Rcode == dns.RcodeFormatError && len(m.Extra) > 0:
			// A server from before EDNS: the same again without, once.
			m.Extra = nil
			i--
			continue
		case r.Rcode == dns.RcodeNameError:
			// What a CNAME leads to does not exist: for us the name does not.
			return nil, &net.DNSError{Err: "no such host", Name: name, Server: server, IsNotFound: true}
		}
		refused[i%len(servers)] = true
		failure = &net.DNSError{Err: "server misbehaving: " + dns.RcodeToString[r.Rcode], Name: name, Server: server, IsTemporary: true}
	}
	if failure == nil {
		failure = timeoutError(context.Cause(ctx), name, "")
	}
	return nil, failure
}

func timeoutError(err error, name, server string) error {
	var t net.Error
	timeout := errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
	return &net.DNSError{UnwrapErr: err, Err: fmt.Sprint(err), Name: name, Server: server, IsTimeout: timeout, IsTemporary: true}
}

// exchange sends a question over its own socket, so that each has a source port that nobody can guess, and waits for the
// answer to it. Datagrams that answer something else are passed over.
func exchange(ctx context.Context, network, server string, m *dns.Msg) (*dns.Msg, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer raw.Close() //nolint:errcheck // nothing is lost
	if deadline, ok := ctx.Deadline(); ok {
		if err := raw.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	defer context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })()
	conn := &dns.Conn{Conn: raw, UDPSize: udpSize}
	if err := conn.WriteMsg(m); err != nil {
		return nil, err
	}
	for {
		r, err := conn.ReadMsg()
		if err != nil && (network == "tcp" || isNet(err)) {
			return nil, err
		}
		if r == nil {
			continue // a datagram that is no DNS message
		}
		if err != nil && !r.Truncated {
			continue // malformed; when cut off, the question at least is whole
		}
		if r.Id == m.Id && r.Response && len(r.Question) == 1 && r.Question[0].Qtype == m.Question[0].Qtype &&
			sameName(r.Question[0].Name, m.Question[0].Name) {
			return r, nil
		}
		if network == "tcp" {
			return nil, errors.New("the answer is to another question")
		}
	}
}

func isNet(err error) bool {
	var n net.Error
	return errors.As(err, &n)
}

// nameServers returns the servers to ask, from the file if it is new.
func (c *Client) nameServers() ([]string, error) {
	if len(c.cfg.Servers) > 0 {
		return c.cfg.Servers, nil
	}
	info, err := os.Stat(c.cfg.ResolvConf)
	if err != nil {
		return nil, &topology.ResolverConfigError{Err: err}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.info != nil && c.info.Size() == info.Size() && c.info.ModTime().Equal(info.ModTime()) && os.SameFile(c.info, info) {
		return c.servers, nil
	}
	conf, err := dns.ClientConfigFromFile(c.cfg.ResolvConf)
	if err != nil {
		return nil, &topology.ResolverConfigError{Err: err}
	}
	if len(conf.Servers) == 0 {
		return nil, &topology.ResolverConfigError{Err: fmt.Errorf("%s names no server", c.cfg.ResolvConf)}
	}
	var servers []string
	for _, s := range conf.Servers[:min(3, len(conf.Servers))] { // no resolver uses more than three
		servers = append(servers, net.JoinHostPort(s, conf.Port))
	}
	c.servers, c.info = servers, info
	return servers, nil
}
