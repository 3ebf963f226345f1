package topology_test

import (
	"context"
	"fmt"
	"log"

	"github.com/hearthnet/hearth/topology"
)

func ExampleParse() {
	r := topology.Parse([]byte(`{
  "localRoots": [
    { "accessPoints": [ { "address": "10.0.0.1", "port": 3001 } ], "valency": 2 }
  ],
  "publicRoots": []
}`), topology.Options{File: "topology.json"})
	for _, p := range r.Problems {
		fmt.Println(p)
	}
	// Output:
	// topology.json:3:79: error: /localRoots/0/valency: the hot valency 2 cannot be reached: the group has 1 member(s)
}

func ExampleDiff() {
	read := func(valency int, host string) *topology.Topology {
		text := fmt.Sprintf(`{"localRoots": [{"accessPoints": [{"address": "10.0.0.1", "port": 3001}, {"address": %q, "port": 3001}], "valency": %d}],
			"publicRoots": []}`, host, valency)
		return topology.Parse([]byte(text), topology.Options{}).Topology
	}
	changes := topology.Diff(read(1, "a.example"), read(2, "b.example"))
	fmt.Print(changes.String())
	// Output:
	// connect local root b.example.:3001
	// drop local root a.example.:3001
	// change group 0: hotValency 1 → 2 warmValency 1 → 2
}

// A node follows its topology file: the provider goes to the governor as it is, Reload to the handler of SIGHUP.
func ExampleWatcher() {
	var provider *topology.Provider
	watcher, err := topology.NewWatcher(topology.WatchConfig{
		Path:   "topology.json",
		Apply:  func(t *topology.Topology, changes topology.Changes) { log.Print(changes.String()); provider.Apply(t) },
		Reject: func(err *topology.ReloadError) { log.Print(err) },
	})
	if err != nil {
		fmt.Println("no such file here")
		return
	}
	provider, err = topology.NewProvider(watcher.Current(), topology.ProviderConfig{Magic: 764824073})
	if err != nil {
		log.Fatal(err)
	}
	defer provider.Close()
	_ = watcher.Run(context.Background())
	// Output: no such file here
}
