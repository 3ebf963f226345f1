// Gossip replicates a directory: a file put into any node's directory appears, verified, in those of all others.
package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/artifact/bearer"
	"github.com/hearthnet/hearth/examples/internal/cli"
)

const usage = `usage: gossip -listen ADDR -dir DIR [-peer ADDR]… [-urgent GLOB] [-lanes N] [-rate BYTES/s] [-state DIR] [-json]

Replicates DIR by artifact gossip. Only regular files with plain names; a file is published when it has rested for two scans. Of two
files with one name the later modified wins. Deletions do not spread. Files that are on their way are in the state directory.`

// network is what gossip nodes must have in common.
const network = 42

func main() { cli.Main("gossip", run) }

// options are the command line.
type options struct {
	listen, dir, state, urgent string
	peers                      []string
	lanes                      int
	rate                       int64
	json                       bool
}

// event is one line of output.
type event struct {
	Event    string `json:"event"`
	Addr     string `json:"addr,omitempty"`
	ID       string `json:"id,omitempty"`
	Name     string `json:"name,omitempty"`
	Size     *int64 `json:"size,omitempty"`
	Received *int64 `json:"received,omitempty"`
	Error    string `json:"error,omitempty"`
}

func parse(args []string) (o options, err error) {
	fs := cli.Flags("gossip", usage)
	fs.StringVar(&o.listen, "listen", "", "address to accept peers on")
	fs.StringVar(&o.dir, "dir", "", "directory to replicate")
	fs.Var((*cli.Strings)(&o.peers), "peer", "address of a peer; several are allowed")
	fs.StringVar(&o.urgent, "urgent", "", "names that overtake all others, as a glob")
	fs.IntVar(&o.lanes, "lanes", 2, "parallel bulk connections a peer, 0 to 4")
	fs.Int64Var(&o.rate, "rate", 0, "bytes per second to send and to ask for, each; 0: no limit")
	fs.StringVar(&o.state, "state", "", "directory for the id and partial files, on DIR's file system (default DIR.state)")
	fs.BoolVar(&o.json, "json", false, "one JSON object a line")
	rest, err := fs.Parse(args)
	switch {
	case err != nil:
		return o, err
	case len(rest) > 0:
		return o, cli.Usagef("unexpected argument %q", rest[0])
	case o.listen == "" || o.dir == "":
		return o, cli.Usagef("-listen and -dir are needed")
	case o.lanes < 0 || o.lanes > 4:
		return o, cli.Usagef("-lanes %d is not in 0 … 4", o.lanes)
	case o.rate < 0:
		return o, cli.Usagef("-rate %d is negative", o.rate)
	}
	if _, err := filepath.Match(o.urgent, "x"); err != nil {
		return o, cli.Usagef("-urgent %q: %v", o.urgent, err)
	}
	for _, a := range append([]string{o.listen}, o.peers...) {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return o, cli.Usagef("%v", err)
		}
	}
	o.dir = filepath.Clean(o.dir)
	if o.state == "" {
		o.state = o.dir + ".state"
	}
	if inside, err := within(o.state, o.dir); err != nil || inside {
		return o, errors.Join(err, cli.Usagef("-state %s is in -dir %s: what is on its way must be outside", o.state, o.dir))
	}
	return o, nil
}

// within reports whether a path is a directory or in it.
func within(path, dir string) (bool, error) {
	a, err := filepath.Abs(path)
	if err != nil {
		return false, err
	}
	b, err := filepath.Abs(dir)
	if err != nil {
		return false, err
	}
	rel, err := filepath.Rel(b, a)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)), err
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	lines := cli.NewLines(nil)
	if o.json {
		lines = cli.NewLines(stdout)
	}
	ln, err := (&net.ListenConfig{KeepAlive: 15 * time.Second}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return err
	}
	g, err := start(o, ln, func(e event) {
		_ = lines.Write(e) // the first failure is returned below
		if !o.json {
			show(e)
		}
	})
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	<-ctx.Done()
	return errors.Join(g.close(), lines.Write(event{Event: "stopped"}))
}

func show(e event) {
	attrs := []any{}
	add := func(key, v string) {
		if v != "" {
			attrs = append(attrs, key, v)
		}
	}
	add("name", e.Name)
	if e.Received != nil {
		attrs = append(attrs, "received", *e.Received)
	}
	if e.Size != nil {
		attrs = append(attrs, "size", *e.Size)
	}
	add("addr", e.Addr)
	add("id", e.ID)
	add("error", e.Error)
	slog.Info(e.Event, attrs...)
}

// node is one running replica.
type node struct {
	node   *artifact.Node
	net    *bearer.Network
	cancel context.CancelFunc
	done   chan struct{}
}

// start runs a replica on a listener, which it owns unless it fails.
func start(o options, ln net.Listener, tell func(event)) (*node, error) {
	d, err := openDir(o.dir, o.state)
	if err != nil {
		return nil, err
	}
	if err := d.sweep(time.Now()); err != nil {
		return nil, err
	}
	var seed [8]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, err
	}
	id, err := d.nodeID(func() (id artifact.PeerID) {
		_, _ = rand.Read(id[:]) // never fails
		return id
	})
	if err != nil {
		return nil, err
	}
	r := newReplica(d, o.urgent, tell)
	h := artifact.Register(r.kind(), artifact.Client[*file](r))
	h.OnError(func(err error) { tell(event{Event: "error", Error: err.Error()}) })
	cfg := artifact.Config{
		NodeID: id, Seed: binary.BigEndian.Uint64(seed[:]), MaxPeers: 32,
		Slots: 32768, PeerSlots: 32768, // one for each file
		BulkBearers: o.lanes, EgressRate: o.rate, IngressRate: o.rate,
	}
	if o.lanes == 0 {
		cfg.BulkBearers = -1
	}
	n, err := artifact.NewNode(cfg, judge{tell}, h)
	if err != nil {
		return nil, err
	}
	scan := newScanner(d, r, h, tell)
	if err := scan.scan(time.Now()); err != nil { // before anybody offers what is there already
		return nil, errors.Join(err, n.Close())
	}
	net, err := bearer.New(n, bearer.Config{
		Network: network, Listener: ln, Peers: o.peers, Notify: func(e bearer.Event) { notify(e, tell) },
	})
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &node{node: n, net: net, cancel: cancel, done: make(chan struct{})}
	tell(event{Event: "listening", Addr: ln.Addr().String(), ID: hex.EncodeToString(id[:])})
	go func() {
		defer close(g.done)
		scan.run(ctx)
	}()
	return g, nil
}

// close ends it and waits for everything.
func (g *node) close() error {
	g.cancel()
	<-g.done
	return errors.Join(g.net.Close(), g.node.Close())
}

func notify(e bearer.Event, tell func(event)) {
	out := event{Event: e.Kind.String(), Addr: e.Addr}
	if e.Peer != (artifact.PeerID{}) {
		out.ID = hex.EncodeToString(e.Peer[:])
	}
	if e.Err != nil {
		out.Error = e.Err.Error()
	}
	tell(out)
}

// judge tells what peers did wrong.
type judge struct{ tell func(event) }

// Misbehaved implements artifact.Judge.
func (j judge) Misbehaved(peer artifact.PeerID, score int, ban time.Duration, cause error) {
	what := cause.Error()
	switch {
	case ban > 0:
		what += fmt.Sprintf(" (banned for %v)", ban)
	case score < 0:
		what += fmt.Sprintf(" (score %d)", score)
	}
	j.tell(event{Event: "misbehaviour", ID: hex.EncodeToString(peer[:]), Error: what})
}
