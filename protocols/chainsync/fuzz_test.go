package chainsync

import "testing"

func FuzzDecode(f *testing.F) {
	codec.Seed(f, cases)
	f.Fuzz(codec.Fuzz)
}

// FuzzParse: an envelope that opens is put together again the same, heads that are too long apart.
func FuzzParse(f *testing.F) {
	for _, c := range cases {
		if m, ok := c.Want.(MsgRollForward); ok {
			f.Add(m.Payload)
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if h, err := ParseHeader(payload); err == nil {
			again, err := ParseHeader(AppendHeader(nil, h))
			if err != nil || again.Era != h.Era || again.Size != h.Size || again.Boundary != h.Boundary || string(again.Bytes) != string(h.Bytes) {
				t.Fatalf("%+v, then %+v, %v", h, again, err)
			}
		}
		if block, err := ParseBlock(payload); err == nil {
			if again, err := ParseBlock(AppendBlock(nil, block)); err != nil || string(again) != string(block) {
				t.Fatalf("%x, then %x, %v", block, again, err)
			}
		}
	})
}
