package cbor

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMessageHeads(t *testing.T) {
	msg := AppendBool(AppendMessage(nil, 2, 3), true)
	require.Equal(t, unhex(t, "8203f5"), msg)
	r := OpenMessage(msg, 2, 3)
	require.True(t, r.Bool())
	require.NoError(t, r.Done())
	for _, c := range []struct {
		hex string
		err error
	}{{"8204f5", ErrTag}, {"830300f5", ErrLength}, {"9f03f5ff", ErrIndefinite}, {"8220f5", ErrType}, {"82", ErrTruncated}, {"", ErrTruncated}, {"03", ErrType}} {
		r := OpenMessage(unhex(t, c.hex), 2, 3)
		require.ErrorIs(t, r.Err(), c.err, c.hex)
	}
	require.True(t, BoolField(2, true)(msg))
	require.False(t, BoolField(2, false)(msg))
	require.False(t, BoolField(3, true)(msg))
	require.False(t, BoolField(2, false)(unhex(t, "820300")))
	require.False(t, BoolField(2, false)(nil))
}
