package chain

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/protocols/chainsync"
)

// BenchmarkHeaders is how fast one follower is served headers.
func BenchmarkHeaders(b *testing.B) {
	dir := b.TempDir()
	_, err := WriteChunks(dir, 21600, Generate(1, 2000))
	require.NoError(b, err)
	archive, err := Open(dir)
	require.NoError(b, err)
	defer archive.Close()
	memory := NewMemory()
	defer memory.Close()
	node, err := New(Config{Dir: b.TempDir()})
	require.NoError(b, err)
	defer node.Close()
	for item := range items(b, &archive.View) {
		for _, c := range []*Chain{memory, node} {
			_, err := c.Append(item)
			require.NoError(b, err)
		}
	}
	for _, c := range []struct {
		name   string
		cursor func(chainsync.Form) chainsync.Cursor
	}{{"disk", archive.Cursor}, {"node", node.Cursor}, {"memory", memory.Cursor}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			cur := c.cursor(Headers)
			n := 0
			for b.Loop() {
				ev, err := cur.Next()
				if err != nil {
					b.Fatal(err)
				}
				switch ev.Kind {
				case Forward:
					n += len(ev.Payload)
				case AtTip:
					cur.Intersect([]Point{Origin})
				}
			}
			b.SetBytes(int64(n / b.N))
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "headers/s")
		})
	}
}

// BenchmarkBlocks is how fast a range of blocks is streamed.
func BenchmarkBlocks(b *testing.B) {
	for _, size := range []int{0, 64 << 10} {
		name := "mainnet"
		g := NewGenerator(1)
		if size > 0 {
			name = fmt.Sprintf("%dKiB", size>>10)
			g.Size = func(uint64) int { return size }
		}
		dir := b.TempDir()
		const n = 1000
		_, err := WriteChunks(dir, 21600, func(yield func([]byte) bool) {
			for range n {
				yield(g.Next(nil))
			}
		})
		require.NoError(b, err)
		a, err := Open(dir)
		require.NoError(b, err)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			blocks, total := 0, 0
			for blocks < b.N {
				stream, ok := a.Range(a.At(0).Point, a.Tip().Point)
				require.True(b, ok)
				for payload, err := range stream {
					if err != nil {
						b.Fatal(err)
					}
					total += len(payload)
					if blocks++; blocks == b.N {
						break
					}
				}
			}
			b.SetBytes(int64(total / blocks))
			b.ReportMetric(float64(blocks)/b.Elapsed().Seconds(), "blocks/s")
		})
		a.Close()
	}
}

// BenchmarkOpen is how long it takes to index a directory, and what memory it takes.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	_, err := WriteChunks(dir, 21600, Generate(1, 2000))
	require.NoError(b, err)
	for _, c := range []struct{ name, suffix string }{{"indexed", ""}, {"scanned", ".chunk"}} {
		b.Run(c.name, func(b *testing.B) {
			from := copyDir(b, dir, c.suffix)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var a *Archive
			for b.Loop() {
				if a != nil {
					a.Close()
				}
				if a, err = Open(from); err != nil {
					b.Fatal(err)
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*a.Len()), "ns/block")
			b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/float64(a.Len()), "B/block")
			a.Close()
		})
	}
}

// BenchmarkAppend is what a node pays for a block that it receives.
func BenchmarkAppend(b *testing.B) {
	var blocks [][]byte
	for item := range Generate(1, 500) {
		blocks = append(blocks, bytes.Clone(item))
	}
	for _, onDisk := range []bool{false, true} {
		b.Run(map[bool]string{false: "memory", true: "disk"}[onDisk], func(b *testing.B) {
			b.ReportAllocs()
			var c *Chain
			total := 0
			for i := 0; b.Loop(); i++ {
				if i%len(blocks) == 0 {
					if c != nil {
						c.Close()
					}
					cfg := Config{}
					if onDisk {
						cfg.Dir = b.TempDir()
					}
					var err error
					c, err = New(cfg)
					require.NoError(b, err)
				}
				item := blocks[i%len(blocks)]
				if _, err := c.Append(item); err != nil {
					b.Fatal(err)
				}
				total += len(item)
			}
			b.SetBytes(int64(total / b.N))
			c.Close()
		})
	}
}

// BenchmarkParse is how long the facts of a block and of a header take.
func BenchmarkParse(b *testing.B) {
	g := NewGenerator(1)
	g.Size = func(uint64) int { return 64 << 10 }
	item := g.Next(nil)
	payload, err := HeaderPayload(nil, item)
	require.NoError(b, err)
	b.Run("block", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(item)))
		for b.Loop() {
			if _, err := ParseBlock(item); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("body", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(item)))
		for b.Loop() {
			if _, err := CheckBody(item); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("header", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(payload)))
		for b.Loop() {
			if _, err := ParseHeaderPayload(payload); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkGenerate is how fast a producer makes blocks.
func BenchmarkGenerate(b *testing.B) {
	b.ReportAllocs()
	g := NewGenerator(1)
	var item []byte
	total := 0
	for b.Loop() {
		item = g.Next(item[:0])
		total += len(item)
	}
	b.SetBytes(int64(total / b.N))
}

// BenchmarkIntersect is the price of a client's list of points on a long chain.
func BenchmarkIntersect(b *testing.B) {
	c := View{}
	for i := range 200_000 {
		e := entry{slot: uint64(20 * i)}
		e.hash[0], e.hash[1], e.hash[2] = byte(i), byte(i>>8), byte(i>>16)
		c.idx.push(e)
	}
	points := c.Points(2160)
	for i := range points[:len(points)-1] {
		points[i].Hash[31] = 1 // none but origin is on the chain
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, i, ok := c.Intersect(points); !ok || i != -1 {
			b.Fatal(i, ok)
		}
	}
}
