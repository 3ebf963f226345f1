package mux

import (
	"math/bits"
	"sync"
)

// block is a buffer of the pools below. It is passed by pointer so that putting it back allocates nothing.
type block struct {
	next *block // in an egress list
	buf  []byte
	r, w int // egress: bytes [r, w) are framed and not yet cut
}

const (
	minBlockBits = 9  // 512 bytes
	maxBlockBits = 20 // 1 MiB; larger ones are left to the garbage collector
)

var blockPools [maxBlockBits - minBlockBits + 1]sync.Pool

// getBlock returns a block whose buffer has length 0 and capacity of at least size.
func getBlock(size int) *block {
	class := max(bits.Len(uint(size-1)), minBlockBits)
	if class > maxBlockBits {
		return &block{buf: make([]byte, 0, size)}
	}
	if b, ok := blockPools[class-minBlockBits].Get().(*block); ok {
		return b
	}
	return &block{buf: make([]byte, 0, 1<<class)}
}

// putBlock gives a block back. Nobody may hold a part of its buffer any more.
func putBlock(b *block) {
	c := cap(b.buf)
	class := bits.Len(uint(c)) - 1
	if c != 1<<class || class < minBlockBits || class > maxBlockBits {
		return
	}
	b.next, b.buf, b.r, b.w = nil, b.buf[:0], 0, 0
	blockPools[class-minBlockBits].Put(b)
}
