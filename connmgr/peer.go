package connmgr

import (
	"errors"
	"fmt"
	"time"
)

// Status of a peer, as our outbound side sees it (connmgr §6.1).
type Status int

// The statuses, in order. Cooling: our use has ended, the connection is not gone yet.
const (
	StatusCold Status = iota
	StatusCooling
	StatusWarm
	StatusHot
)

// String returns "cold", "cooling", "warm" or "hot".
func (s Status) String() string { return [...]string{"cold", "cooling", "warm", "hot"}[s] }

// Times of peer-state actions (connmgr §0.2).
const (
	deactivateTimeout = 300 * time.Second
	closeTimeout      = 120 * time.Second
)

// Errors of calls that do not fit a peer's status.
var (
	ErrColdActivation   = errors.New("connmgr: the peer to activate is not warm")
	ErrColdDeactivation = errors.New("connmgr: the peer to deactivate is not hot")
	ErrNotCold          = errors.New("connmgr: the peer to connect to is not cold")
	errDropped          = faultError(FaultBenign, 0, errors.New("connmgr: disconnected while connecting"))
	errCloseTimeout     = errors.New("connmgr: mini-protocols did not stop in time")
)

// temperature of a bundle of mini-protocols.
type temperature int

const (
	bundleEstablished temperature = iota
	bundleWarm
	bundleHot
	numBundles
)

// controlWord is what a bundle's mini-protocols are told.
type controlWord uint8

const (
	controlContinue controlWord = iota
	controlQuiesce
	controlTerminate
)

func (c controlWord) String() string { return [...]string{"continue", "quiesce", "terminate"}[c] }

// peerMachine is the outbound side of one peer: pure. It has no timeouts of its own beyond due, which its owner watches.
type peerMachine struct {
	status  Status
	control [numBundles]controlWord
	running [numBundles]int // initiators that have not finished
	doing   peerOp
	due     time.Duration // end of the operation's patience; 0: none
	stopped bool          // the multiplexer has been told to stop
	failed  error         // of an initiator, or what else ended the connection
	silent  bool          // [OURS] the deactivate timeout: a close, not a failure
	delay   time.Duration // re-promote delay of what has finished since the last report; negative: none
	dropped bool          // nobody wants the connection that is being opened

	connect    ticket
	deactivate []ticket
	closing    []ticket
	effects    []peerEffect
}

// peerOp is what the machine is in the middle of.
type peerOp uint8

const (
	opNone peerOp = iota
	opConnect
	opDeactivate
	opClose   // waits for the initiators
	opRelease // waits for the connection to be gone
)

func (o peerOp) String() string {
	return [...]string{"", "connect", "deactivate", "close", "release"}[o]
}

type peerEventKind uint8

const (
	peConnect    peerEventKind = iota // ticket
	peCancel                          // ticket: its caller has gone
	peConnected                       // the connection is there
	peFailed                          // err: it is not
	peActivate                        // ticket
	peDeactivate                      // ticket
	peClose                           // ticket
	peFinished                        // bundle, err: an initiator has ended
	peGone                            // err: our half of the connection is over
	peTimer
)

type peerEvent struct {
	kind   peerEventKind
	ticket ticket
	bundle temperature
	err    error
}

type peerEffectKind uint8

const (
	pfAcquire peerEffectKind = iota // then peConnected or peFailed; after peConnected one peGone
	pfControl                       // bundle, control
	pfStart                         // bundle: start its initiators and call started
	pfStop                          // err: end the connection
	pfRelease                       // release our half
	pfReply                         // ticket, err
	pfReport                        // status, delay, err
)

type peerEffect struct {
	kind    peerEffectKind
	bundle  temperature
	control controlWord
	ticket  ticket
	status  Status
	delay   time.Duration
	err     error
}

func newPeerMachine() *peerMachine { return &peerMachine{delay: -1} }

// started notes how many initiators of a bundle the owner has started.
func (p *peerMachine) started(b temperature, n int) { p.running[b] += n }

// step handles one event. The effects are the caller's: an idle peer keeps no memory for them.
func (p *peerMachine) step(now time.Duration, e peerEvent) []peerEffect {
	p.handle(now, e)
	effects := p.effects
	p.effects = nil
	return effects
}

