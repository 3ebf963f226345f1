package dns_test

import (
	"log"

	"github.com/hearthnet/hearth/topology"
	"github.com/hearthnet/hearth/topology/dns"
)

// A provider whose names are looked up again when their life times are over.
func Example() {
	t, err := topology.Load("topology.json", topology.Options{})
	if err != nil {
		log.Fatal(err)
	}
	roots, err := topology.NewProvider(t, topology.ProviderConfig{Magic: 764824073, Resolver: dns.New(dns.Config{})})
	if err != nil {
		log.Fatal(err)
	}
	defer roots.Close()
}
