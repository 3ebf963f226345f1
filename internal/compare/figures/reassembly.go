package figures

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	gmuxer "github.com/blinklabs-io/gouroboros/muxer"
	gprotocol "github.com/blinklabs-io/gouroboros/protocol"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
)

// crumb is the payload of each SDU of a peer that sends a message in crumbs, crumbNumber the mini-protocol's number.
const (
	crumb       = 16
	crumbNumber = 77
)

// Reassembly is one message of many small items that comes in SDUs of 16 bytes, for a mini-protocol of the host's own: what a peer
// can make anybody work for its bytes.
func Reassembly(size int) Row {
	return Row{
		Name: fmt.Sprintf("one message of %d kB in SDUs of %d B", size/1000, crumb), Unit: "messages/s", Scale: 1, Least: 1, Most: 1,
		Subjects: []Subject{{"gouroboros", crumbs(size, theirCrumbs)}, {"hearth", crumbs(size, ourCrumbs)}},
	}
}

// crumbs writes the message to a client, all SDUs at once.
func crumbs(size int, client func(m *Meter, conn net.Conn, size int) error) func(*Meter, int) error {
	message := cbor.AppendUint(cbor.AppendArray(nil, 2), 0)
	message = cbor.AppendArray(message, size)
	for range size {
		message = append(message, 1)
	}
	var wire []byte
	for rest := message; len(rest) > 0; {
		n := min(crumb, len(rest))
		var head [mux.HeaderSize]byte
		mux.Header{Number: crumbNumber, From: mux.Responder, Length: uint16(n)}.Put(head[:])
		wire = append(append(wire, head[:]...), rest[:n]...)
		rest = rest[n:]
	}
	return func(m *Meter, _ int) error {
		near, far, err := tcpPair()
		if err != nil {
			return err
		}
		defer far.Close()
		written := make(chan error, 1)
		go func() {
			_, err := far.Write(wire)
			written <- err
		}()
		return errors.Join(client(m, near, len(message)), <-written)
	}
}

func ourCrumbs(m *Meter, conn net.Conn, size int) error {
	mp := &protocols.MiniProtocol{
		Number: crumbNumber, Ingress: [2]int{1 << 20, 1 << 20},
		Spec: &protocols.Spec{
			Name:        "crumbs",
			States:      []protocols.StateSpec{{Name: "Wait", Agency: protocols.Server, Timeout: protocols.Within(time.Minute)}, {Name: "Done"}},
			Transitions: []protocols.Transition{{Message: "Crumbs", Tag: 0, Len: 2, From: 0, To: 1}},
		},
	}
	x := mux.New(conn, mux.Config{})
	defer func() { x.Abort(nil); x.Close() }()
	stream, err := x.Register(mux.StreamConfig{Number: crumbNumber, Role: mux.Initiator, IngressLimit: mp.Ingress[0]})
	if err != nil {
		return err
	}
	s := protocols.NewSession(mp, stream, protocols.Negotiated{}, nil)
	m.Start()
	x.Start()
	msg, err := s.Recv(context.Background())
	m.Stop()
	if err != nil {
		return err
	}
	if len(msg.Raw) != size {
		return errors.New("not the message")
	}
	s.End()
	return nil
}

func theirCrumbs(m *Meter, conn net.Conn, size int) error {
	wait, done := gprotocol.NewState(1, "Wait"), gprotocol.NewState(2, "Done")
	got := make(chan int, 1)
	failed := make(chan error, 10)
	x := gmuxer.New(conn)
	defer x.Stop()
	x.SetDiffusionMode(gmuxer.DiffusionModeInitiator)
	p := gprotocol.New(gprotocol.ProtocolConfig{
		Name: "crumbs", ProtocolId: crumbNumber, Muxer: x, ErrorChan: failed,
		Mode: gprotocol.ProtocolModeNodeToNode, Role: gprotocol.ProtocolRoleClient, InitialState: wait,
		StateMap: gprotocol.StateMap{
			wait: {Agency: gprotocol.AgencyServer, Timeout: time.Minute, Transitions: []gprotocol.StateTransition{{MsgType: 0, NewState: done}}},
			done: {Agency: gprotocol.AgencyNone},
		},
		MessageFromCborFunc: func(_ uint, data []byte) (gprotocol.Message, error) {
			got <- len(data)
			msg := &gprotocol.MessageBase{}
			msg.SetCbor(append([]byte(nil), data...))
			return msg, nil
		},
		MessageHandlerFunc: func(gprotocol.Message) error { return nil },
	})
	m.Start()
	p.Start()
	x.Start()
	defer p.Stop()
	select {
	case n := <-got:
		m.Stop()
		if n != size {
			return errors.New("not the message")
		}
		return nil
	case err := <-failed:
		return err
	case err := <-x.ErrorChan():
		return err
	}
}
