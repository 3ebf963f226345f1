package mux

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// FuzzDemux feeds arbitrary bytes, cut into arbitrary segments, to the demultiplexer, and compares with a decoder that has all
// of them at once. The first byte of the input says how it is cut.
func FuzzDemux(f *testing.F) {
	for _, v := range vectors {
		f.Add(append([]byte{1}, unhex(f, v.hex)...))
	}
	good := sdu(2, Initiator, 5, []byte("hello"))
	f.Add(append([]byte{3}, bytes.Repeat(good, 50)...))
	f.Add(append([]byte{0}, sdu(2, Responder, 0, nil)...))
	f.Add(append([]byte{7}, sdu(3, Initiator, 1, []byte{1})...))
	f.Add(append([]byte{200}, append(bytes.Clone(good), sdu(77, Initiator, 1, []byte{1})...)...))
	f.Add(append([]byte{90}, sdu(4, Initiator, 65_535, make([]byte, 3000))...))
	f.Add(append([]byte{255}, bytes.Repeat(sdu(4, Initiator, 200, make([]byte, 200)), 12)...))
	const limit = 2000
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 {
			return
		}
		cut, in := int(in[0])+1, in[1:]
		x, _ := memPair(1)
		arrived := 0
		m := New(x, Config{Arrived: func(_ uint32, _ time.Duration, size int) { arrived += size }})
		registered(t, m, limit)
		d := &demux{m: m}
		var got error
		for p := in; len(p) > 0 && got == nil; {
			n := min(cut, len(p))
			got = d.feed(p[:n])
			p = p[n:]
		}

		type id struct {
			number uint16
			role   Role
		}
		streams := map[id][]byte{{2, Initiator}: nil, {2, Responder}: nil, {3, Initiator}: nil, {4, Responder}: nil}
		whole := 0
		var want Kind
		for p := in; len(p) >= HeaderSize && want == 0; {
			number, n := (uint16(p[4])<<8|uint16(p[5]))&0x7fff, int(p[6])<<8|int(p[7])
			to := id{number, Initiator}
			if p[4]&0x80 == 0 {
				to.role = Responder
			}
			_, here := streams[to]
			_, there := streams[id{number, to.role ^ 1}]
			switch {
			case n == 0:
				want = BadSDU
			case !here && there:
				want = WrongDirection
			case !here:
				want = UnknownProtocol
			case len(streams[to])+n > limit:
				want = IngressOverrun
			}
			if want != 0 {
				break
			}
			p = p[HeaderSize:]
			k := min(n, len(p))
			streams[to] = append(streams[to], p[:k]...)
			if k == n {
				whole += n
			}
			p = p[k:]
		}

		var e *Error
		if errors.As(got, &e) != (want != 0) || e != nil && e.Kind != want {
			t.Fatalf("got %v, want %q", got, want)
		}
		if e != nil && (e.Fault() != "adversarial" || e.Error() == "") {
			t.Fatalf("fault %s: %v", e.Fault(), e)
		}
		total := 0
		for i, want := range streams {
			got := m.Stream(i.number, i.role).Unread()
			if !bytes.Equal(got, want) {
				t.Fatalf("stream %v: %d bytes, want %d", i, len(got), len(want))
			}
			total += len(got)
		}
		if arrived != whole || m.Unread() != total || total > 4*limit {
			t.Fatalf("%d bytes in whole SDUs, want %d; %d unread, want %d", arrived, whole, m.Unread(), total)
		}
		m.Abort(nil)
	})
}

// FuzzReadSDU: what is read is what was written, and nothing panics.
func FuzzReadSDU(f *testing.F) {
	for _, v := range vectors {
		f.Add(unhex(f, v.hex))
	}
	f.Add(unhex(f, "0000000000020000"))
	f.Add(sdu(5, Responder, 65_535, nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		h, p, err := ReadSDU(r, 5760)
		if err != nil {
			return
		}
		var w bytes.Buffer
		if err := WriteSDU(&w, h, p); err != nil {
			t.Fatal(err)
		}
		if read := in[:len(in)-r.Len()]; !bytes.Equal(read, w.Bytes()) {
			t.Fatalf("read %x, wrote %x", read, w.Bytes())
		}
	})
}
