package tlsbearer_test

import (
	"crypto"
	"fmt"
	"log"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/connmgr/tlsbearer"
)

// Two relays that talk to each other only. Each gives its id to whoever keeps the other's list.
func Example() {
	var keys [2]crypto.Signer
	var ids [2]tlsbearer.KeyID
	for i := range keys {
		key, err := tlsbearer.GenerateKey()
		if err != nil {
			log.Fatal(err)
		}
		if ids[i], err = tlsbearer.IDOf(key.Public()); err != nil {
			log.Fatal(err)
		}
		keys[i] = key
	}
	for i := range keys {
		b, err := tlsbearer.New(tlsbearer.Config{Key: keys[i], Allowed: tlsbearer.Keys(ids[1-i])})
		if err != nil {
			log.Fatal(err)
		}
		m, err := connmgr.NewManager(connmgr.Config{Network: 42, Bearer: b.Wrap})
		if err != nil {
			log.Fatal(err)
		}
		defer m.Close()
		fmt.Println(b.ID() == ids[i])
	}
	// Output:
	// true
	// true
}
