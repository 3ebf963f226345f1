package handshake

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// Who is not admitted gets no answer: the connection just ends.
func TestRespondIfAnswersOnlyWhomItAdmits(t *testing.T) {
	p := Proposal{Versions: []uint16{14, 15}, Data: Data{Magic: 42}}
	full := errors.New("full")
	for _, refusal := range []error{nil, full} {
		a, b := net.Pipe()
		answer := make(chan error, 1)
		go func() {
			_, err := Initiate(context.Background(), a, p)
			answer <- err
		}()
		asked := 0
		neg, err := RespondIf(context.Background(), b, p, func(r Reply) error {
			asked++
			require.EqualValues(t, 15, r.Negotiated.Version)
			return refusal
		})
		require.Equal(t, 1, asked)
		require.Equal(t, refusal, err)
		if refusal == nil {
			require.NoError(t, <-answer)
			require.EqualValues(t, 15, neg.Version)
			b.Close()
		} else {
			b.Close()
			require.ErrorIs(t, <-answer, io.EOF)
		}
		a.Close()
	}
}
