package localtxmonitor

import (
	"context"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
)

// Limits on memory; the reference has none (wire §2.6).
const (
	serverBytes = 4 << 20
	clientBytes = 256 << 20
)

func define() *protocols.MiniProtocol {
	return &protocols.MiniProtocol{
		Spec: Spec(), Number: Number, Bundle: protocols.Hot, Start: mux.OnDemand,
		Ingress: [2]int{clientBytes, serverBytes},
		Enabled: func(n protocols.Negotiated) bool { return n.NodeToClient },
	}
}

// Mempool is what can be looked at.
type Mempool interface {
	// Snapshot returns the mempool as it is now.
	Snapshot() Snapshot
}

// Snapshot is a mempool at one moment. It is used by one goroutine.
type Snapshot interface {
	// Slot returns the slot of the virtual block that is being built.
	Slot() uint64
	// Tx returns transaction i in its envelope; false when there are not so many.
	Tx(i int) ([]byte, bool)
	// Has reports whether the transaction with an id in its envelope [era index, hash] is in it.
	Has(id []byte) bool
	// Sizes returns its capacity and content.
	Sizes() Sizes
	// Measures returns how many transactions there are and its dimensions, in ascending order of names.
	Measures() (count uint32, measures []Measure)
	// Wait returns when the mempool differs from this snapshot, in its transactions or its slot, or with an error when ctx ends.
	Wait(ctx context.Context) error
}

// Responder returns a mini-protocol that shows p to local clients.
func Responder(p Mempool) *protocols.MiniProtocol {
	mp := define()
	mp.Respond = func(ctx context.Context, s *protocols.Session) error {
		var held Snapshot
		var buf []byte
		for next := 0; ; {
			m, err := s.Recv(ctx)
			if err != nil || m.To == StateDone {
				return err
			}
			switch m.To {
			case StateIdle:
				held = nil
				continue
			case StateAcquiring:
				if held != nil {
					if err := held.Wait(ctx); err != nil {
						return err
					}
				}
				held, next = p.Snapshot(), 0
				buf = AppendAcquired(buf[:0], held.Slot())
			case StateNextTx:
				tx, ok := held.Tx(next)
				if ok {
					next++
				} else {
					tx = nil
				}
				buf = AppendReplyNextTx(buf[:0], tx)
			case StateHasTx:
				id, err := DecodeHasTx(m.Raw)
				if err != nil {
					return s.Fail(err)
				}
				buf = AppendReplyHasTx(buf[:0], held.Has(id))
			case StateGetSizes:
				buf = AppendReplyGetSizes(buf[:0], held.Sizes())
			case StateGetMeasures:
				count, measures := held.Measures()
				buf = AppendReplyGetMeasures(buf[:0], count, measures)
			}
			if err := s.Send(ctx, buf); err != nil {
				return err
			}
		}
	}
	return mp
}

// Client looks at a local node's mempool. Not for concurrent use.
type Client struct {
	c       *protocols.Caller
	version uint16
}

// NewClient returns a client on a node-to-client connection. It opens the stream when it is first used.
func NewClient(o protocols.Opener) *Client {
	return &Client{protocols.NewCaller(o, define()), o.Negotiated().Version}
}

// call sends a request and has the answer read by decode.
func (c *Client) call(ctx context.Context, request []byte, decode func(msg []byte) error) error {
	m, err := c.c.Call(ctx, request)
	if err != nil {
		return err
	}
	if err := decode(m.Raw); err != nil {
		return c.c.Opened().Fail(err)
	}
	return nil
}

// Acquire takes a snapshot of the mempool and returns the slot it is for. With a snapshot held, it waits for the mempool to differ
// from that one first, for as long as ctx lets it.
func (c *Client) Acquire(ctx context.Context) (slot uint64, err error) {
	err = c.call(ctx, AppendAcquire(nil), func(msg []byte) (err error) {
		slot, err = DecodeAcquired(msg)
		return err
	})
	return slot, err
}

// NextTx returns the next transaction of the snapshot in its envelope, valid until the next call; nil after the last.
func (c *Client) NextTx(ctx context.Context) (tx []byte, err error) {
	err = c.call(ctx, AppendNextTx(nil), func(msg []byte) (err error) {
		tx, err = DecodeReplyNextTx(msg)
		return err
	})
	return tx, err
}

// HasTx asks whether the transaction with an id in its envelope is in the snapshot.
func (c *Client) HasTx(ctx context.Context, id []byte) (has bool, err error) {
	err = c.call(ctx, AppendHasTx(nil, id), func(msg []byte) (err error) {
		has, err = DecodeReplyHasTx(msg)
		return err
	})
	return has, err
}

// Sizes returns the capacity and the content of the snapshot.
func (c *Client) Sizes(ctx context.Context) (sizes Sizes, err error) {
	err = c.call(ctx, AppendGetSizes(nil), func(msg []byte) (err error) {
		sizes, err = DecodeReplyGetSizes(msg)
		return err
	})
	return sizes, err
}

// Measures returns the number of transactions and the dimensions of the snapshot. Nodes below version [MeasuresVersion] do not
// know the question: it is not sent to them, the error is a [*protocols.Error] of kind Unsupported.
func (c *Client) Measures(ctx context.Context) (count uint32, measures []Measure, err error) {
	if c.version < MeasuresVersion {
		return 0, nil, &protocols.Error{Kind: protocols.Unsupported, Protocol: spec.Name, Number: Number, Role: mux.Initiator, State: spec.States[StateAcquired].Name, Local: true}
	}
	err = c.call(ctx, AppendGetMeasures(nil), func(msg []byte) (err error) {
		count, measures, err = DecodeReplyGetMeasures(msg)
		return err
	})
	return count, measures, err
}

// Release gives up the snapshot.
func (c *Client) Release(ctx context.Context) error { return c.c.Tell(ctx, AppendRelease(nil)) }

// Finish releases what is held, says Done and gives the stream back.
func (c *Client) Finish(ctx context.Context) error {
	if s := c.c.Opened(); s != nil && s.State() == StateAcquired {
		if err := c.Release(ctx); err != nil {
			return err
		}
	}
	return c.c.End(ctx, AppendDone(nil))
}
