package topology

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Numbers of governor §6.4.
const (
	minTTL       = 60 * time.Second
	maxTTL       = 900 * time.Second
	queryTimeout = 3 * time.Second
	// Look-ups at the same time: for ledger and public roots together, and for local roots.
	remoteLookups = 8
	localLookups  = 2
)

// Resolver looks names up. The package topology/dns has one that knows the real life times of answers; [SystemResolver] asks
// the operating system, which does not tell them.
//
// A name that does not exist is a *net.DNSError with IsNotFound. A name that exists without records of the kind asked for is
// no error: the answer is empty. A *ResolverConfigError means that there is nobody to ask; it is tried again sooner than
// other failures. Implementations must be safe for concurrent use and return when the context ends.
type Resolver interface {
	// LookupIP asks for A records (family 4) or AAAA records (family 6). The life time is the answer's, unclipped.
	LookupIP(ctx context.Context, family int, name string) (addrs []netip.Addr, ttl time.Duration, err error)
	// LookupSRV asks for SRV records in any order.
	LookupSRV(ctx context.Context, name string) (records []SRVRecord, ttl time.Duration, err error)
}

// SRVRecord is one answer to an SRV query.
type SRVRecord = struct {
	Target                 string
	Port, Priority, Weight uint16
}

// ResolverConfigError says that the resolver itself cannot work, for example because no name server is configured.
type ResolverConfigError struct{ Err error }

