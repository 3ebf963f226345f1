package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/examples/internal/cli"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/protocols/localtxsubmission"
)

// How long the network goes on after the cut, and how long what warms it up may take.
const (
	afterCut  = 10 * time.Second
	warmLimit = 45 * time.Second
)

// commands are the processes of a site.
var commands = []string{"relay", "gossip"}

// simulation is one run.
type simulation struct {
	o         options
	plan      plan
	world     *world
	dir       string
	processes []*process
	track     *tracker
	load      *load
	folders   *folders
	lines     *cli.Lines
	began     time.Time
	phases    phases
	chains    [][]string // by relay, the hashes in their order; each its watcher's until all have ended
	blocks    []string   // as they were made
}

// simulate does all of it.
func simulate(ctx context.Context, o options, stdout io.Writer) (err error) {
	s := &simulation{o: o, plan: newPlan(), began: time.Now(), lines: cli.NewLines(nil)}
	if o.json {
		s.lines = cli.NewLines(stdout)
	}
	// A terminal that goes, or a reader of our output, must not keep us from taking everything away.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stop()
	interrupted := ctx
	ctx, cancel := context.WithTimeoutCause(ctx, timeLimit-closeTime, fmt.Errorf("not done within %v", timeLimit-closeTime))
	defer cancel()
	if s.world, err = newWorld(ctx, s.plan, o.seed); errors.Is(err, errNotPermitted) {
		fmt.Fprintln(os.Stderr, strings.ReplaceAll(err.Error(), "\n", ": "))
		return nil
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.world.close()) }()
	clean, err := s.makeDir()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, clean(err != nil && interrupted.Err() == nil)) }()
	err = s.run(ctx)
	if ctx.Err() != nil {
		err = context.Cause(ctx) // whatever came of it
	}
	// What runs ends before the network goes.
	return errors.Join(err, s.report(err, stdout))
}

// makeDir makes the folder that everything is in. clean removes it, unless it is to stay or the
// run has failed.
func (s *simulation) makeDir() (clean func(failed bool) error, err error) {
	if s.o.dir != "" {
		if s.dir, err = filepath.Abs(s.o.dir); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(s.dir, 0o777); err != nil {
			return nil, err
		}
		if list, err := os.ReadDir(s.dir); err != nil || len(list) > 0 {
			return nil, errors.Join(err, fmt.Errorf("%s is not empty", s.dir))
		}
		return func(bool) error { return nil }, nil
	}
	s.dir, err = os.MkdirTemp("", "netns-")
	return func(failed bool) error {
		if !failed {
			return os.RemoveAll(s.dir)
		}
		fmt.Fprintln(os.Stderr, "logs are in", s.dir)
		return nil
	}, err
}

// say tells people, and programs, what happens.
func (s *simulation) say(event string, args ...any) {
	slog.Info(event, args...)
	line := map[string]any{"event": event, "seconds": time.Since(s.began).Round(time.Millisecond).Seconds()}
	for i := 0; i+1 < len(args); i += 2 {
		line[args[i].(string)] = args[i+1]
	}
	_ = s.lines.Write(line) // the report's failure is reported
}

func (s *simulation) run(ctx context.Context) (err error) {
	if s.o.bin == "" {
		s.o.bin = s.dir
		for _, c := range commands {
			if err := command(ctx, "", "go", "build", "-o", filepath.Join(s.dir, c), "github.com/hearthnet/hearth/examples/"+c); err != nil {
				return err
			}
		}
	}
	s.track = newTracker(len(s.plan.relays))
	s.chains = make([][]string, len(s.plan.relays))
	s.load = &load{track: s.track, rnd: rand.New(rand.NewPCG(s.o.seed, 0x6e73)), txs: map[string][]byte{}, artifacts: map[string][]byte{}}
	if s.folders, err = newFolders(); err != nil {
		return err
	}
	tasks, running := errgroup.WithContext(ctx)
	running, stop := context.WithCancel(running)
	defer func() {
		stop()
		err = errors.Join(err, s.folders.close(), s.load.close(), tasks.Wait(), stopAll(s.processes))
	}()
	if err := s.start(running); err != nil {
		return err
	}
	for _, p := range s.processes {
		tasks.Go(func() error { return p.watch(running) })
	}
	tasks.Go(s.folders.run)
	for i := range s.plan.relays {
		if err := s.attach(running, i, tasks); err != nil {
			return err
		}
	}
	s.say("up", "namespaces", len(s.world.names), "processes", len(s.processes), "netem", s.world.netem, "congestion_control", s.world.control)
	if err := s.play(running); err != nil {
		if running.Err() != nil && ctx.Err() == nil {
			return nil // whatever ended a task is the reason
		}
		return err
	}
	return s.verify()
}

