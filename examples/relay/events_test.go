package main

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/internal/node"
	"github.com/hearthnet/hearth/examples/internal/page"
)

// TestEventsAreBounded: nobody waits for a reader of stdout that does not read; what it misses is counted. The page keeps the latest,
// and blocks do not crowd them out.
func TestEventsAreBounded(t *testing.T) {
	var out output
	e := newEvents(&out)
	const more = 100
	for i := range maxWaiting + more {
		e.adopted(node.Block{From: "x", Number: uint64(i)})
	}
	for i := range page.KeptEvents + more {
		e.decided(node.Event{Name: fmt.Sprint(i), Decision: "d", Peers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1")}, Detail: "why"})
	}
	e.refused(&connmgr.Refusal{Scope: "inbound connections", Limit: 1, InUse: 1})
	shown := e.shown.Events(0, 1<<20)
	require.Len(t, shown, page.KeptEvents)
	require.Equal(t, fmt.Sprint(more), shown[0].Name)
	require.Equal(t, fmt.Sprint(page.KeptEvents+more-1), shown[page.KeptEvents-1].Name)
	require.Equal(t, "192.0.2.1:1 why", shown[0].Detail)

	ctx, cancel := context.WithCancel(context.Background())
	written := make(chan error, 1)
	go func() { written <- e.write(ctx) }()
	require.Eventually(t, func() bool { return len(e.waiting) == 0 }, 10*time.Second, time.Millisecond)
	cancel()
	require.NoError(t, <-written)
	require.Equal(t, more+page.KeptEvents+more+1, out.events(t, "lost")[0].Lost)
	require.Len(t, out.events(t, "block"), maxWaiting)
	e.refused(&connmgr.Refusal{Scope: "inbound connections", Limit: 1, InUse: 1})
	require.NoError(t, e.flush())
	require.Contains(t, out.events(t, "refused")[0].Error, "inbound connections, limit 1, in use 1")
}
