package main

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/examples/internal/node"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestPlan: eight relays in three regions with 5 to 250 ms and 0 to 2 % between them, which stay connected within a region and
// without any one region.
func TestPlan(t *testing.T) {
	p := newPlan()
	require.Len(t, p.relays, 8)
	require.Len(t, regionNames, 3)
	addrs := map[string]bool{}
	for _, s := range p.sites() {
		require.True(t, subnet(s.region).Contains(s.addr))
		require.NotEqual(t, router(s.region), s.addr)
		addrs[s.addr.String()] = true
	}
	require.Len(t, addrs, 9)
	require.Equal(t, 5*time.Millisecond, inside)
	for _, s := range spans {
		require.NoError(t, s.params().Validate())
		require.LessOrEqual(t, s.rtt, 250*time.Millisecond)
		require.LessOrEqual(t, s.loss, 0.02)
	}
	require.NoError(t, up().Validate())
	require.NoError(t, down().Validate())

	reached := func(start int, in func(region int) bool) (n int) {
		seen, todo := map[int]bool{start: true}, []int{start}
		for ; len(todo) > 0; n++ {
			for _, e := range p.edges {
				for k := range e {
					if i := e[1-k]; e[k] == todo[0] && !seen[i] && in(p.relays[i].region) {
						seen[i] = true
						todo = append(todo, i)
					}
				}
			}
			todo = todo[1:]
		}
		return n
	}
	for i, s := range p.relays {
		require.Equal(t, regionSizes[s.region], reached(i, func(r int) bool { return r == s.region }))
		for without := range regionNames {
			if without != s.region {
				require.Equal(t, 8-regionSizes[without], reached(i, func(r int) bool { return r != without }))
			}
		}
	}
	dialled := 0
	for i := range p.relays {
		dialled += len(p.peers(i, true))
	}
	require.Equal(t, len(p.edges), dialled, "each by one of the two")
}

func TestNewTransactionIsOne(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	ids := map[string]bool{}
	for range 1000 {
		raw := newTransaction(rnd)
		require.LessOrEqual(t, len(raw), 16<<10)
		id, err := node.TxID(txsubmission.AppendTx(nil, txsubmission.Tx{Era: conway, Bytes: raw}))
		require.NoError(t, err)
		ids[string(id)] = true
	}
	require.Len(t, ids, 1000)
}

// TestNotPermittedIsNoFailure: where there is no ip-netns(8) the command says so and succeeds.
func TestNotPermittedIsNoFailure(t *testing.T) {
	t.Setenv("PATH", "")
	require.NoError(t, run(context.Background(), nil, nil))
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"-whole", "3m"}, {"-cut", "-1s"}, {"x"}, {"-nonsense"}} {
		require.Error(t, run(context.Background(), args, nil), args)
	}
}