func (p *peerMachine) handle(now time.Duration, e peerEvent) {
	switch e.kind {
	case peConnect:
		p.onConnect(e)
	case peCancel:
		p.cancel(e.ticket)
	case peConnected:
		p.connected()
	case peFailed:
		p.doing = opNone
		p.reply(p.connect, e.err)
		p.connect = 0
		p.replyAll(&p.closing, nil)
	case peActivate:
		p.activate(e)
	case peDeactivate:
		p.onDeactivate(now, e)
	case peClose:
		p.onClose(now, e)
	case peFinished:
		p.finished(now, e)
	case peGone:
		p.gone(e.err)
	case peTimer:
		p.timeout(now)
	}
}

func (p *peerMachine) emit(e peerEffect) { p.effects = append(p.effects, e) }

func (p *peerMachine) reply(t ticket, err error) {
	if t != 0 {
		p.emit(peerEffect{kind: pfReply, ticket: t, err: err})
	}
}

func (p *peerMachine) tell(b temperature, c controlWord) {
	if p.control[b] != c {
		p.control[b] = c
		p.emit(peerEffect{kind: pfControl, bundle: b, control: c})
	}
}

// become changes the status and reports it, with the re-promote delay of what has finished.
func (p *peerMachine) become(s Status, err error) {
	p.status = s
	delay := p.delay
	if s == StatusCooling {
		delay = -1
	}
	p.emit(peerEffect{kind: pfReport, status: s, delay: delay, err: err})
}

func (p *peerMachine) onConnect(e peerEvent) {
	if p.status != StatusCold || p.doing != opNone {
		p.reply(e.ticket, ErrNotCold)
		return
	}
	*p = peerMachine{doing: opConnect, connect: e.ticket, delay: -1}
	p.emit(peerEffect{kind: pfAcquire})
}

// cancel gives up waiting. What has begun goes on; only a connection that nobody waits for any more is released at once.
func (p *peerMachine) cancel(t ticket) {
	if t == p.connect {
		p.connect = 0
		p.dropped = true
	}
	drop := func(list []ticket) []ticket {
		kept := list[:0]
		for _, x := range list {
			if x != t {
				kept = append(kept, x)
			}
		}
		return kept
	}
	p.deactivate, p.closing = drop(p.deactivate), drop(p.closing)
}

func (p *peerMachine) connected() {
	p.doing = opNone
	if p.dropped {
		p.status = StatusCooling // not reported: nobody knows of it
		p.reply(p.connect, errDropped)
		p.connect = 0
		p.release()
		return
	}
	p.control = [numBundles]controlWord{bundleHot: controlTerminate}
	for b, c := range p.control {
		p.emit(peerEffect{kind: pfControl, bundle: temperature(b), control: c})
	}
	p.emit(peerEffect{kind: pfStart, bundle: bundleWarm})
	p.emit(peerEffect{kind: pfStart, bundle: bundleEstablished})
	// The status comes before anything that the initiators report, or a peer that died at once would stay warm for ever.
	p.become(StatusWarm, nil)
	p.reply(p.connect, nil)
	p.connect = 0
}

func (p *peerMachine) activate(e peerEvent) {
	if p.status != StatusWarm || p.doing != opNone {
		p.reply(e.ticket, fmt.Errorf("%w but %v", ErrColdActivation, p.status))
		return
	}
	p.delay = -1
	p.tell(bundleHot, controlContinue)
	p.tell(bundleWarm, controlQuiesce)
	p.become(StatusHot, nil)
	p.emit(peerEffect{kind: pfStart, bundle: bundleHot})
	p.reply(e.ticket, nil)
}

func (p *peerMachine) onDeactivate(now time.Duration, e peerEvent) {
	switch p.status {
	case StatusWarm: // races are legal
		p.reply(e.ticket, nil)
		return
	case StatusCold, StatusCooling:
		p.reply(e.ticket, fmt.Errorf("%w but %v", ErrColdDeactivation, p.status))
		return
	}
	if e.ticket != 0 {
		p.deactivate = append(p.deactivate, e.ticket)
	}
	if p.doing == opDeactivate {
		return
	}
	p.doing = opDeactivate
	p.due = now + deactivateTimeout
	p.tell(bundleHot, controlTerminate)
	p.tell(bundleWarm, controlContinue)
	p.settle()
}

