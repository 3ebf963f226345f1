package main

import (
	"math/rand/v2"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

const eraConway = 6 // era index

// transaction makes a payment of the shape that Conway has; keys and signatures are random.
func transaction(rnd *rand.Rand) []byte {
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	b := cbor.AppendMap(cbor.AppendArray(nil, 4), 3)
	b = cbor.AppendArray(cbor.AppendTag(cbor.AppendUint(b, 0), 258), 1) // inputs
	b = cbor.AppendUint(cbor.AppendBytes(cbor.AppendArray(b, 2), random(32)), 0)
	b = cbor.AppendArray(cbor.AppendUint(b, 1), 2) // outputs
	for range 2 {
		b = cbor.AppendBytes(cbor.AppendUint(cbor.AppendMap(b, 2), 0), append([]byte{1}, random(56)...))
		b = cbor.AppendUint(cbor.AppendUint(b, 1), 1<<20+rnd.Uint64N(1<<32))
	}
	b = cbor.AppendUint(cbor.AppendUint(b, 2), 170_000+rnd.Uint64N(20_000))                // fee
	b = cbor.AppendArray(cbor.AppendTag(cbor.AppendUint(cbor.AppendMap(b, 1), 0), 258), 1) // witnesses
	b = cbor.AppendBytes(cbor.AppendBytes(cbor.AppendArray(b, 2), random(32)), random(64)) // a signature
	b = append(cbor.AppendBool(b, true), 0xf6)                                             // valid, no auxiliary data
	return txsubmission.AppendTx(nil, txsubmission.Tx{Era: eraConway, Bytes: b})
}
