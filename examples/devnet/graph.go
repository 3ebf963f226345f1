package main

import "math/rand/v2"

// degree is how many neighbours a node has, where there are that many.
const degree = 4

// edges returns a random graph of n nodes, connected, in which every node has degree neighbours, or all others if there are not
// so many. The same seed gives the same graph.
func edges(n int, seed uint64) [][2]int {
	if n <= degree+1 {
		var all [][2]int
		for i := range n {
			for j := range i {
				all = append(all, [2]int{j, i})
			}
		}
		return all
	}
	rnd := rand.New(rand.NewPCG(seed, 0x6772617068))
	for {
		if g := pairing(n, rnd); g != nil && connected(n, g) {
			return g
		}
	}
}

// pairing joins the ends of the nodes' stubs at random; nil when a node meets itself or a neighbour twice.
func pairing(n int, rnd *rand.Rand) [][2]int {
	stubs := make([]int, 0, n*degree)
	for i := range n * degree {
		stubs = append(stubs, i%n)
	}
	rnd.Shuffle(len(stubs), func(i, j int) { stubs[i], stubs[j] = stubs[j], stubs[i] })
	seen := map[[2]int]bool{}
	var g [][2]int
	for i := 0; i < len(stubs); i += 2 {
		e := [2]int{min(stubs[i], stubs[i+1]), max(stubs[i], stubs[i+1])}
		if e[0] == e[1] || seen[e] {
			return nil
		}
		seen[e] = true
		g = append(g, e)
	}
	return g
}

func connected(n int, g [][2]int) bool {
	group := make([]int, n)
	for i := range group {
		group[i] = i
	}
	find := func(i int) int {
		for group[i] != i {
			i = group[i]
		}
		return i
	}
	for _, e := range g {
		group[find(e[0])] = find(e[1])
	}
	for i := range n {
		if find(i) != find(0) {
			return false
		}
	}
	return true
}
