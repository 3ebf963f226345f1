package cli

import (
	"io"
	"log/slog"
	"net"
	"os"
)

// Logger returns a log in the manner of services: text, one line a record, without the time when w is the journal, which has its own.
func Logger(w io.Writer) *slog.Logger {
	var o slog.HandlerOptions
	if isJournal(w) {
		o.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	return slog.New(slog.NewTextHandler(w, &o))
}

// Notify tells the service manager how we are: "READY=1", "RELOADING=1", "STOPPING=1". Without one it does nothing; a failure is
// nobody's trouble but the log's.
func Notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if state == "RELOADING=1" {
		state += monotonic()
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"}) // @name is an abstract socket here too
	if err == nil {
		_, err = conn.Write([]byte(state))
		_ = conn.Close() // a datagram is sent or not
	}
	if err != nil {
		slog.Warn("service manager not told", "state", state, "err", err)
	}
}
