package connmgr

import (
	"errors"
	"log/slog"
	"net"
	"runtime/debug"

	"github.com/hearthnet/hearth/protocols"
)

// A panic in a function of the host ends the connection that it was called for, with a [*protocols.PanicError], and is logged with its
// stack; nothing else notices.

// guard calls a function of the host and returns its panic, if that is how it ends.
func guard(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &protocols.PanicError{Value: r, Stack: debug.Stack()}
		}
	}()
	f()
	return nil
}

// logged marks an error whose panic is in the log already.
type logged struct{ error }

func (e *logged) Unwrap() error { return e.error }

// logPanic writes to the log what an error has of a panic that is not there yet, and tells whether it has. The log is the host's, too.
func logPanic(log *slog.Logger, remote any, err error) bool {
	var p *protocols.PanicError
	var done *logged
	if !errors.As(err, &p) || errors.As(err, &done) {
		return false
	}
	if log == nil {
		log = slog.Default()
	}
	_ = guard(func() {
		log.Error("connmgr: a function of the host panicked, its connection is over", "remote", remote, "error", err, "stack", string(p.Stack))
	})
	return true
}

// observe tells the host something about a record, 0 for none. A panic costs the record's connection.
func (m *Manager) observe(rec RecordID, tell func()) {
	err := guard(tell)
	if err == nil {
		return
	}
	m.lock()
	defer m.unlock()
	r := m.core.records[rec]
	if r == nil {
		m.panicked(nil, err)
		return
	}
	m.panicked(r.conn.Remote, err)
	for _, id := range [...]sockID{r.out, r.in} {
		if s := m.sockets[id]; s != nil && !s.over {
			m.closeSocket(s, fxCloseReset, &logged{err})
		}
	}
}

// panicked counts a panic and has it logged. Called with the lock held.
func (m *Manager) panicked(remote any, err error) {
	var p *protocols.PanicError
	var done *logged
	if errors.As(err, &p) && !errors.As(err, &done) {
		m.panics++
		m.later(func() { logPanic(m.cfg.Log, remote, err) })
	}
}

// wrapBearer has the host wrap the socket of a connection, if it wants to.
func (m *Manager) wrapBearer(s *socket, wrap func(net.Conn) (net.Conn, error)) (net.Conn, error) {
	if m.cfg.Bearer == nil {
		return s.bearer, nil
	}
	var wrapped net.Conn
	var err error
	if failed := guard(func() { wrapped, err = wrap(s.bearer) }); failed != nil {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s.bearer = wrapped
	return wrapped, nil
}
