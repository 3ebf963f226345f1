package topology

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/big"
)

// SnapshotOptions of reading a peer snapshot. The zero value reads strictly.
type SnapshotOptions struct {
	// File is the name used in problems.
	File string
	// Lenient accepts exactly what the reference's parser accepts: bad ports and hashes of a wrong length are warnings then.
	Lenient bool
	// OldDomainKey also takes relays whose host stands under the older key "domain"; the reference refuses those.
	OldDomainKey bool
}

// SnapshotResult is all that there is to know about a snapshot file.
type SnapshotResult struct {
	// NodeAccepts tells whether the reference's parser takes the file; it does not depend on the options. Whether cardano-node
	// then uses it is the business of [Snapshot.Usable].
	NodeAccepts bool
	// Version is the number in the file, also an unknown one; 0 when there is none.
	Version int64
	// OldDomainKeys counts the relays with the older key; it is 0 without the option.
	OldDomainKeys int
	// Snapshot holds the values, nil when the file is refused even leniently.
	Snapshot *Snapshot
	// Problems lists errors and warnings in document order, bounded as in [Result].
	Problems []Problem
	file     string
}

// Err returns an *InvalidError when the file is to be refused.
func (r *SnapshotResult) Err() error { return invalid(r.file, r.Problems) }

// ParseSnapshot reads a peer snapshot in JSON, versions 1, 2 and 23 (governor §6.3). It never fails as such: what is wrong is
// in the result. Input and memory are bounded as in [Parse].
func ParseSnapshot(data []byte, opt SnapshotOptions) *SnapshotResult {
	w := &walker{opt: Options{Lenient: opt.Lenient}, file: opt.File}
	r := &SnapshotResult{file: opt.File}
	if len(data) > MaxInput {
		w.list.add(Error, 0, "", fmt.Sprintf("the file has more than %d MiB", MaxInput>>20))
		r.Problems = w.list.finish(nil, opt.File)
		return r
	}
	doc, bad := parseDocument(data)
	if bad != nil {
		w.list.add(Error, bad.offset, bad.field, bad.message)
		r.Problems = w.list.finish(data, opt.File)
		return r
	}
	w.doc = doc
	p := &snapshotParser{walker: w, rules: relayRules{fields: snapshotRelayFields[:2], anyIP: true}}
	if opt.OldDomainKey {
		p.rules.fields = snapshotRelayFields
	}
	s := p.snapshot()
	r.Version, r.OldDomainKeys = p.version, p.oldKeys
	r.NodeAccepts = !w.refused && p.oldKeys == 0
	if !w.refused {
		r.Snapshot = s
	}
	r.Problems = w.list.finish(data, opt.File)
	return r
}

// ReadSnapshotFile reads a peer snapshot in JSON from a file. The error is about reading only.
func ReadSnapshotFile(name string, opt SnapshotOptions) (*SnapshotResult, error) {
	if opt.File == "" {
		opt.File = name
	}
	data, err := readBounded(name)
	if err != nil && !errors.Is(err, errTooLong) {
		return nil, err
	}
	return ParseSnapshot(data, opt), nil
}

var (
	snapshotFields = []string{"version", "NodeToClientVersion", "slotNo", "Point", "NetworkMagic", "bigLedgerPools", "allLedgerPools"}
	pointFields    = []string{"blockPointSlot", "blockPointHash"}
	poolFields     = []string{"accumulatedStake", "relativeStake", "relays"}
	rationalFields = []string{"numerator", "denominator"}
	// The relay's fields; the third only with OldDomainKey.
	snapshotRelayFields = []string{"address", "port", "domain"}
)

type snapshotParser struct {
	*walker
	rules   relayRules
	version int64
	oldKeys int
}

