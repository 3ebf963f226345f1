package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRowIsByNearestRank(t *testing.T) {
	s := sample{}
	for i := 200; i > 0; i-- {
		s.add("a", "b", block, time.Duration(i)*time.Millisecond)
	}
	s.add("", "a", artifact, 7500*time.Microsecond)
	require.Equal(t, []row{
		{"", "a", "artifact", 1, 7.5, 7.5, 7.5, 7.5, 7.5},
		{"a", "b", "block", 200, 1, 100, 190, 198, 200},
	}, s.rows())
}

func TestTrackerKnowsWhoLacksWhat(t *testing.T) {
	k := newTracker(3)
	early, b, now := name{transaction, "early"}, name{block, "b"}, time.Unix(0, 0)
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	k.seenAt(early, 2, at(1)) // before the word of its birth has come
	require.True(t, k.complete())
	k.bornAt(early, 0, at(0))
	_, lacks := k.state()
	require.Equal(t, []int{0, 1, 0}, lacks)
	k.bornAt(b, producerSite, at(2))
	k.bornAt(b, producerSite, at(9))
	born, lacks := k.state()
	require.Equal(t, []int{1, 2, 1}, lacks)
	require.Equal(t, [kinds]int{1, 1, 0}, born)
	for i := range 3 {
		k.seenAt(b, i, at(3+i))
		k.seenAt(b, i, at(20))
	}
	require.False(t, k.complete())
	k.seenAt(early, 0, at(0)) // where it is from: no delivery
	k.seenAt(early, 1, at(4))
	require.True(t, k.complete())
	k.seenAt(name{artifact, "stranger"}, 1, at(5))
	all, strange := k.deliveries()
	require.Equal(t, []name{{artifact, "stranger"}}, strange)
	require.ElementsMatch(t, []delivery{
		{early, 0, 1, at(0), at(4)}, {early, 0, 2, at(0), at(1)},
		{b, producerSite, 0, at(2), at(3)}, {b, producerSite, 1, at(2), at(4)}, {b, producerSite, 2, at(2), at(5)},
	}, all)
}

// TestJudge: relays 0 to 2 are in region a, 3 to 5 in b, 6 and 7 in c, which is cut off from second 10 to 20.
func TestJudge(t *testing.T) {
	p := newPlan()
	at := func(s float64) time.Time { return time.Unix(0, 0).Add(time.Duration(s * float64(time.Second))) }
	ph := phases{at(1), at(10), at(20)}
	d := func(k kind, from, to int, born, seen float64) delivery {
		return delivery{name{kind: k}, from, to, at(born), at(seen)}
	}
	usual := []delivery{
		d(block, producerSite, 0, 2, 2.010), d(block, producerSite, 0, 12, 12.030), d(block, producerSite, 0, 22, 22.020),
		d(transaction, 6, 7, 15, 15.010),  // inside of what is cut off
		d(transaction, 0, 6, 9, 9.5),      // over before
		d(artifact, 0, 6, 30, 31),         // born when everything was over
		d(transaction, 1, 0, 0.5, 0.6),    // for warming up
		d(artifact, 0, 1, 12.002, 12.003), // its birth was heard of late
	}
	held := []delivery{
		d(block, producerSite, 6, 9.9, 21),   // was on its way: 1 s
		d(block, producerSite, 6, 15, 24),    // 4 s
		d(block, producerSite, 6, 23, 25.5),  // born behind it in the queue: 2.5 s
		d(transaction, 7, 3, 15, 20.5),       // 0.5 s
		d(block, producerSite, 6, 9.9, 10.1), // on its way, and had passed
	}
	v, err := judge(p, append(usual, held...), ph, 2)
	require.NoError(t, err)
	require.Equal(t, []row{
		{"", "a", "block", 3, 10, 20, 30, 30, 30}, {"", "a", "artifact", 1, 1, 1, 1, 1, 1},
		{"", "c", "transaction", 2, 10, 10, 500, 500, 500}, {"", "c", "artifact", 1, 1000, 1000, 1000, 1000, 1000},
	}, v.diffusion)
	require.Equal(t, []row{
		{"a", "a", "block", 3, 10, 20, 30, 30, 30}, {"a", "a", "artifact", 1, 1, 1, 1, 1, 1},
		{"a", "c", "transaction", 1, 500, 500, 500, 500, 500}, {"c", "c", "transaction", 1, 10, 10, 10, 10, 10},
		{"a", "c", "artifact", 1, 1000, 1000, 1000, 1000, 1000},
	}, v.paths)
	require.Equal(t, []row{
		{"", "b", "transaction", 1, 500, 500, 500, 500, 500}, {"", "c", "block", 3, 1000, 2500, 4000, 4000, 4000},
	}, v.healed)

	v, err = judge(p, usual, phases{whole: at(1)}, 2)
	require.NoError(t, err)
	require.NotEmpty(t, v.diffusion)
	require.Empty(t, v.healed)
	var out strings.Builder
	require.NoError(t, summary{Diffusion: v.diffusion, CutSeconds: 10, Cables: []cableRow{{From: "a", To: "b", Packets: 100, Lost: 1, Loss: 0.02}}}.write(&out))
	for _, want := range []string{"p99", "1.00 %", "2.00 %", "1000.0"} {
		require.Contains(t, out.String(), want)
	}

	_, err = judge(p, []delivery{d(block, producerSite, 7, 2, 2.1)}, ph, 2)
	require.ErrorContains(t, err, "100ms to c2, and the cables alone take 127.5ms")
	_, err = judge(p, []delivery{d(transaction, 0, 7, 12, 13)}, ph, 2)
	require.ErrorContains(t, err, "crossed the cut to c2")
}