// start starts every process and prepares the folders. It runs on the main goroutine, see [startProcess].
func (s *simulation) start(ctx context.Context) error {
	for i, at := range s.plan.relays {
		dir := s.at(at)
		for _, d := range []string{"mempool", "artifacts", "scratch"} {
			if err := os.MkdirAll(filepath.Join(dir, d), 0o777); err != nil {
				return err
			}
		}
		relay := []string{"-listen", port(at, relayPort), "-magic", fmt.Sprint(uint32(magic)), "-socket", filepath.Join(dir, "socket"),
			"-mempool", filepath.Join(dir, "mempool"), "-topology", filepath.Join(dir, "topology.json"), "-peers", filepath.Join(dir, "peers")}
		if err := writeTopology(filepath.Join(dir, "topology.json"), s.plan.peers(i, false), s.plan.ofProducer(i)); err != nil {
			return err
		}
		gossip := []string{"-listen", port(at, gossipPort), "-dir", filepath.Join(dir, "artifacts"), "-json"}
		for _, peer := range s.plan.peers(i, true) {
			gossip = append(gossip, "-peer", port(peer, gossipPort))
		}
		if err := s.process(at, "relay", nil, nil, relay...); err != nil {
			return err
		}
		if err := s.process(at, "gossip", nil, func(line string) { s.published(i, line) }, gossip...); err != nil {
			return err
		}
		add := func(dir string, k kind) error {
			return s.folders.add(dir, func(file string, now time.Time) {
				if k != artifact || strings.HasPrefix(file, artifactPrefix) { // gossip tries out what the file system can do
					s.track.seenAt(name{k, file}, i, now)
				}
			})
		}
		if err := errors.Join(add(filepath.Join(dir, "mempool"), transaction), add(filepath.Join(dir, "artifacts"), artifact)); err != nil {
			return err
		}
	}
	return s.startProducer()
}

func (s *simulation) startProducer() error {
	at := s.plan.producer
	if err := os.MkdirAll(s.at(at), 0o777); err != nil {
		return err
	}
	file := filepath.Join(s.at(at), "topology.json")
	if err := writeTopology(file, s.plan.relays[:producerPeers]); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	s.load.producer = out
	p, err := startProcess(s.world.ns(at.name), s.at(at), "producer", in, s.produced, self, produceCommand,
		"-listen", port(at, relayPort), "-topology", file, "-seed", fmt.Sprint(s.o.seed))
	if err == nil {
		s.processes = append(s.processes, p)
	}
	return err
}

func (s *simulation) process(at site, what string, stdin io.Reader, lines func(string), args ...string) error {
	p, err := startProcess(s.world.ns(at.name), s.at(at), what, stdin, lines, filepath.Join(s.o.bin, what), args...)
	if err == nil {
		p.name = at.name + " " + what
		s.processes = append(s.processes, p)
	}
	return err
}

// at is a site's folder.
func (s *simulation) at(x site) string { return filepath.Join(s.dir, x.name) }

func port(x site, port uint16) string { return netip.AddrPortFrom(x.addr, port).String() }

// attach connects to a relay as a wallet does, once to follow its chain and once to submit transactions.
func (s *simulation) attach(ctx context.Context, i int, tasks *errgroup.Group) error {
	socket := filepath.Join(s.at(s.plan.relays[i]), "socket")
	dial := func() (c *connmgr.Conn, err error) {
		for {
			if c, err = connmgr.DialLocal(ctx, socket, magic); err == nil {
				return c, nil
			}
			select {
			case <-time.After(50 * time.Millisecond): // it is not there yet
			case <-ctx.Done():
				return nil, errors.Join(context.Cause(ctx), err)
			}
		}
	}
	c, err := dial()
	if err != nil {
		return err
	}
	tasks.Go(func() error {
		err := s.follow(ctx, i, c)
		return errors.Join(err, c.Close())
	})
	submitting, err := dial()
	if err != nil {
		return err
	}
	s.load.places = append(s.load.places, place{localtxsubmission.NewClient(submitting), submitting,
		filepath.Join(s.at(s.plan.relays[i]), "artifacts"), filepath.Join(s.at(s.plan.relays[i]), "scratch")})
	return nil
}

