package localtxsubmission

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/hearthnet/hearth/internal/cbor"
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

// Acceptor takes transactions from local clients. Submit gets a transaction in its envelope [era index, #24(bytes)], valid until it
// returns. An error that is or wraps a [*Rejection] is sent to the client with its reason; any other ends the connection.
type Acceptor interface {
	Submit(ctx context.Context, tx []byte) error
}

// Rejection says that a transaction was refused. Reason is one CBOR item of the ledger's (wire §12.2).
type Rejection struct{ Reason []byte }

// Error shows the reason in hexadecimal digits: it is for the ledger to read.
func (r *Rejection) Error() string {
	return fmt.Sprintf("local-tx-submission: rejected, reason (CBOR) %x", r.Reason)
}

// Fault says that no rule of the network was broken.
func (r *Rejection) Fault() string { return "benign" }

// Responder returns a mini-protocol that hands what local clients submit to a.
func Responder(a Acceptor) *protocols.MiniProtocol {
	mp := define()
	mp.Respond = func(ctx context.Context, s *protocols.Session) error {
		var buf []byte
		for {
			m, err := s.Recv(ctx)
			if err != nil || m.Tag == TagDone {
				return err
			}
			tx, err := DecodeSubmitTx(m.Raw)
			if err != nil {
				return s.Fail(err)
			}
			buf = AppendAcceptTx(buf[:0])
			if err := a.Submit(ctx, tx); err != nil {
				var rejected *Rejection
				if !errors.As(err, &rejected) {
					return err
				}
				if bad := cbor.Wellformed(rejected.Reason); bad != nil {
					return fmt.Errorf("local-tx-submission: a reason that is no CBOR item: %w", bad)
				}
				buf = AppendRejectTx(buf[:0], rejected.Reason)
			}
			if err := s.Send(ctx, buf); err != nil {
				return err
			}
		}
	}
	return mp
}

// Client submits transactions to a local node. Not for concurrent use.
type Client struct{ c *protocols.Caller }

// NewClient returns a client on a node-to-client connection. It opens the stream when it is first used.
func NewClient(o protocols.Opener) *Client { return &Client{protocols.NewCaller(o, define())} }

// Submit submits a transaction in its envelope (txsubmission.AppendTx makes it). nil means that it is in the node's mempool; a
// [*Rejection] that the node refused it.
func (c *Client) Submit(ctx context.Context, tx []byte) error {
	m, err := c.c.Call(ctx, AppendSubmitTx(nil, tx))
	if err != nil || m.Tag == TagAcceptTx {
		return err
	}
	reason, err := DecodeRejectTx(m.Raw)
	if err != nil {
		return c.c.Opened().Fail(err)
	}
	return &Rejection{bytes.Clone(reason)}
}

// Finish says Done and gives the stream back.
func (c *Client) Finish(ctx context.Context) error { return c.c.End(ctx, AppendDone(nil)) }