// Error gives the cause.
func (e *ResolverConfigError) Error() string { return "resolver configuration: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *ResolverConfigError) Unwrap() error { return e.Err }

// Fault says that the mistake is ours.
func (e *ResolverConfigError) Fault() string { return "internal" }

// SystemResolver asks the operating system. It does not learn life times, so that answers count for the shortest time that is
// ever used, 60 s.
type SystemResolver struct {
	// Resolver to use; nil is net.DefaultResolver.
	Resolver *net.Resolver
}

func (s SystemResolver) resolver() *net.Resolver {
	if s.Resolver != nil {
		return s.Resolver
	}
	return net.DefaultResolver
}

// LookupIP implements [Resolver].
func (s SystemResolver) LookupIP(ctx context.Context, family int, name string) ([]netip.Addr, time.Duration, error) {
	network := "ip4"
	if family == 6 {
		network = "ip6"
	}
	addrs, err := s.resolver().LookupNetIP(ctx, network, name)
	return addrs, 0, err
}

// LookupSRV implements [Resolver].
func (s SystemResolver) LookupSRV(ctx context.Context, name string) ([]SRVRecord, time.Duration, error) {
	_, found, err := s.resolver().LookupSRV(ctx, "", "", name)
	var out []SRVRecord
	for _, r := range found {
		out = append(out, SRVRecord{Target: r.Target, Port: r.Port, Priority: r.Priority, Weight: r.Weight})
	}
	return out, 0, err
}

// answer is the result of looking up one access point: per family, because each can fail alone.
type answer struct {
	v4, v6 familyAnswer
}

type familyAnswer struct {
	asked bool
	addrs []netip.AddrPort
	ttl   time.Duration
	err   error
}

// settle turns "no such name" into "no addresses" when the other family was answered.
func (f *familyAnswer) settle(other *familyAnswer) {
	if other.asked && other.err == nil && f.err != nil && notFound(f.err) {
		f.err, f.ttl = nil, other.ttl
	}
}

// failed tells whether every family that was asked failed.
func (a *answer) failed() bool {
	return (!a.v4.asked || a.v4.err != nil) && (!a.v6.asked || a.v6.err != nil)
}

func (a *answer) err() error {
	if !a.failed() {
		return nil
	}
	return cmp.Or(a.v6.err, a.v4.err)
}

// addrs lists the addresses, IPv6 first.
func (a *answer) addrs() []netip.AddrPort { return slices.Concat(a.v6.addrs, a.v4.addrs) }

// ttl is how long the answer counts: the longest life time of the parts that were answered, 60 s when there are no addresses.
func (a *answer) ttl() time.Duration {
	if len(a.v4.addrs)+len(a.v6.addrs) == 0 {
		return minTTL
	}
	return clipTTL(max(a.v4.ttl, a.v6.ttl))
}

func clipTTL(d time.Duration) time.Duration { return max(minTTL, min(d, maxTTL)) }

// retryAfter is the pause after a failure of one family: a name that does not exist is asked for again as late as possible,
// others after twice the last pause and 5 s.
func retryAfter(err error, previous time.Duration) time.Duration {
	if notFound(err) {
		return maxTTL
	}
	return clipTTL(2*previous + 5*time.Second)
}

func notFound(err error) bool {
	var d *net.DNSError
	return errors.As(err, &d) && d.IsNotFound
}

// lookuper resolves access points through a Resolver.
type lookuper struct {
	resolver   Resolver
	ipv4, ipv6 bool
}

// lookup resolves one name: both families at once, each with its own time-out. For an SRV name, the target drawn with seed
// is resolved; its port and the life time of the SRV records go for all its addresses. Other targets are not tried.
func (l *lookuper) lookup(ctx context.Context, a AccessPoint, seed uint64) answer {
	name, port := a.Name, a.Port
	var srvTTL time.Duration
	if a.Kind == SRV {
		q, cancel := context.WithTimeout(ctx, queryTimeout)
		records, ttl, err := l.resolver.LookupSRV(q, a.Name)
		cancel()
		if err != nil {
			return answer{v4: familyAnswer{asked: l.ipv4, err: err}, v6: familyAnswer{asked: l.ipv6, err: err}}
		}
		target, ok := chooseSRV(records, rand.New(rand.NewPCG(seed, 0)))
		if !ok {
			return answer{v4: familyAnswer{asked: l.ipv4, ttl: ttl}, v6: familyAnswer{asked: l.ipv6, ttl: ttl}}
		}
		name, port, srvTTL = target.Target, target.Port, ttl
	}
	var out answer
	done := make(chan struct{})
	if l.ipv4 {
		go func() {
			defer close(done)
			out.v4 = l.family(ctx, 4, name, port)
		}()
	} else {
		close(done)
	}
	if l.ipv6 {
		out.v6 = l.family(ctx, 6, name, port)
	}
	<-done
	// A name that one family has exists. Some resolvers, Go's own among them, say of the other that it does not.
	out.v4.settle(&out.v6)
	out.v6.settle(&out.v4)
	if a.Kind == SRV {
		out.v4.ttl, out.v6.ttl = srvTTL, srvTTL
	}
	return out
}

func (l *lookuper) family(ctx context.Context, family int, name string, port uint16) familyAnswer {
	q, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	addrs, ttl, err := l.resolver.LookupIP(q, family, name)
	out := familyAnswer{asked: true, ttl: ttl, err: err}
	if err != nil {
		return out
	}
	for _, a := range addrs {
		out.addrs = append(out.addrs, netip.AddrPortFrom(a.Unmap(), port))
	}
	// Servers rotate their answers; that is no change.
	slices.SortFunc(out.addrs, netip.AddrPort.Compare)
	return out
}

// chooseSRV draws a target among the records of the lowest priority in proportion to their weights (governor §6.4). The target
// "." means that there is no service.
func chooseSRV(records []SRVRecord, rnd *rand.Rand) (SRVRecord, bool) {
	var best []SRVRecord
	for _, r := range records {
		if r.Target == "." || r.Target == "" || len(best) > 0 && r.Priority > best[0].Priority {
			continue
		}
		if len(best) > 0 && r.Priority < best[0].Priority {
			best = best[:0]
		}
		best = append(best, r)
	}
	if len(best) == 0 {
		return SRVRecord{}, false
	}
	// The order of an answer is arbitrary. Records of weight 0 come first: they are drawn with 0 only, as RFC 2782 wants.
	slices.SortFunc(best, func(a, b SRVRecord) int {
		return cmp.Or(cmp.Compare(a.Weight, b.Weight), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Port, b.Port))
	})
	sum := uint64(0)
	for _, r := range best {
		sum += uint64(r.Weight)
	}
	if sum == 0 {
		return best[rnd.IntN(len(best))], true
	}
	draw := rnd.Uint64N(sum + 1)
	acc := uint64(0)
	for _, r := range best {
		if acc += uint64(r.Weight); acc >= draw {
			return r, true
		}
	}
	return best[len(best)-1], true
}
