package objectdiffusion

import "testing"

func FuzzDecode(f *testing.F) {
	codec.Seed(f, cases)
	f.Fuzz(codec.Fuzz)
}
