package artifact

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// What a list adds or moves and removes again is taken back, the last of several first, whatever stands in between: checked against
// the plain way, which looks through the list for every removal.
func TestPoolTakesBack(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		p, k := testPool()
		var own []ID
		for i := range 4 {
			a, err := NewArtifact(k.config(), []byte{byte(i)}, nil, Normal)
			require.NoError(r, err)
			own = append(own, a.ID)
		}
		for range rapid.IntRange(1, 4).Draw(r, "lists") {
			for i, id := range own {
				if rapid.Bool().Draw(r, "arrives") {
					p.Insert(Entry[[]byte]{ID: id, Attr: []byte{byte(i)}, Value: []byte{byte(i)}})
				}
			}
			var changes []Change[[]byte]
			for range rapid.IntRange(0, 30).Draw(r, "changes") {
				i := rapid.IntRange(0, 3).Draw(r, "artifact")
				switch rapid.IntRange(0, 3).Draw(r, "op") {
				case 0:
					changes = append(changes, Change[[]byte]{Op: AddToValidated, Value: []byte{byte(i)}})
				case 1:
					changes = append(changes, Change[[]byte]{Op: MoveToValidated, ID: own[i]})
				case 2:
					changes = append(changes, Change[[]byte]{Op: RemoveFromValidated, ID: own[i]})
				case 3:
					changes = append(changes, Change[[]byte]{Op: PurgeBelow, Purge: func(id ID, _ []byte) bool { return id == own[i] }})
				}
			}
			pending, valid := map[ID]bool{}, map[ID]bool{}
			for _, e := range p.Unvalidated() {
				pending[e.ID] = true
			}
			for _, e := range p.Snapshot() {
				valid[e.ID] = true
			}
			var want []Transmit
			abort := func(id ID) {
				if !valid[id] {
					return
				}
				delete(valid, id)
				for i := range want {
					if want[i].ID == id && want[i].Op == AddToValidated {
						want = append(want[:i], want[i+1:]...)
						return
					}
					if want[i].ID == id && want[i].Op == MoveToValidated {
						want[i].Op = RemoveFromUnvalidated
						return
					}
				}
				want = append(want, Transmit{Op: RemoveFromValidated, ID: id})
			}
			for _, c := range changes {
				switch c.Op {
				case AddToValidated:
					id := own[c.Value[0]]
					delete(pending, id)
					if !valid[id] {
						valid[id] = true
						want = append(want, Transmit{Op: c.Op, ID: id})
					}
				case MoveToValidated:
					if pending[c.ID] {
						delete(pending, c.ID)
						valid[c.ID] = true
						want = append(want, Transmit{Op: c.Op, ID: c.ID})
					}
				case RemoveFromValidated:
					abort(c.ID)
				case PurgeBelow:
					for _, id := range own {
						if c.Purge(id, nil) {
							if pending[id] {
								delete(pending, id)
								want = append(want, Transmit{Op: RemoveFromUnvalidated, ID: id})
							}
							abort(id)
						}
					}
				}
			}
			got, err := p.Apply(changes)
			require.NoError(r, err)
			require.Len(r, got, len(want))
			for i := range want {
				require.Equal(r, want[i].Op, got[i].Op, "%d of %v", i, got)
				require.Equal(r, want[i].ID, got[i].ID, "%d of %v", i, got)
			}
			require.Len(r, p.Snapshot(), len(valid))
			require.Len(r, p.Unvalidated(), len(pending))
		}
	})
}

// BenchmarkPurge: what it costs to purge one artifact, of few and of many that go at once. The two are about the same.
func BenchmarkPurge(b *testing.B) {
	for _, n := range []int{100, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				p, _ := testPool()
				for i := range n {
					e := Entry[[]byte]{ID: ID{byte(i), byte(i >> 8), byte(i >> 16)}}
					p.Insert(e)
					if i%2 == 0 {
						p.unvalidated.remove(e.ID)
						p.validated.put(e)
					}
				}
				b.StartTimer()
				var changes []Change[[]byte]
				for _, e := range p.Unvalidated() {
					changes = append(changes, Change[[]byte]{Op: MoveToValidated, ID: e.ID})
				}
				out, err := p.Apply(append(changes, Change[[]byte]{Op: PurgeBelow, Purge: func(ID, []byte) bool { return true }}))
				require.NoError(b, err)
				require.Len(b, out, n)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/artifact")
		})
	}
}