func (p *peerMachine) onClose(now time.Duration, e peerEvent) {
	if p.status == StatusCold {
		if p.doing == opConnect {
			p.dropped = true
			if e.ticket != 0 {
				p.closing = append(p.closing, e.ticket)
			}
			return
		}
		p.reply(e.ticket, nil)
		return
	}
	if e.ticket != 0 {
		p.closing = append(p.closing, e.ticket)
	}
	if p.status == StatusCooling { // somebody was first
		return
	}
	for b := range numBundles {
		p.tell(b, controlTerminate)
	}
	p.doing = opClose
	p.due = now + closeTimeout
	p.become(StatusCooling, nil)
	p.settle()
}

// settle moves on when everything that was waited for has finished.
func (p *peerMachine) settle() {
	switch {
	case p.failed != nil:
	case p.doing == opDeactivate && p.running[bundleHot] == 0:
		p.doing, p.due = opNone, 0
		p.become(StatusWarm, nil)
		p.replyAll(&p.deactivate, nil)
	case p.doing == opClose && p.running == [numBundles]int{}:
		p.release()
	}
}

func (p *peerMachine) release() {
	p.doing, p.due = opRelease, 0
	p.emit(peerEffect{kind: pfRelease})
}

func (p *peerMachine) replyAll(list *[]ticket, err error) {
	for _, t := range *list {
		p.reply(t, err)
	}
	*list = nil
}

// finished is the monitoring of connmgr §6.3.
func (p *peerMachine) finished(now time.Duration, e peerEvent) {
	p.running[e.bundle]--
	if p.status == StatusCold {
		return
	}
	if !cleanEnd(e.err) {
		if !p.stopped { // otherwise it fails because we have ended the connection
			p.fail(e.err)
		}
		return
	}
	if p.status > StatusCooling {
		p.delay = max(p.delay, exitDelay(e.err))
	}
	switch {
	case p.failed != nil:
	case p.doing == opDeactivate || p.doing == opClose:
		p.settle()
		// A warm or established initiator that ends while the hot ones are being stopped closes the connection as well.
		if p.doing == opDeactivate && e.bundle != bundleHot {
			p.onClose(now, peerEvent{})
		}
	case p.status == StatusHot && e.bundle == bundleHot:
		p.onDeactivate(now, peerEvent{})
	case p.status > StatusCooling:
		p.onClose(now, peerEvent{})
	}
}

// fail ends the connection: one connection, one fate.
func (p *peerMachine) fail(err error) {
	p.failed = worst(p.failed, err)
	if p.status > StatusCooling {
		p.delay = max(p.delay, Classify(err).Delay)
		p.become(StatusCooling, err)
	}
	p.stop(err)
}

func (p *peerMachine) stop(err error) {
	if !p.stopped {
		p.stopped = true
		p.emit(peerEffect{kind: pfStop, err: err})
	}
	p.doing, p.due = opRelease, 0
}

func (p *peerMachine) timeout(now time.Duration) {
	if p.due == 0 || now < p.due {
		return
	}
	switch p.doing {
	case opDeactivate:
		// [OURS] connmgr §6.2: a chain-sync client that waits for the server's answer cannot stop. That is a close, not an error.
		p.silent = true
		p.delay = -1
		p.become(StatusCooling, nil)
		p.stop(errCloseTimeout)
	case opClose:
		p.stop(errCloseTimeout)
	}
}

// gone: the connection manager says that our half is over, whoever ended it.
func (p *peerMachine) gone(err error) {
	if p.status == StatusCold {
		return
	}
	cause := worst(p.failed, err)
	if p.doing == opRelease && p.failed == nil {
		cause = nil // it ended because we wanted it to
	}
	if cause != nil && p.status > StatusCooling {
		p.delay = max(p.delay, Classify(cause).Delay)
	}
	if p.status > StatusCooling {
		p.become(StatusCooling, cause)
	}
	p.doing, p.due = opNone, 0
	if p.dropped {
		p.status = StatusCold
	} else {
		p.become(StatusCold, cause)
	}
	if p.silent {
		cause = nil
	}
	p.replyAll(&p.deactivate, cause)
	p.replyAll(&p.closing, cause)
}
