package monitor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"idlog/client/monitor/memory"
	"idlog/client/monitor/webhook"
)

// Severity says what a finding asks of whoever reads it.
type Severity string

// The severities, the gravest first.
const (
	// Contradiction: a log or a witness said two things that cannot both be true,
	// or went back. There is a file of evidence, and the monitor stops.
	Contradiction Severity = "contradiction"
	// Fault: an entry breaks a rule of the log. It stays in it for ever, and is
	// reported once.
	Fault Severity = "fault"
	// Alarm: something is not as it must be, now. It is repeated every hour.
	Alarm Severity = "alarm"
	// Warning: somebody should know.
	Warning Severity = "warning"
	// Info: no action; also that an alarm is over.
	Info Severity = "info"
)

// Finding is one thing that a monitor has to say. As JSON it is one object.
type Finding struct {
	// ID is the same whenever the same thing is found or delivered again.
	ID       string    `json:"id"`
	Time     time.Time `json:"time"` // when it was found
	Severity Severity  `json:"severity"`
	// Kind is a word of the list in the README of client, such as duplicate.
	Kind  string `json:"kind"`
	Log   string `json:"log"`             // origin
	Index *int64 `json:"index,omitempty"` // of the entry that it is about, if it is about one
	Size  int64  `json:"size"`            // of the tree that was looked at
	// Message is a sentence for people. What a log chose is quoted in it.
	Message  string `json:"message"`
	Evidence string `json:"evidence,omitempty"` // file
}

// Sink is told of findings.
type Sink interface {
	// Deliver returns nil once the finding is out of our hands: written and
	// flushed, or accepted by who was called. After an error it is called again
	// with the same finding, until ctx ends; it may get a finding of an earlier
	// process again as well.
	Deliver(ctx context.Context, f Finding) error
}

// Stopped says that a log contradicted itself and is not followed any more. It
// was delivered, and its evidence is kept.
type Stopped struct {
	Finding Finding
	// Before says that an earlier run stopped, and this one did not look.
	Before bool
}

func (e *Stopped) Error() string {
	s := e.Finding.Message
	if e.Before {
		s = fmt.Sprintf("not followed since %s: %s", e.Finding.Time.Format(time.RFC3339), s)
	}
	if e.Finding.Evidence != "" {
		s += " (evidence: " + e.Finding.Evidence + ")"
	}
	return s
}

// Stale says that the newest checkpoint with a quorum is older than Config.MaxAge.
type Stale struct {
	Log string
	Age time.Duration
}

func (e *Stale) Error() string {
	return fmt.Sprintf("the newest checkpoint of %s was cosigned %s ago", e.Log, e.Age.Round(time.Second))
}

// Unverified says that what a log shows as its checkpoint is none that the policy
// accepts: it is of other keys or of another log, or a signature is false.
type Unverified struct {
	Log, Path string
	Err       error
}

func (e *Unverified) Error() string {
	return fmt.Sprintf("the %s of %s does not verify: %v", e.Path, e.Log, e.Err)
}

// Unwrap returns Err.
func (e *Unverified) Unwrap() error { return e.Err }

// Behind says that a contradiction of a log's checkpoints was acknowledged and
// is still shown: nothing can be checked until it shows the history again that
// is known here.
type Behind struct{ Log, Shown string }

func (e *Behind) Error() string {
	return fmt.Sprintf("log %s is not followed until it shows the history that is known here: %s", e.Log, e.Shown)
}

// ErrInUse is in the StateError of a state that another monitor has open. Wait
// until that one has ended.
var ErrInUse = memory.ErrInUse

// StateError says that the monitor's own directory failed or is damaged. Nothing
// was skipped: the cursor stands where it stood.
type StateError struct{ Err error }

func (e *StateError) Error() string { return "keeping the monitor's state: " + e.Err.Error() }

// Unwrap returns Err.
func (e *StateError) Unwrap() error { return e.Err }

// Undelivered says that a sink did not take a finding while Once was trying. It
// is kept, and the next run delivers it before all else.
type Undelivered struct {
	Finding Finding
	Err     error
}

func (e *Undelivered) Error() string {
	return fmt.Sprintf("delivering %s of %s: %s", e.Finding.Kind, e.Finding.Log, e.Err)
}

// Unwrap returns Err.
func (e *Undelivered) Unwrap() error { return e.Err }

// finding makes a finding. key tells it from others of its kind, and is the same
// when it is found again.
func (m *Monitor) finding(s Severity, kind, key, format string, args ...any) Finding {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", m.origin, kind, key))
	return Finding{
		ID: fmt.Sprintf("idlog_%x", sum[:16]), Time: time.Now().UTC().Truncate(time.Second), Severity: s, Kind: kind, Log: m.origin,
		Size: m.size, Message: fmt.Sprintf(format, args...),
	}
}

// Webhook is a Sink that posts each finding to a hook, as the member data of an
// object with type and timestamp.
func Webhook(h *webhook.Hook) Sink { return hookSink{h} }

type hookSink struct{ hook *webhook.Hook }

func (s hookSink) Deliver(ctx context.Context, f Finding) error {
	b, err := json.Marshal(struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      Finding   `json:"data"`
	}{"idlog.monitor." + f.Kind, f.Time, f})
	if err != nil {
		return fmt.Errorf("writing a finding: %w", err)
	}
	return s.hook.Post(ctx, f.ID, b)
}

// formatFindings writes one JSON object a line.
func formatFindings(fs []Finding) ([]byte, error) {
	var b bytes.Buffer
	for _, f := range fs {
		if err := json.NewEncoder(&b).Encode(f); err != nil {
			return nil, fmt.Errorf("writing findings: %w", err)
		}
	}
	return b.Bytes(), nil
}

func parseFindings(b []byte) ([]Finding, error) {
	var fs []Finding
	for d := json.NewDecoder(bytes.NewReader(b)); d.More(); {
		var f Finding
		if err := d.Decode(&f); err != nil {
			return nil, fmt.Errorf("reading findings: %w", err)
		}
		fs = append(fs, f)
	}
	return fs, nil
}
