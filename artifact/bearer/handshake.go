package bearer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/mux"
)

// handshakeLimit is the time a handshake may take at each end; refuseLinger how long a refused peer has to read the answer.
const (
	handshakeLimit = 10 * time.Second
	refuseLinger   = 2 * time.Second
)

// answer decides about a proposal: the reply to send, and the version data of the peer when it is an accept. admit, if not nil,
// may refuse a peer whose data is right; the text of a *RefusalError is sent.
func answer(own artifact.VersionData, msg []byte, admit func(artifact.VersionData) *RefusalError) (reply []byte, peer artifact.VersionData, err error) {
	m, err := decode(msg)
	if err == nil && m.tag != tagPropose {
		err = errTag
	}
	if err != nil {
		return nil, peer, &HandshakeError{err}
	}
	refuse := func(e *RefusalError) ([]byte, artifact.VersionData, error) {
		return appendRefuse(nil, e), artifact.VersionData{}, e
	}
	if m.data == nil {
		return refuse(&RefusalError{Reason: NoCommonVersion, Versions: []uint64{uint64(artifact.Version)}})
	}
	peer, err = artifact.DecodeVersionData(m.data)
	if err != nil {
		return refuse(&RefusalError{Reason: Undecodable, Version: m.version, Text: "version data"})
	}
	if text := unfit(own, peer); text != "" {
		return refuse(&RefusalError{Reason: Refused, Version: m.version, Text: text})
	}
	peer.Features &= artifact.FeatureBulk // the bits above are ignored
	if admit != nil {
		if e := admit(peer); e != nil {
			e.Reason, e.Version = Refused, m.version
			return refuse(e)
		}
	}
	own.Features = peer.Features
	return appendAccept(nil, own), peer, nil
}

// unfit says why two nodes cannot be peers.
func unfit(own, peer artifact.VersionData) string {
	switch {
	case own.Network != peer.Network:
		return "network"
	case own.NodeID == peer.NodeID:
		return "self"
	}
	return ""
}

// confirm judges the answer to our proposal. A proposal in its place is a simultaneous open (wire §4.8): both ends decide by
// themselves, and the smaller nodeId counts as the dialler.
func confirm(own artifact.VersionData, msg []byte) (peer artifact.VersionData, dialler bool, err error) {
	m, err := decode(msg)
	if err != nil {
		return peer, false, &HandshakeError{err}
	}
	switch m.tag {
	case tagRefuse:
		return peer, false, &m.refusal
	case tagPropose:
		if own.Features&artifact.FeatureBulk != 0 {
			return peer, false, &HandshakeError{errors.New("simultaneous open of a bulk bearer")}
		}
		if _, peer, err = answer(own, msg, nil); err == nil && peer.Features != own.Features {
			err = &HandshakeError{errors.New("the two ends want different bearers")}
		}
		return peer, bytes.Compare(own.NodeID[:], peer.NodeID[:]) < 0, err
	}
	if m.version != uint64(artifact.Version) {
		return peer, false, &HandshakeError{fmt.Errorf("accepted version %d, which was not proposed", m.version)}
	}
	if peer, err = artifact.DecodeVersionData(m.data); err != nil {
		return peer, false, &HandshakeError{err}
	}
	if peer.Features&artifact.FeatureBulk != own.Features&artifact.FeatureBulk {
		return peer, false, &HandshakeError{errors.New("accepted as another sort of bearer than proposed")}
	}
	if text := unfit(own, peer); text == "self" {
		return peer, false, artifact.ErrSelf
	} else if text != "" {
		return peer, false, &RefusalError{Reason: Refused, Version: m.version, Text: text}
	}
	return peer, true, nil
}

// propose runs the dialler's side on a fresh connection and reads nothing beyond it.
func propose(ctx context.Context, conn net.Conn, own artifact.VersionData) (peer artifact.VersionData, dialler bool, err error) {
	err = within(ctx, conn, handshakeLimit, func() error {
		if err := writeMessage(conn, mux.Initiator, appendPropose(nil, own)); err != nil {
			return err
		}
		msg, err := readMessage(conn, true)
		if err == nil {
			peer, dialler, err = confirm(own, msg)
		}
		return err
	})
	return peer, dialler, err
}

// respond runs the acceptor's side. A refusal is delivered before it returns.
func respond(ctx context.Context, conn net.Conn, own artifact.VersionData, admit func(artifact.VersionData) *RefusalError) (peer artifact.VersionData, err error) {
	var refusal *RefusalError
	err = within(ctx, conn, handshakeLimit, func() error {
		msg, err := readMessage(conn, false)
		if err != nil {
			return err
		}
		var reply []byte
		reply, peer, err = answer(own, msg, admit)
		if err != nil && !errors.As(err, &refusal) {
			return err
		}
		return writeMessage(conn, mux.Responder, reply)
	})
	if err == nil && refusal != nil {
		linger(ctx, conn)
		return peer, refusal
	}
	return peer, err
}

// within runs f with a deadline on conn and takes the deadline away again; when ctx ends, f's I/O fails at once.
func within(ctx context.Context, conn net.Conn, limit time.Duration, f func() error) error {
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err := f()
	if !stop() {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

func writeMessage(conn net.Conn, from mux.Role, msg []byte) error {
	return mux.WriteSDU(conn, mux.Header{Time: mux.Timestamp(), From: from}, msg)
}

// readMessage reads one message of mini-protocol 0. The dialler accepts both direction bits: its answer may be another dialler's.
func readMessage(conn net.Conn, dialler bool) ([]byte, error) {
	var msg []byte
	var scan cbor.Scanner
	for {
		h, payload, err := mux.ReadSDU(conn, MaxMessage-len(msg))
		switch {
		case err != nil:
			return nil, err
		case h.Number != 0 || !dialler && h.From != mux.Initiator:
			return nil, &HandshakeError{fmt.Errorf("an SDU of mini-protocol %#x, %v, before its end", h.Number, h.From)}
		}
		msg = append(msg, payload...)
		n, done, err := scan.Next(msg)
		switch {
		case err != nil:
			return nil, &HandshakeError{err}
		case done && n < len(msg):
			return nil, &HandshakeError{fmt.Errorf("%d bytes after the message", len(msg)-n)}
		case done:
			return msg, nil
		case len(msg) >= MaxMessage:
			return nil, &HandshakeError{fmt.Errorf("a message of more than %d bytes", MaxMessage)}
		}
	}
}

// linger gives the other end time to read the last word, throwing away what it still sends.
func linger(ctx context.Context, conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() != nil {
		return
	}
	_ = within(ctx, conn, refuseLinger, func() error { // however it ends, the connection is over
		_, err := io.Copy(io.Discard, io.LimitReader(conn, 64<<10))
		return err
	})
}