func (p *snapshotParser) snapshot() *Snapshot {
	root := &path{}
	if !p.isObject(0, root) {
		return nil
	}
	var f [7]int
	p.fields(0, root, snapshotFields, f[:])
	version := 0
	for _, tok := range f[:2] { // version first, NodeToClientVersion second, whatever the number is
		if tok != 0 && version == 0 {
			if n, ok := p.integer(tok); ok {
				p.version, version = n, tok
			}
		}
	}
	q := root.key1("NodeToClientVersion")
	if version == 0 {
		p.refuse(0, &q, "the version (NodeToClientVersion or version) is required, an integer")
		return nil
	}
	s := &Snapshot{Version: int(p.version)}
	unused := func(tok int, name string) {
		if tok != 0 {
			q := root.key1(name)
			p.warn(tok, &q, "not used in version %d", p.version)
		}
	}
	switch p.version {
	case 1, 2:
		q = root.key1("slotNo")
		if f[2] == 0 {
			p.refuse(0, &q, "the field is required")
		} else if !p.isOrigin(f[2]) {
			s.Slot = p.slot(f[2], &q)
		} else {
			s.Origin = true
		}
		unused(f[3], "Point")
		unused(f[4], "NetworkMagic")
		unused(f[6], "allLedgerPools")
		p.pools(f[5], root, "bigLedgerPools", s)
	case 23:
		p.point(f[3], root, s)
		q = root.key1("NetworkMagic")
		if f[4] == 0 {
			p.refuse(0, &q, "the field is required")
		} else if n, ok := p.unsigned(f[4]); !ok || n > math.MaxUint32 {
			p.refuse(f[4], &q, "an integer of 32 bits is expected")
		} else {
			s.Magic = uint32(n)
		}
		unused(f[2], "slotNo")
		if s.All = f[5] == 0 && f[6] != 0; s.All {
			p.pools(f[6], root, "allLedgerPools", s)
		} else {
			unused(f[6], "allLedgerPools")
			p.pools(f[5], root, "bigLedgerPools", s)
		}
	default:
		name := "version"
		if version == f[1] {
			name = "NodeToClientVersion"
		}
		q = root.key1(name)
		p.refuse(version, &q, "version %d is not known: 1, 2 and 23 are", p.version)
	}
	return s
}

func (p *snapshotParser) isOrigin(tok int) bool {
	return p.doc.toks[tok].kind == jsonString && p.doc.text(tok) == "origin"
}

func (p *snapshotParser) unsigned(tok int) (uint64, bool) {
	if p.doc.toks[tok].kind != jsonNumber {
		return 0, false
	}
	return parseDecimal(p.doc.raw(tok)).uint64()
}

func (p *snapshotParser) slot(tok int, at *path) uint64 {
	n, ok := p.unsigned(tok)
	if !ok {
		p.refuse(tok, at, "a slot is expected, an integer of 64 bits")
	}
	return n
}

func (p *snapshotParser) point(tok int, root *path, s *Snapshot) {
	at := root.key1("Point")
	if tok == 0 {
		p.refuse(0, &at, "the field is required")
		return
	}
	if p.isOrigin(tok) {
		s.Origin = true
		return
	}
	if !p.isObject(tok, &at) {
		return
	}
	var f [2]int
	p.fields(tok, &at, pointFields, f[:])
	q := at.key1("blockPointSlot")
	if f[0] == 0 {
		p.refuse(tok, &q, "the field is required")
	} else {
		s.Slot = p.slot(f[0], &q)
	}
	q = at.key1("blockPointHash")
	if f[1] == 0 {
		p.refuse(tok, &q, "the field is required")
		return
	}
	if p.doc.toks[f[1]].kind != jsonString {
		p.wrong(f[1], &q, "a string")
		return
	}
	hash, err := hex.DecodeString(p.doc.text(f[1]))
	if err != nil {
		p.refuse(f[1], &q, "a hash in hexadecimal digits is expected")
		return
	}
	if len(hash) != 32 {
		p.strict(f[1], &q, "the hash has %d bytes, not 32", len(hash))
	}
	s.Hash = hash
}

