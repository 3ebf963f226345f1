package interop

import (
	"fmt"
	"net"
	"slices"
	"sync"

	ouroboros "github.com/blinklabs-io/gouroboros"
	gpeersharing "github.com/blinklabs-io/gouroboros/protocol/peersharing"
	gtxs "github.com/blinklabs-io/gouroboros/protocol/txsubmission"
	"golang.org/x/crypto/blake2b"

	"github.com/hearthnet/hearth/protocols/txsubmission"
)

// conway is the era index of transactions.
const conway = 6

// payment is transaction i: the shape of one, `[body, witnesses, valid, auxiliary data]`, with the id that nodes give it.
func payment(i uint32) (id [32]byte, raw []byte) {
	body := []byte{0xa1, 2, 0x1a, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}
	return blake2b.Sum256(body), append(append([]byte{0x84}, body...), 0xa0, 0xf5, 0xf6)
}

// offers are what a gouroboros client has to offer; more come while it runs. It notes what it is asked for.
type offers struct {
	mu          sync.Mutex
	ids         [][32]byte
	bodies      map[[32]byte][]byte
	told        int // of ids
	outstanding int
	asked       map[[32]byte]int
	wrong       []string
	more        chan struct{} // closed when there is more
	over        chan struct{} // closed at the end: a request that waits keeps its mini-protocol from ending
}

func newOffers() *offers {
	return &offers{bodies: map[[32]byte][]byte{}, asked: map[[32]byte]int{}, more: make(chan struct{}), over: make(chan struct{})}
}

func (o *offers) add(id [32]byte, raw []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ids, o.bodies[id] = append(o.ids, id), raw
	close(o.more)
	o.more = make(chan struct{})
}

// requestIDs answers with what has not been told; a blocking request waits until there is something.
func (o *offers) requestIDs(_ gtxs.CallbackContext, blocking bool, ack, req uint16) (out []gtxs.TxIdAndSize, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.outstanding -= int(ack)
	if o.outstanding < 0 || o.outstanding+int(req) > txsubmission.Window || blocking != (o.outstanding == 0) {
		o.wrong = append(o.wrong, fmt.Sprintf("blocking %v, acknowledges %d and asks for %d with %d outstanding", blocking, ack, req, o.outstanding+int(ack)))
	}
	for blocking && o.told == len(o.ids) {
		more := o.more
		o.mu.Unlock()
		select {
		case <-more:
		case <-o.over:
			o.mu.Lock()
			return nil, gtxs.ErrStopServerProcess
		}
		o.mu.Lock()
	}
	for ; o.told < len(o.ids) && len(out) < int(req); o.told++ {
		id := o.ids[o.told]
		out = append(out, gtxs.TxIdAndSize{TxId: gtxs.TxId{EraId: conway, TxId: id},
			Size: uint32(txsubmission.WireSize(txsubmission.Tx{Era: conway, Bytes: o.bodies[id]}))})
	}
	o.outstanding += len(out)
	return out, nil
}

func (o *offers) requestTxs(_ gtxs.CallbackContext, ids []gtxs.TxId) (out []gtxs.TxBody, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range ids {
		o.asked[id.TxId]++
		if raw := o.bodies[id.TxId]; raw != nil {
			out = append(out, gtxs.TxBody{EraId: id.EraId, TxBody: raw})
		}
	}
	return out, nil
}

// taken is what a gouroboros server has been given, and how often on each connection: peers that the relay has told of it connect to it,
// too.
type taken struct {
	mu    sync.Mutex
	times map[[32]byte]map[string]int // by the other end's address
	wrong []string
}

// init asks for everything, one answer after the other, which is all its server can: it acknowledges the whole answer before.
func (k *taken) init(ctx gtxs.CallbackContext) error {
	go func() {
		for {
			ids, err := ctx.Server.RequestTxIds(true, 10)
			if err != nil {
				return // Done, or the end of the connection
			}
			var want []gtxs.TxId
			for _, id := range ids {
				want = append(want, id.TxId)
			}
			bodies, err := ctx.Server.RequestTxs(want)
			if err != nil {
				return
			}
			k.take(ctx.ConnectionId.RemoteAddr.String(), ids, bodies)
		}
	}()
	return nil
}

func (k *taken) take(from string, ids []gtxs.TxIdAndSize, bodies []gtxs.TxBody) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(bodies) != len(ids) {
		k.wrong = append(k.wrong, fmt.Sprintf("%d transactions for %d ids", len(bodies), len(ids)))
		return
	}
	for i, b := range bodies {
		raw := b.TxBody
		id := blake2b.Sum256(raw[1 : len(raw)-3])
		if id != ids[i].TxId.TxId || int(ids[i].Size) != txsubmission.WireSize(txsubmission.Tx{Era: conway, Bytes: raw}) {
			k.wrong = append(k.wrong, fmt.Sprintf("%x for %x of %d bytes", raw, ids[i].TxId.TxId, ids[i].Size))
		}
		if k.times[id] == nil {
			k.times[id] = map[string]int{}
		}
		k.times[id][from]++
	}
}

// client are the options of a gouroboros client that offers transactions and may ask for peers.
func (o *offers) client() []ouroboros.ConnectionOptionFunc {
	return []ouroboros.ConnectionOptionFunc{
		ouroboros.WithPeerSharing(true),
		ouroboros.WithTxSubmissionConfig(gtxs.NewConfig(gtxs.WithRequestTxIdsFunc(o.requestIDs), gtxs.WithRequestTxsFunc(o.requestTxs))),
	}
}

// server are those of a gouroboros server that takes transactions and names peers.
func (k *taken) server(share func() []net.TCPAddr) []ouroboros.ConnectionOptionFunc {
	return []ouroboros.ConnectionOptionFunc{
		ouroboros.WithPeerSharing(true),
		ouroboros.WithPeerSharingConfig(gpeersharing.NewConfig(gpeersharing.WithShareRequestFunc(
			func(_ gpeersharing.CallbackContext, amount int) (out []gpeersharing.PeerAddress, err error) {
				for _, a := range share() {
					out = append(out, gpeersharing.PeerAddress{IP: slices.Clone(a.IP.To4()), Port: uint16(a.Port)})
				}
				return out[:min(len(out), amount)], nil
			}))),
		ouroboros.WithTxSubmissionConfig(gtxs.NewConfig(gtxs.WithInitFunc(k.init),
			// After Done its server starts anew while the old run still reads the same fields: a data race of its own. This ends the
			// connection instead.
			gtxs.WithDoneFunc(func(gtxs.CallbackContext) error { return gtxs.ErrStopServerProcess }))),
	}
}
