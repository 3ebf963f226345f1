// Ping does a handshake with a node, says what was negotiated, and measures round trips with keep-alive.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/internal/cli"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/handshake"
)

const usage = `usage: ping ADDR [-magic N] [-count N] [-query] [-json]

ADDR is a node's host:port, or the path, with a slash in it, of its Unix socket (which has no keep-alive: the handshake is all).`

func main() { cli.Main("ping", run) }

func run(ctx context.Context, args []string, stdout io.Writer) error {
	fs := cli.Flags("ping", usage)
	magic := fs.Uint64("magic", uint64(connmgr.Mainnet), "network magic")
	count := fs.Int("count", 4, "round trips to measure")
	query := fs.Bool("query", false, "ask for the supported versions instead")
	asJSON := fs.Bool("json", false, "one JSON object a line")
	rest, err := fs.Parse(args)
	if err != nil {
		return err
	}
	switch {
	case len(rest) != 1:
		return cli.Usagef("want one ADDR, got %d", len(rest))
	case *magic > 1<<32-1:
		return cli.Usagef("-magic %d does not fit 32 bits", *magic)
	case *count < 0:
		return cli.Usagef("-count %d is negative", *count)
	}
	p := &printer{out: stdout, json: *asJSON}
	addr, local, network := rest[0], strings.Contains(rest[0], "/"), connmgr.Network(*magic)
	if *query {
		supported, err := connmgr.Query(ctx, addr, network, local)
		if err != nil {
			return err
		}
		return p.supported(supported)
	}
	return ping(ctx, p, addr, local, network, *count)
}

// every is the time between two requests.
const every = time.Second

func ping(ctx context.Context, p *printer, addr string, local bool, network connmgr.Network, count int) error {
	trips := make(chan time.Duration, 1)
	dial := connmgr.Dial
	if local {
		dial, count = connmgr.DialLocal, 0
	}
	began := time.Now()
	conn, err := dial(ctx, addr, network, connmgr.WithKeepAlive(every), connmgr.WithRoundTrip(func(rtt time.Duration) {
		select {
		case trips <- rtt:
		default: // nobody waits any more
		}
	}))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := p.negotiated(conn.Negotiated(), time.Since(began)); err != nil {
		return err
	}
	for n := range count {
		select {
		case rtt := <-trips:
			if err := p.trip(n+1, rtt); err != nil {
				return err
			}
		case <-conn.Done():
			return conn.Err()
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// printer writes results as text or as JSON lines.
type printer struct {
	out  io.Writer
	json bool
}

func (p *printer) line(text string, v any) error {
	if !p.json {
		_, err := fmt.Fprintln(p.out, text)
		return err
	}
	return json.NewEncoder(p.out).Encode(v)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func family(nodeToClient bool) string {
	if nodeToClient {
		return "node-to-client"
	}
	return "node-to-node"
}

func (p *printer) negotiated(n protocols.Negotiated, took time.Duration) error {
	return p.line(
		fmt.Sprintf("%s version %d, magic %d, duplex %v, peer sharing %v, connected in %.1f ms",
			family(n.NodeToClient), n.Version, n.Magic, n.Duplex(), n.PeerSharing, ms(took)),
		map[string]any{"event": "handshake", "family": family(n.NodeToClient), "version": n.Version, "magic": n.Magic,
			"duplex": n.Duplex(), "peer_sharing": n.PeerSharing, "peras": n.Peras, "ms": ms(took)})
}

func (p *printer) trip(n int, rtt time.Duration) error {
	return p.line(fmt.Sprintf("%d: %.3f ms", n, ms(rtt)), map[string]any{"event": "keepalive", "n": n, "ms": ms(rtt)})
}

func (p *printer) supported(all []handshake.Supported) error {
	for _, s := range all {
		d := s.Data
		text := fmt.Sprintf("version %d: magic %d, initiator only %v, peer sharing %v, peras %v", s.Version, d.Magic, d.InitiatorOnly, d.PeerSharing, d.Peras)
		v := map[string]any{"event": "version", "version": s.Version, "magic": d.Magic, "initiator_only": d.InitiatorOnly,
			"peer_sharing": d.PeerSharing, "peras": d.Peras}
		if s.Err != nil {
			text = fmt.Sprintf("version %d: %v", s.Version, s.Err)
			v = map[string]any{"event": "version", "version": s.Version, "error": s.Err.Error()}
		}
		if err := p.line(text, v); err != nil {
			return err
		}
	}
	return nil
}
