package governor

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"
)

// A recording is text: a line with the configuration, then one line for each event, in the order of the steps. As the core is pure, the
// recording is everything: Replay gives the same decisions.

const recordVersion = 1

// recordHeader is the first line.
type recordHeader struct {
	Hearth int // version of the format
	Policy string
	Config Config
}

// recordLine is any other.
type recordLine struct {
	At    time.Duration
	Type  string
	Event json.RawMessage
}

// Recorder writes the inputs of a core. It does not buffer: a recording is most wanted after a crash.
type Recorder struct {
	w   io.Writer
	err error
}

// NewRecorder writes the header. The policy is noted by its type only.
func NewRecorder(w io.Writer, cfg Config) (*Recorder, error) {
	cfg = cfg.filled()
	r := &Recorder{w: w}
	b, err := json.Marshal(recordHeader{recordVersion, fmt.Sprintf("%T", cfg.Policy), cfg})
	if err != nil {
		return nil, err
	}
	r.write(b)
	return r, r.err
}

// Record notes an event and the time of its step. After the first error it does nothing but return it.
func (r *Recorder) Record(ev Event, at time.Duration) error {
	if r.err != nil {
		return r.err
	}
	body, err := json.Marshal(ev)
	if err == nil {
		body, err = json.Marshal(recordLine{at, reflect.TypeOf(ev).Name(), body})
	}
	if err != nil {
		r.err = err
		return err
	}
	r.write(body)
	return r.err
}

func (r *Recorder) write(b []byte) { _, r.err = r.w.Write(append(b, '\n')) }

// eventTypes are all events by name.
var eventTypes = func() map[string]reflect.Type {
	m := map[string]reflect.Type{}
	for _, ev := range []Event{Tick{}, Begin{}, TargetsSet{}, LocalRootsSet{}, SettingsSet{}, LedgerSet{}, StatusSeen{}, InboundSeen{}, Connected{}, Activated{},
		Deactivated{}, Disconnected{}, Answered{}, RootsAnswered{}, InboundListed{}, SnapshotVerified{}, Reported{}, Measured{},
		MetricsSeen{}, Restored{}} {
		t := reflect.TypeOf(ev)
		m[t.Name()] = t
	}
	return m
}()

// ErrRecording is a recording that cannot be replayed.
var ErrRecording = errors.New("governor: recording")

const maxRecordLine = 64 << 20 // one answer of 10,000 peers is less than a hundredth of it

// Replay steps a new core through a recording and shows every step to visit, which may end it with an error. policy must be the one
// of the recorded run; nil is SimplePolicy.
func Replay(r io.Reader, policy Policy, visit func(ev Event, at time.Duration, c *Core, out Output) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxRecordLine)
	if !lines.Scan() {
		return fmt.Errorf("%w: empty: %w", ErrRecording, errors.Join(lines.Err(), io.ErrUnexpectedEOF))
	}
	var h recordHeader
	if err := json.Unmarshal(lines.Bytes(), &h); err != nil || h.Hearth != recordVersion {
		return fmt.Errorf("%w: version %d: %w", ErrRecording, h.Hearth, errors.Join(err, errors.ErrUnsupported))
	}
	h.Config.Policy = policy
	if have := fmt.Sprintf("%T", h.Config.filled().Policy); have != h.Policy {
		return fmt.Errorf("%w: made with policy %s, not %s", ErrRecording, h.Policy, have)
	}
	c, err := NewCore(h.Config)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRecording, err)
	}
	for n := 2; lines.Scan(); n++ {
		ev, at, err := parseRecorded(lines.Bytes())
		if err != nil {
			return fmt.Errorf("%w: line %d: %w", ErrRecording, n, err)
		}
		if err := visit(ev, at, c, c.Step(ev, at)); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrRecording, err)
	}
	return nil
}

func parseRecorded(b []byte) (Event, time.Duration, error) {
	var l recordLine
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, 0, err
	}
	t, ok := eventTypes[l.Type]
	if !ok {
		return nil, 0, fmt.Errorf("no event %q", l.Type)
	}
	v := reflect.New(t)
	if err := json.Unmarshal(l.Event, v.Interface()); err != nil {
		return nil, 0, err
	}
	return v.Elem().Interface().(Event), l.At, nil
}
