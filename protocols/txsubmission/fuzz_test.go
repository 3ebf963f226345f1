package txsubmission

import (
	"bytes"
	"testing"

	"github.com/hearthnet/hearth/internal/cbor"
)

func FuzzDecode(f *testing.F) {
	codec.Seed(f, cases)
	f.Fuzz(codec.Fuzz)
}

// FuzzParse: an envelope that opens is put together again the same.
func FuzzParse(f *testing.F) {
	f.Add(tx)
	f.Add(goldenTx)
	f.Add(txID)
	f.Add([]byte{0x82, 0x00, 0x82, 0x00, 0x80})
	f.Fuzz(func(t *testing.T, item []byte) {
		if one, err := ParseTx(item); err == nil {
			sent := AppendTx(nil, one)
			again, err := ParseTx(sent)
			if err != nil || again.Era != one.Era || !bytes.Equal(again.Bytes, one.Bytes) || len(sent) != WireSize(one) {
				t.Fatalf("%x: %+v, then %+v, %v", item, one, again, err)
			}
			if cbor.Wellformed(one.Bytes) != nil {
				t.Fatalf("%x: %x is malformed", item, one.Bytes)
			}
		}
		if id, err := ParseTxID(item); err == nil {
			if again, err := ParseTxID(AppendTxID(nil, id)); err != nil || again != id {
				t.Fatalf("%x: %+v, then %+v, %v", item, id, again, err)
			}
		}
	})
}
