package artifact

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestVerdictsAreForgottenWhenTheyExpire: without anybody asking for them, also those of a peer that has left.
func TestVerdictsAreForgottenWhenTheyExpire(t *testing.T) {
	s := newSimNet(t, 5)
	s.cfg = oneKind
	a, b := s.addNode(), s.addNode()
	c := s.connect(a, b, time.Millisecond, 1e6)
	s.run(time.Second)
	for round := range 2 {
		var ids []ID
		for range 20 {
			ids = append(ids, a.publish(1, randomBody(s.rnd, 300, Normal)))
		}
		s.everywhere(s.now+10*time.Second, ids)
		for _, id := range ids { // what was delivered and is given up here is not to come again for a while
			b.core.Remove(s.now, id)
		}
		require.Len(t, b.core.con.checks.byID, 20)
		if round == 1 {
			c.cut()
		}
		s.run(s.now + checkLife - 2*time.Second)
		require.Len(t, b.core.con.checks.byID, 20)
		s.run(s.now + 4*time.Second)
		require.Empty(t, b.core.con.checks.byID)
	}
}
