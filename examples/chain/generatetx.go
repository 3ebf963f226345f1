package chain

import "golang.org/x/crypto/blake2b"

// minTx is the size of the smallest transaction that a Generator makes: one input, one output, one signature.
const minTx = 250

// transaction appends one transaction of at most size bytes (≥ minTx), and close to it, to the scratch buffers. It reports
// whether the transaction has auxiliary data, which it then appended under the transaction's index.
func (g *Generator) transaction(index, size int) (aux bool) {
	const (
		payment = iota
		metadata
		script
	)
	kind := payment
	if u := g.rnd.Float64(); u > 0.84 || size > 2600 {
		kind = script
	} else if u > 0.66 {
		kind = metadata
	}
	if size < 450 {
		kind = payment
	}

	// What a payment weighs: inputs 37, outputs 67 (address and lovelace) or 135 (with a native asset), signatures 101.
	left := size - minTx
	inputs, outputs, assets, signatures := 1, 1, 0, 1
	for {
		switch pick := g.rnd.IntN(4); {
		case kind != payment && left < size/2:
			left = 0
		case pick == 0 && left >= inputLen:
			inputs++
			left -= inputLen
		case pick == 1 && left >= 67:
			outputs++
			left -= 67
		case pick == 2 && left >= 135:
			outputs++
			assets++
			left -= 135
		case pick == 3 && left >= 101 && signatures < inputs:
			signatures++
			left -= 101
		case left >= inputLen:
			continue
		default:
			left = 0
		}
		if left == 0 {
			break
		}
	}

	witsFrom := len(g.wits)
	g.witness(signatures)
	g.tx = g.tx[:0]
	bodyLen := g.txBodyLen(inputs, outputs, assets, kind != payment)
	fill := size - bodyLen - (len(g.wits) - witsFrom)
	var auxHash []byte
	switch {
	case kind == metadata && fill > 100:
		aux = true
		from := g.metadata(index, fill)
		sum := blake2b.Sum256(g.aux[from:])
		auxHash = sum[:]
	case kind == script && fill > 100:
		g.wits = g.wits[:witsFrom]
		g.scriptWitness(signatures, fill)
	}
	g.txBody(inputs, outputs, assets, auxHash, kind == script && fill > 100)
	return aux
}

// outputLen is the size of a plain output, assetLen what a native asset adds to it.
const (
	inputLen  = 1 + 2 + 32 + 1 + 1
	outputLen = 1 + 1 + 2 + 57 + 1 + 5
	assetLen  = 1 + 1 + 2 + 28 + 1 + 1 + 20 + 5
)

// txBodyLen is the length of the body that txBody appends, give or take a few bytes for heads.
func (g *Generator) txBodyLen(inputs, outputs, assets int, hash bool) int {
	n := 1 + 1 + 3 + 1 + inputs*inputLen + 1 + 1 + outputs*outputLen + assets*assetLen + 1 + 5 + 1 + 5
	if hash {
		n += 1 + 2 + 32
	}
	return n
}

// txBody appends `{0: inputs, 1: outputs, 2: fee, 3: time to live, 7 or 11: hash}`.
func (g *Generator) txBody(inputs, outputs, assets int, auxHash []byte, script bool) {
	b := g.bodies
	fields := uint64(4)
	if auxHash != nil || script {
		fields++
	}
	b = appendHead(b, majorMap, fields)
	b = appendHead(append(b, 0x00, 0xd9, 0x01, 0x02), majorArray, uint64(inputs)) // a set, tag 258
	for range inputs {
		b = g.bytes(append(b, 0x82), 32)
		b = append(b, byte(g.rnd.IntN(20)))
	}
	b = appendHead(append(b, 0x01), majorArray, uint64(outputs))
	for i := range outputs {
		b = append(b, 0xa2, 0x00, 0x58, 57, 0x01) // a base address of the main network
		b = g.random(b, 56)
		b = append(b, 0x01)
		if i < assets {
			b = append(b, 0x82)
		}
		b = appendHead(b, majorUint, 1<<24+g.rnd.Uint64N(1<<31))
		if i < assets {
			b = g.bytes(append(b, 0xa1), 28)
			b = g.bytes(append(b, 0xa1), 19)
			b = appendHead(b, majorUint, 1<<17+g.rnd.Uint64N(1<<30))
		}
	}
	b = appendHead(append(b, 0x02), majorUint, 1<<17+g.rnd.Uint64N(1<<19))
	b = appendHead(append(b, 0x03), majorUint, 1<<27+g.rnd.Uint64N(1<<24))
	if auxHash != nil {
		b = append(append(b, 0x07, 0x58, 32), auxHash...)
	} else if script {
		b = g.bytes(append(b, 0x0b), 32)
	}
	g.bodies = b
}

// witness appends `{0: signatures}`.
func (g *Generator) witness(signatures int) {
	g.wits = g.signatures(append(g.wits, 0xa1), signatures)
}

func (g *Generator) signatures(b []byte, n int) []byte {
	b = appendHead(append(b, 0x00, 0xd9, 0x01, 0x02), majorArray, uint64(n))
	for range n {
		b = g.bytes(append(b, 0x82), 32)
		b = g.bytes(b, 64)
	}
	return b
}

// scriptWitness appends `{0: signatures, 5: redeemers, 7: Plutus V3 scripts}` with a script of about fill bytes.
func (g *Generator) scriptWitness(signatures, fill int) {
	b := g.signatures(append(g.wits, 0xa3), signatures)
	b = append(b, 0x05, 0xa1, 0x82, 0x00, 0x00, 0x82, 0xd8, 0x79, 0x80, 0x82) // spend input 0 with constructor 0
	b = appendHead(b, majorUint, 1<<17+g.rnd.Uint64N(1<<23))
	b = appendHead(b, majorUint, 1<<27+g.rnd.Uint64N(1<<31))
	b = append(b, 0x07, 0xd9, 0x01, 0x02, 0x81)
	g.wits = g.bytes(b, fill-36)
}

// metadata appends `index: {674: {"msg": [byte strings of up to 64 bytes]}}` of about fill bytes, the message format that
// wallets write, and returns where the value starts.
func (g *Generator) metadata(index, fill int) (from int) {
	g.aux = appendHead(g.aux, majorUint, uint64(index))
	from = len(g.aux)
	b := append(g.aux, 0xa1, 0x19, 0x02, 0xa2, 0xa1, 0x63, 'm', 's', 'g')
	n := (fill - 16) * 64 / 66 // each chunk has a head of its own
	chunks := (n + 63) / 64
	b = appendHead(b, majorArray, uint64(chunks))
	for ; chunks > 1; chunks-- {
		b = g.bytes(b, 64)
		n -= 64
	}
	g.aux = g.bytes(b, n)
	return from
}
