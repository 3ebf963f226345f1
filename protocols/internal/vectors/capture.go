package vectors

import (
	"bufio"
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/hearthnet/hearth/internal/testdata"
	"github.com/hearthnet/hearth/protocols"
)

// Captured is one message of a captured conversation.
type Captured struct {
	Conn          int
	FromInitiator bool
	Protocol      uint16
	Bytes         []byte
}

// Captures returns all messages of a capture file (wire/*.jsonl) that belong to a mini-protocol, in the order of each sender.
func Captures(t testing.TB, file string, number uint16) []Captured {
	t.Helper()
	var all []Captured
	sc := bufio.NewScanner(bytes.NewReader(testdata.Read(t, "wire", file)))
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		var l struct {
			Conn     int
			From     string
			Protocol uint16
			CBOR     string
		}
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		if l.Protocol == number {
			all = append(all, Captured{l.Conn, l.From == "initiator", l.Protocol, Hex(l.CBOR)})
		}
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// Replay runs every captured conversation of a mini-protocol through table and codec: each message must be legal in the
// state the ones before it lead to, and decode there. It returns how many messages it saw; see may be nil.
func (c Codec[M]) Replay(t *testing.T, number uint16, see func(m M, c Captured)) int {
	t.Helper()
	files, err := filepath.Glob(testdata.Path(t, "wire", "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures: %v", err)
	}
	total := 0
	for _, f := range files {
		queues := map[int]*[2][]Captured{}
		conns := 0
		for _, m := range Captures(t, filepath.Base(f), number) {
			q := queues[m.Conn]
			if q == nil {
				q = new([2][]Captured)
				queues[m.Conn] = q
			}
			conns = max(conns, m.Conn+1)
			side := 0
			if !m.FromInitiator {
				side = 1
			}
			q[side] = append(q[side], m)
		}
		for conn := range conns {
			q := queues[conn]
			if q == nil {
				continue
			}
			st := c.Spec.Initial
			for {
				agency := c.Spec.States[st].Agency
				if agency == protocols.Nobody || len(q[agency-1]) == 0 {
					break
				}
				m := q[agency-1][0]
				q[agency-1] = q[agency-1][1:]
				row, err := c.Spec.Step(st, m.Bytes)
				if err != nil {
					t.Fatalf("%s: %x: %v", filepath.Base(f), m.Bytes, err)
				}
				got, err := c.Decode(st, m.Bytes)
				if err != nil {
					t.Fatalf("%s: %x in %s: %v", filepath.Base(f), m.Bytes, c.Spec.States[st].Name, err)
				}
				if see != nil {
					see(got, m)
				}
				st = row.To
				total++
			}
			if len(q[1]) > 0 || len(q[0]) > 0 && c.Spec.States[st].Agency != protocols.Server {
				t.Errorf("%s: connection %d stops in %s with messages left", filepath.Base(f), conn, c.Spec.States[st].Name)
			}
		}
	}
	if total == 0 {
		t.Errorf("no message of mini-protocol %d in any capture", number)
	}
	return total
}
