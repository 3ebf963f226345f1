package diffusion

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const window = 10

func boxOf(n int) *outbox {
	o := &outbox{window: window}
	for i := range n {
		o.announce([]byte{byte(i)})
	}
	return o
}

// TestRulesOfAsking: every rule of wire §8 that the asking side can break, at its edge.
func TestRulesOfAsking(t *testing.T) {
	for _, c := range []struct {
		name        string
		outstanding int
		blocking    bool
		ack, req    uint16
		want        error
	}{
		{"first request", 0, true, 0, 3, nil},
		{"whole window at once", 0, true, 0, 10, nil},
		{"N11: window exceeded", 0, true, 0, 11, ErrRequestedTooMany},
		{"N9: blocking with nothing", 0, true, 0, 0, ErrRequestedNothing},
		{"N10: must be blocking", 0, false, 0, 1, ErrShouldBlock},
		{"over-acknowledged", 2, false, 3, 1, ErrAckedTooMany},
		{"acknowledges all, blocking", 4, true, 4, 6, nil},
		{"acknowledges all, non-blocking", 4, false, 4, 6, ErrShouldBlock},
		{"leaves some, blocking", 4, true, 3, 6, ErrShouldNotBlock},
		{"leaves some, non-blocking", 4, false, 3, 9, nil},
		{"window counts what is left", 4, false, 3, 10, ErrRequestedTooMany},
		{"acknowledges only", 4, false, 1, 0, nil},
		{"asks only", 4, false, 0, 6, nil},
		{"neither", 4, false, 0, 0, ErrRequestedNothing},
		{"huge numbers do not wrap", 4, false, 65535, 65535, ErrAckedTooMany},
		{"huge sum does not wrap", 4, false, 1, 65535, ErrRequestedTooMany},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := boxOf(c.outstanding)
			err := o.acknowledge(c.blocking, c.ack, c.req)
			require.ErrorIs(t, err, c.want)
			if c.want == nil {
				require.Len(t, o.fifo, c.outstanding-int(c.ack))
			} else {
				require.Len(t, o.fifo, c.outstanding, "a refused request changes nothing")
			}
		})
	}
}

func TestRequestsForTransactions(t *testing.T) {
	o := boxOf(3)
	require.NoError(t, o.request([][]byte{{0}, {2}}))
	require.ErrorIs(t, o.request([][]byte{{0}}), ErrRequestedTwice, "still outstanding")
	require.ErrorIs(t, o.request([][]byte{{7}}), ErrUnavailable)
	require.NoError(t, o.request(nil), "an empty request is legal")
	require.NoError(t, o.request([][]byte{{1}}))
	require.NoError(t, o.acknowledge(true, 3, 1))
	require.ErrorIs(t, o.request([][]byte{{1}}), ErrUnavailable, "acknowledged")
	o.announce([]byte{9})
	o.announce([]byte{9}) // announced twice: two places
	require.NoError(t, o.request([][]byte{{9}, {9}}))
	require.ErrorIs(t, o.request([][]byte{{9}}), ErrRequestedTwice)
}

// TestAcknowledgementArithmetic: whatever is asked, the queue is what a model says and never above the window.
func TestAcknowledgementArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := &outbox{window: window}
		model, next := []byte{}, byte(0)
		t.Repeat(map[string]func(*rapid.T){
			"ids": func(t *rapid.T) {
				blocking := rapid.Bool().Draw(t, "blocking")
				ack := rapid.Uint16Range(0, 12).Draw(t, "ack")
				req := rapid.Uint16Range(0, 12).Draw(t, "req")
				left := len(model) - int(ack)
				legal := left >= 0 && left+int(req) <= window && (blocking == (left == 0)) && (req > 0 || !blocking && ack > 0)
				if err := o.acknowledge(blocking, ack, req); (err == nil) != legal {
					t.Fatalf("%d outstanding, blocking %v, ack %d, req %d: %v", len(model), blocking, ack, req, err)
				}
				if !legal {
					return
				}
				model = model[ack:]
				for range rapid.Uint16Range(0, req).Draw(t, "reply") {
					o.announce([]byte{next})
					model = append(model, next)
					next++
				}
			},
			"": func(t *rapid.T) {
				if len(o.fifo) != len(model) || len(model) > window {
					t.Fatalf("%d places, model %d", len(o.fifo), len(model))
				}
				for i, a := range o.fifo {
					if a.id != string(model[i]) {
						t.Fatalf("place %d is %x, model %x", i, a.id, model[i])
					}
				}
			},
		})
	})
}