func (p *snapshotParser) pools(tok int, root *path, key string, s *Snapshot) {
	at := root.key1(key)
	if tok == 0 {
		p.refuse(0, &at, "the field is required")
		return
	}
	if !p.isArray(tok, &at) {
		return
	}
	s.Pools = make([]Pool, 0, p.doc.length(tok))
	var last Fraction
	p.doc.elements(tok, func(i, v int) {
		q := at.at(i)
		pool := p.pool(v, &q, s.All)
		if !s.All && pool.Accumulated.Cmp(last) < 0 {
			p.warn(v, &q, "the accumulated stake is lower than that of the pool before")
		}
		last = pool.Accumulated
		s.Pools = append(s.Pools, pool)
	})
}

func (p *snapshotParser) pool(tok int, at *path, all bool) Pool {
	var pool Pool
	if !p.isObject(tok, at) {
		return pool
	}
	var f [3]int
	p.fields(tok, at, poolFields, f[:])
	if !all {
		pool.Accumulated = p.stake(tok, f[0], at, "accumulatedStake")
	}
	pool.Stake = p.stake(tok, f[1], at, "relativeStake")
	q := at.key1("relays")
	switch {
	case f[2] == 0:
		p.refuse(tok, &q, "the field is required")
	case !p.isArray(f[2], &q):
	case p.doc.length(f[2]) == 0:
		p.refuse(f[2], &q, "a pool needs at least one relay")
	default:
		pool.Relays = make([]AccessPoint, 0, p.doc.length(f[2]))
		p.doc.elements(f[2], func(i, v int) {
			r := q.at(i)
			pool.Relays = append(pool.Relays, p.relay(v, &r))
		})
	}
	return pool
}

func (p *snapshotParser) relay(tok int, at *path) AccessPoint {
	if len(p.rules.fields) == 3 && p.doc.toks[tok].kind == jsonObject {
		_, now := p.doc.lookup(tok, "address")
		if old, ok := p.doc.lookup(tok, "domain"); ok && !now {
			p.oldKeys++
			q := at.key1("domain")
			p.warn(old, &q, "the key is address today; the reference refuses this one")
		}
	}
	a, _ := p.accessPoint(tok, at, &p.rules)
	return a
}

// stake reads a number, or an object of numerator and denominator as the reference does.
func (p *snapshotParser) stake(pool, tok int, at *path, key string) Fraction {
	q := at.key1(key)
	if tok == 0 {
		p.refuse(pool, &q, "the field is required")
		return Fraction{}
	}
	var v Fraction
	why := ""
	switch p.doc.toks[tok].kind {
	case jsonNumber:
		v, why = parseDecimal(p.doc.raw(tok)).fraction()
	case jsonObject:
		v, why = p.rational(tok, &q)
	default:
		p.wrong(tok, &q, "a number")
		return v
	}
	if why != "" {
		p.refuse(tok, &q, "%s", why)
		return Fraction{}
	}
	if v.Sign() < 0 || v.aboveOne() {
		p.warn(tok, &q, "the stake is not between 0 and 1")
	}
	return v
}

func (p *snapshotParser) rational(tok int, at *path) (Fraction, string) {
	var f [2]int
	p.fields(tok, at, rationalFields, f[:])
	var parts [2]Fraction
	for i, t := range f {
		if t == 0 || p.doc.toks[t].kind != jsonNumber {
			return Fraction{}, "numerator and denominator are required, integers"
		}
		d := parseDecimal(p.doc.raw(t))
		if d.exp < 0 {
			return Fraction{}, "numerator and denominator are required, integers"
		}
		var why string
		if parts[i], why = d.fraction(); why != "" {
			return Fraction{}, why
		}
	}
	num, _ := parts[0].parts()
	den, _ := parts[1].parts()
	if den.Sign() == 0 {
		return Fraction{}, "the denominator is zero"
	}
	if den.Sign() < 0 {
		num, den = new(big.Int).Neg(num), new(big.Int).Neg(den)
	}
	return reduced(num, den), ""
}
