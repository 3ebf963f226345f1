package topology

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var errServer = &net.DNSError{Err: "server misbehaving", IsTemporary: true}
var errNoName = &net.DNSError{Err: "no such host", IsNotFound: true}

func reply(ttl time.Duration, addrs ...string) familyAnswer {
	f := familyAnswer{asked: true, ttl: ttl}
	for _, a := range addrs {
		f.addrs = append(f.addrs, netip.MustParseAddrPort(a))
	}
	return f
}

func refusal(err error) familyAnswer { return familyAnswer{asked: true, err: err} }

// TestPauses: when a name is looked up again (governor §6.4).
func TestPauses(t *testing.T) {
	config := &ResolverConfigError{errors.New("no server")}
	off := familyAnswer{}
	for _, c := range []struct {
		name  string
		last  time.Duration
		a     answer
		pause time.Duration
	}{
		{"longest life time", 0, answer{reply(100*time.Second, "10.0.0.1:1"), reply(200*time.Second, "[::1]:1")}, 200 * time.Second},
		{"at least a minute", 0, answer{reply(time.Second, "10.0.0.1:1"), off}, time.Minute},
		{"at most a quarter of an hour", 0, answer{reply(time.Hour, "10.0.0.1:1"), off}, 900 * time.Second},
		{"no addresses", 0, answer{reply(500 * time.Second), reply(500 * time.Second)}, time.Minute},
		{"one family fails", 0, answer{reply(100*time.Second, "10.0.0.1:1"), refusal(errServer)}, 100 * time.Second},
		{"no such name", 0, answer{refusal(errNoName), refusal(errNoName)}, 900 * time.Second},
		{"first failure", 0, answer{refusal(errServer), off}, time.Minute},
		{"twice the last and five", 100 * time.Second, answer{refusal(errServer), refusal(errServer)}, 205 * time.Second},
		{"up to the limit", 500 * time.Second, answer{refusal(errServer), refusal(errServer)}, 900 * time.Second},
		{"the shorter of two", 100 * time.Second, answer{refusal(errNoName), refusal(errServer)}, 205 * time.Second},
		{"the resolver itself", 100 * time.Second, answer{refusal(config), refusal(config)}, time.Second},
	} {
		e := &nameEntry{last: c.last}
		require.Equal(t, c.pause, e.pause(c.a), c.name)
	}
	e := &nameEntry{}
	bad := answer{refusal(config), off}
	for _, want := range []int{1, 3, 6, 9, 12, 12} {
		require.Equal(t, time.Duration(want)*time.Second, e.pause(bad))
	}
	e.pause(answer{reply(time.Minute, "10.0.0.1:1"), off})
	require.Equal(t, time.Second, e.pause(bad), "a success starts the row anew")
}

// TestNameTable: names are due at once, those that stay keep addresses and dates, answers to forgotten names are dropped.
func TestNameTable(t *testing.T) {
	name := func(i int) AccessPoint { return AccessPoint{Kind: Domain, Name: fmt.Sprintf("n%d.", i), Port: 1} }
	var table nameTable
	table.set(0, []AccessPoint{name(0), name(1), name(0), {Kind: Domain, Name: "N1.", Port: 1}})
	require.Len(t, table.byName, 2)
	a, ok := table.start(0)
	require.True(t, ok)
	require.Equal(t, name(0), a.point)
	b, ok := table.start(0)
	require.True(t, ok)
	_, ok = table.start(0)
	require.False(t, ok)
	require.True(t, table.finish(time.Second, a, answer{v4: reply(100*time.Second, "10.0.0.1:1"), v6: reply(0, "[::1]:1")}))
	require.Equal(t, []netip.AddrPort{netip.MustParseAddrPort("[::1]:1"), netip.MustParseAddrPort("10.0.0.1:1")}, table.lookup(name(0)))
	due, ok := table.next()
	require.True(t, ok)
	require.Equal(t, 101*time.Second, due)

	table.set(2*time.Second, []AccessPoint{name(2), name(0)}) // name 1 goes while it is being looked up
	require.False(t, table.finish(3*time.Second, b, answer{v4: reply(100*time.Second, "10.0.0.9:1")}))
	require.Nil(t, table.lookup(name(1)))
	require.Len(t, table.lookup(name(0)), 2)
	c, ok := table.start(3 * time.Second)
	require.True(t, ok)
	require.Equal(t, name(2), c.point)
	table.finish(3*time.Second, c, answer{v4: refusal(errServer)})

	a, ok = table.start(101 * time.Second)
	require.True(t, ok)
	require.Equal(t, name(2), a.point, "the earlier one")
	a, ok = table.start(101 * time.Second)
	require.True(t, ok)
	require.Equal(t, name(0), a.point)
	require.True(t, table.finish(102*time.Second, a, answer{v4: reply(0, "10.0.0.2:1"), v6: refusal(errServer)}))
	require.Equal(t, []netip.AddrPort{netip.MustParseAddrPort("[::1]:1"), netip.MustParseAddrPort("10.0.0.2:1")}, table.lookup(name(0)))
	table.set(103*time.Second, nil)
	_, ok = table.next()
	require.False(t, ok)
}

func TestChooseSRV(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	_, ok := chooseSRV(nil, rnd)
	require.False(t, ok)
	_, ok = chooseSRV([]SRVRecord{{Target: "."}}, rnd)
	require.False(t, ok)
	records := []SRVRecord{{Target: "far.", Priority: 2, Weight: 9}, {Target: "b.", Priority: 1, Weight: 3}, {Target: ".", Priority: 0},
		{Target: "a.", Priority: 1, Weight: 1}, {Target: "zero.", Priority: 1}}
	counts := map[string]int{}
	for range 10000 {
		r, ok := chooseSRV(records, rnd)
		require.True(t, ok)
		counts[r.Target]++
	}
	// A draw from 0 … 4: 0 is zero's, 1 is a's, 2 to 4 are b's.
	require.InDelta(t, 2000, counts["zero."], 200)
	require.InDelta(t, 2000, counts["a."], 200)
	require.InDelta(t, 6000, counts["b."], 250)
	require.Len(t, counts, 3)
	counts = map[string]int{}
	for range 1000 {
		r, _ := chooseSRV([]SRVRecord{{Target: "x."}, {Target: "y."}}, rnd)
		counts[r.Target]++
	}
	require.InDelta(t, 500, counts["x."], 80)
}
