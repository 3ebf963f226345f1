package txsubmission

import (
	"fmt"

	"github.com/hearthnet/hearth/protocols/internal/diffusion"
)

// MaxTx is the largest transaction, as it is sent, that is offered or asked for: what the limits of the mini-protocol assume
// (wire §8).
const MaxTx = 65_540

// dialect is how tx-submission says what it has in common with object diffusion.
var dialect = diffusion.Dialect{
	Window: Window, MaxItem: MaxTx, Batch: 2 * MaxTx, Sized: true,
	Init: AppendInit(nil), Done: AppendDone(nil), TagRequestIDs: TagRequestTxIDs, TagDone: TagDone,
	AppendRequestIDs: AppendRequestTxIDs,
	AppendReplyIDs: func(dst []byte, ids []diffusion.Announced) []byte {
		out := make([]IDAndSize, len(ids))
		for i, a := range ids {
			out[i] = IDAndSize{a.ID, uint32(a.Size)}
		}
		return AppendReplyTxIDs(dst, out)
	},
	AppendRequestItems: AppendRequestTxs, AppendReplyItems: AppendReplyTxs,
	DecodeRequestIDs: DecodeRequestTxIDs,
	DecodeReplyIDs: func(msg []byte, limit int, blocking bool) ([]diffusion.Announced, error) {
		ids, err := DecodeReplyTxIDs(nil, msg, limit, blocking)
		out := make([]diffusion.Announced, len(ids))
		for i, a := range ids {
			if _, err := ParseTxID(a.ID); err != nil { // an id of another kind could be of any length
				return nil, fmt.Errorf("id %d: %w", i, err)
			}
			out[i] = diffusion.Announced{ID: a.ID, Size: int(a.Size)}
		}
		return out, err
	},
	DecodeRequestItems: DecodeRequestTxs, DecodeReplyItems: DecodeReplyTxs,
}