// follow notes the blocks of a relay's chain as they come.
func (s *simulation) follow(ctx context.Context, i int, c *connmgr.Conn) error {
	for ev, err := range chainsync.NewClient(c).Follow(ctx, nil) {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("following %s: %w", s.plan.relays[i].name, err)
		}
		if ev.Kind == chainsync.Backward {
			if !ev.Point.IsOrigin() || len(s.chains[i]) > 0 {
				return fmt.Errorf("%s rolled back to %v", s.plan.relays[i].name, ev.Point)
			}
			continue
		}
		now := time.Now()
		b, err := chain.ParseBlockPayload(ev.Payload)
		if err == nil {
			_, err = b.CheckBody()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.plan.relays[i].name, err)
		}
		hash := hex.EncodeToString(b.Hash[:])
		s.chains[i] = append(s.chains[i], hash)
		s.track.seenAt(name{block, hash}, i, now)
	}
	return nil
}

// produced reads a line of the producer.
func (s *simulation) produced(line string) {
	var m made
	if json.Unmarshal([]byte(line), &m) == nil && m.Hash != "" {
		s.blocks = append(s.blocks, m.Hash)
		s.track.bornAt(name{block, m.Hash}, producerSite, m.At)
	}
}

// published reads a line of a gossip process.
func (s *simulation) published(relay int, line string) {
	var e struct{ Event, Name string }
	if json.Unmarshal([]byte(line), &e) == nil && e.Event == "published" {
		s.track.bornAt(name{artifact, e.Name}, relay, time.Now())
	}
}

// play lets things happen, one phase after the other.
func (s *simulation) play(ctx context.Context) error {
	if err := s.warm(ctx); err != nil {
		return err
	}
	s.phases.whole = time.Now()
	loading, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.load.run(loading) }()
	wait := func(d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case err := <-ended:
			ended <- err
			return errors.Join(err, context.Cause(ctx))
		}
	}
	err := wait(s.o.whole)
	if err == nil && s.o.cut > 0 {
		err = s.cutOff(ctx, wait)
	}
	stop()
	if err := errors.Join(err, <-ended); err != nil {
		return err
	}
	return s.settle(ctx)
}

// warm waits until a block has reached every relay, then what enters at each.
func (s *simulation) warm(ctx context.Context) error {
	warming, cancel := context.WithTimeoutCause(ctx, warmLimit, fmt.Errorf("the network was not connected within %v", warmLimit))
	defer cancel()
	if err := s.load.block(); err != nil {
		return err
	}
	for i := range s.plan.relays {
		if err := errors.Join(s.load.transaction(warming, i), s.load.artifact(i)); err != nil {
			return err
		}
	}
	if err := s.complete(warming, kindCount{1, len(s.plan.relays), len(s.plan.relays)}); err != nil {
		return err
	}
	s.say("connected")
	return nil
}

// cutOff cuts the last region off and mends the cable again.
func (s *simulation) cutOff(ctx context.Context, wait func(time.Duration) error) error {
	isolated := len(regionNames) - 1
	s.phases.cut = time.Now()
	if err := s.world.setCut(ctx, isolated, true); err != nil {
		return err
	}
	s.say("cut", "region", regionNames[isolated])
	if err := wait(s.o.cut); err != nil {
		return err
	}
	_, lacks := s.track.state()
	s.phases.mended = time.Now()
	if err := s.world.setCut(ctx, isolated, false); err != nil {
		return err
	}
	s.say("mended", "lacking", lacks)
	return wait(afterCut)
}

// kindCount is a number for each kind.
type kindCount [kinds]int

// complete waits until there are at least so many items, and everything is everywhere.
func (s *simulation) complete(ctx context.Context, least kindCount) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		born, lacks := s.track.state()
		enough := s.track.complete()
		for k := range kinds {
			enough = enough && born[k] >= least[k]
		}
		if enough {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: of %v blocks, transactions and artifacts the relays lack %v", context.Cause(ctx), born, lacks)
		}
	}
}

// settle waits until everything is everywhere.
func (s *simulation) settle(ctx context.Context) error {
	_, lacks := s.track.state()
	s.say("settling", "lacking", lacks)
	err := s.complete(ctx, kindCount{0, len(s.load.txs), len(s.load.artifacts)})
	if err == nil {
		s.say("complete")
	}
	return err
}
