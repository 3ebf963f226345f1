package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
)

// errNotPermitted is why a machine cannot be used; it is no failure.
var errNotPermitted = errors.New("skipped: network namespaces with slow cables are not permitted here")

// prefix of the namespaces' names; the number of the process that made them follows.
const prefix = "hearth-"

// world is the network that has been made of a plan.
type world struct {
	plan    plan
	prefix  string // of the namespaces' names
	netem   bool
	names   []string    // of namespaces
	cables  []cable     // those of the sites first
	long    map[int]int // by the place in spans, the place in cables
	before  []string    // devices of this machine
	control string      // congestion control of TCP
}

// newWorld makes the network. When it fails everything is gone again; errNotPermitted says that it cannot be made here.
func newWorld(ctx context.Context, p plan, seed uint64) (_ *world, err error) {
	w := &world{plan: p, prefix: fmt.Sprint(prefix, os.Getpid(), "-"), long: map[int]int{}}
	if w.before, err = devices(); err != nil {
		return nil, err
	}
	if err := sweep(ctx); err != nil {
		return nil, errors.Join(errNotPermitted, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if err := w.addNamespace(ctx, "probe"); err != nil {
		return nil, errors.Join(errNotPermitted, err)
	}
	probe := w.prefix + "probe"
	w.netem = command(ctx, "", "tc", "-n", probe, "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms") == nil
	if !w.netem {
		c, err := newTunCable([2]end{{probe, "x", up()}, {probe, "y", up()}}, 0)
		if err != nil {
			return nil, errors.Join(errNotPermitted, err)
		}
		if err := c.close(); err != nil {
			return nil, err
		}
	}
	return w, w.make(ctx, seed)
}

func (w *world) ns(name string) string { return w.prefix + name }

func (w *world) router(region int) string { return w.ns("router-" + regionNames[region]) }

func (w *world) addNamespace(ctx context.Context, name string) error {
	if err := command(ctx, "", "ip", "netns", "add", w.ns(name)); err != nil {
		return err
	}
	w.names = append(w.names, w.ns(name))
	return nil
}

// make makes namespaces, cables, addresses and routes, in this order.
func (w *world) make(ctx context.Context, seed uint64) error {
	for _, r := range regionNames {
		if err := w.addNamespace(ctx, "router-"+r); err != nil {
			return err
		}
	}
	for _, s := range w.plan.sites() {
		if err := w.addNamespace(ctx, s.name); err != nil {
			return err
		}
	}
	// TCP that takes loss for congestion, as that of most hosts does: cubic where this machine lets namespaces have it. Forwarding is
	// for routers, and does no harm elsewhere.
	const settings = `cd /proc/sys/net && echo 1 >ipv4/ip_forward && echo 0 >ipv4/conf/all/rp_filter && echo 0 >ipv4/conf/default/rp_filter
		{ [ ! -e ipv6/conf/default/disable_ipv6 ] || echo 1 >ipv6/conf/default/disable_ipv6; }
		{ echo cubic >ipv4/tcp_congestion_control || echo reno >ipv4/tcp_congestion_control; } 2>/dev/null; cat ipv4/tcp_congestion_control`
	for _, name := range w.names {
		out, err := output(ctx, "", "ip", "netns", "exec", name, "sh", "-c", settings)
		if err != nil {
			return err
		}
		w.control = strings.TrimSpace(out)
	}
	for _, s := range w.plan.sites() {
		if err := w.addCable(ctx, [2]end{{w.ns(s.name), "wan", up()}, {w.router(s.region), s.name, down()}}, seed); err != nil {
			return err
		}
	}
	for i, s := range spans {
		ends := [2]end{{w.router(s.from), "to-" + regionNames[s.to], s.params()}, {w.router(s.to), "to-" + regionNames[s.from], s.params()}}
		w.long[i] = len(w.cables)
		if err := w.addCable(ctx, ends, seed); err != nil {
			return err
		}
	}
	for _, s := range w.plan.sites() {
		lines := fmt.Sprintf("addr add %v/32 dev wan\nlink set dev wan up\nroute add default via %v dev wan onlink\n", s.addr, router(s.region))
		if err := w.batch(ctx, w.ns(s.name), lines); err != nil {
			return err
		}
	}
	for r := range regionNames {
		lines := fmt.Sprintf("addr add %v/32 dev lo\n", router(r))
		for _, s := range w.plan.sites() {
			if s.region == r {
				lines += fmt.Sprintf("link set dev %[1]s up\nroute add %[2]v/32 dev %[1]s\n", s.name, s.addr)
			}
		}
		for q := range regionNames {
			if q != r {
				lines += fmt.Sprintf("link set dev to-%[1]s up\nroute add %[2]v via %[3]v dev to-%[1]s onlink\n", regionNames[q], subnet(q), router(q))
			}
		}
		if err := w.batch(ctx, w.router(r), lines); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) addCable(ctx context.Context, ends [2]end, seed uint64) error {
	var c cable
	var err error
	if w.netem {
		c, err = newNetemCable(ctx, ends)
	} else {
		c, err = newTunCable(ends, seed<<16+uint64(len(w.cables)))
	}
	if err == nil {
		w.cables = append(w.cables, c)
	}
	return err
}

// batch runs commands of ip-address(8) and its kind in a namespace, where it sets the loopback device up first.
func (w *world) batch(ctx context.Context, ns, lines string) error {
	return command(ctx, "link set dev lo up\n"+lines, "ip", "-n", ns, "-batch", "-")
}

// setCut cuts all cables between a region and the others, or mends them.
func (w *world) setCut(ctx context.Context, region int, cut bool) error {
	for i, s := range spans {
		if s.from == region || s.to == region {
			if err := w.cables[w.long[i]].setCut(ctx, cut); err != nil {
				return err
			}
		}
	}
	return nil
}

// close takes the network away and says what should not have been there, or stays.
func (w *world) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	var errs []error
	for _, name := range w.names {
		errs = append(errs, remove(ctx, name, true))
	}
	for _, c := range w.cables {
		errs = append(errs, c.close())
	}
	left, err := namespaces(ctx)
	errs = append(errs, err)
	for _, name := range left {
		if strings.HasPrefix(name, w.prefix) {
			errs = append(errs, fmt.Errorf("namespace %s is left behind", name))
		}
	}
	now, err := devices()
	errs = append(errs, err)
	for _, name := range now {
		if !slices.Contains(w.before, name) {
			errs = append(errs, fmt.Errorf("device %s is left behind", name))
		}
	}
	return errors.Join(errs...)
}

// remove ends what runs in a namespace, which should be nothing, and deletes it.
func remove(ctx context.Context, name string, should bool) error {
	var errs []error
	out, err := output(ctx, "", "ip", "netns", "pids", name)
	errs = append(errs, err)
	for _, field := range strings.Fields(out) {
		var pid int
		if _, err := fmt.Sscan(field, &pid); err != nil {
			return err
		}
		if should {
			errs = append(errs, fmt.Errorf("process %d was left in namespace %s", pid, name))
		}
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended meanwhile
	}
	return errors.Join(append(errs, command(ctx, "", "ip", "netns", "del", name))...)
}

// sweep takes away what a run that was killed has left. It fails where there can be no namespaces.
func sweep(ctx context.Context) error {
	names, err := namespaces(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		var pid int
		if _, err := fmt.Sscanf(name, prefix+"%d-", &pid); err != nil {
			continue
		}
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
			if err := remove(ctx, name, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// namespaces lists those of this machine.
func namespaces(ctx context.Context) (names []string, err error) {
	out, err := output(ctx, "", "ip", "netns", "list")
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 0 {
			names = append(names, f[0])
		}
	}
	return names, err
}

// devices lists those of this machine, outside of the namespaces.
func devices() (names []string, err error) {
	all, err := net.Interfaces()
	for _, d := range all {
		names = append(names, d.Name)
	}
	return names, err
}

// cableRows describes both directions of the cables between regions.
func (w *world) cableRows() (rows []cableRow) {
	for i, s := range spans {
		n, ok := w.cables[w.long[i]].counters()
		if !ok {
			continue
		}
		for k, c := range n {
			from, to := regionNames[s.from], regionNames[s.to]
			if k == 1 {
				from, to = to, from
			}
			rows = append(rows, cableRow{from, to, ms(s.rtt), s.loss, c.In, c.BytesIn, c.Lost, c.Dropped, c.Cut})
		}
	}
	slices.SortFunc(rows, func(a, b cableRow) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	return rows
}
