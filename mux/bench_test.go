package mux

import (
	"context"
	"fmt"
	"io"
	"testing"
)

// BenchmarkRawTCP is the measure that BenchmarkMux is compared with: writes of the same size on a bare connection, drained
// with a buffer of the multiplexer's size.
func BenchmarkRawTCP(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			x, y := tcpPair(b)
			done := make(chan error, 1)
			go func() {
				buf := make([]byte, readBufferSize)
				for rest := int64(b.N) * int64(size); rest > 0; {
					n, err := y.Read(buf)
					if err != nil {
						done <- err
						return
					}
					rest -= int64(n)
				}
				done <- nil
			}()
			p := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if _, err := x.Write(p); err != nil {
					b.Fatal(err)
				}
			}
			if err := <-done; err != nil && err != io.EOF {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkMux moves the same bytes over streams.
func BenchmarkMux(b *testing.B) {
	for _, streams := range []int{1, 32} {
		for _, size := range []int{1 << 10, 16 << 10, 64 << 10} {
			b.Run(fmt.Sprintf("%dKiB/%dstreams", size>>10, streams), func(b *testing.B) {
				x, y := tcpPair(b)
				numbers := make([]uint16, streams)
				for i := range numbers {
					numbers[i] = uint16(i + 1)
				}
				p := muxPair(b, x, y, Config{}, numbers...)
				ctx := context.Background()
				done := make(chan error, 2*streams)
				share := (b.N + streams - 1) / streams
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				for _, n := range numbers {
					in, out := p.b.Stream(n, Responder), p.a.Stream(n, Initiator)
					go func() {
						for rest := share * size; rest > 0; {
							q, err := in.Wait(ctx, 0)
							if err != nil {
								done <- err
								return
							}
							rest -= len(q)
							in.Discard(len(q))
						}
						done <- nil
					}()
					go func() {
						q := make([]byte, size)
						for range share {
							if err := out.Send(ctx, q); err != nil {
								done <- err
								return
							}
						}
						done <- nil
					}()
				}
				for range 2 * streams {
					if err := <-done; err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
