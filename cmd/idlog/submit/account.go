package submit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"idlog/client"
	"idlog/cmd/idlog/report"
	"idlog/cmd/idlog/session"
	"idlog/cmd/internal/durable"
	"idlog/cmd/internal/progress"
	"idlog/cmd/internal/serve"
	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/leaf"
)

// account tells and counts what becomes of events, and saves what proves it.
type account struct {
	g        *session.Session
	receipts string // folder, or empty
	tickets  bool   // a ticket is all that was asked for
	bar      *progress.Line
	tally    tally
	sample   sample
}

// tally counts what became of the events; worst is the error that the exit
// code is for.
type tally struct {
	lines, logged, promised, refused int
	worst                            error
}

// lined is an event and the line that it came from; 0 for none.
type lined struct {
	line  int
	event *eventv1.Event
}

func (a *account) flags(f *pflag.FlagSet) {
	f.StringVar(&a.receipts, "receipts", "", "folder to save each receipt in, as INDEX.idlog-disclosure beside what was sent, and each ticket until then")
	f.BoolVar(&a.sample.all, "self-monitor", false, "hold the log's index to every receipt, not to one in a thousand: it must list each event")
}

func (a *account) begin() error {
	a.bar = progress.New(a.g.Stderr)
	if a.receipts == "" {
		return nil
	}
	if err := os.MkdirAll(a.receipts, 0o700); err != nil {
		return fmt.Errorf("making the folder of receipts: %w", err)
	}
	return nil
}

// resultJSON is the fate of one event.
type resultJSON struct {
	Line      int              `json:"line,omitempty"`
	ID        string           `json:"id,omitempty"`
	Index     *int64           `json:"index,omitempty"`
	Size      int64            `json:"size,omitempty"`
	Witnesses []report.Witness `json:"witnesses,omitempty"`
	Repeat    bool             `json:"repeat,omitempty"`
	Deadline  *time.Time       `json:"deadline,omitempty"`
	Ticket    string           `json:"ticket,omitempty"`
	Reason    string           `json:"reason,omitempty"`
	Message   string           `json:"message,omitempty"`
}

// tell says what became of an event. Its error is that of the output, or of the folder of receipts.
func (a *account) tell(l lined, res client.Result) error {
	a.bar.Clear()
	id := l.event.GetSource().GetNativeId()
	if ticket, ok := errors.AsType[*client.Ticket](res.Err); ok {
		return a.promised(l, id, ticket, res.Err)
	}
	if res.Err != nil {
		return a.refuse(l.line, id, res.Err)
	}
	r := res.Receipt
	a.tally.logged++
	a.sample.take(r)
	if a.receipts != "" {
		if err := a.save(r); err != nil {
			return err
		}
	}
	c := r.Checkpoint
	if a.g.JSON {
		return a.g.Object(resultJSON{Line: l.line, ID: r.NativeID, Index: &r.Index, Size: c.Checkpoint.Size,
			Witnesses: report.Witnesses(c.Cosignatures), Repeat: r.Repeat})
	}
	return a.g.Text("%d  %s  size %d  %s\n", r.Index, report.Printable(r.NativeID), c.Checkpoint.Size, report.Names(c.Cosignatures))
}

// save keeps a receipt and what was sent for it, in place of the ticket that may have come before.
func (a *account) save(r *client.Receipt) error {
	b, err := r.Disclosure().Format()
	if err != nil {
		return fmt.Errorf("saving the receipt of entry %d: %w", r.Index, err)
	}
	sent, err := r.Sent.Bytes(r.Event.Log, r.Event.Source)
	if err != nil {
		return fmt.Errorf("saving what was sent as entry %d: %w", r.Index, err)
	}
	name := filepath.Join(a.receipts, strconv.FormatInt(r.Index, 10))
	if err := durable.Replace(name+".idlog-submission", sent, 0o600); err != nil {
		return err
	}
	// If we die here the receipt comes again, as the event does: who monitors looks for what was sent beside a receipt.
	if err := durable.Replace(name+".idlog-disclosure", b, 0o600); err != nil {
		return err
	}
	if err := os.Remove(a.ticketFile(r.Leaf)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the ticket of entry %d: %w", r.Index, err)
	}
	return nil
}

// ticketFile is where the ticket of a leaf is kept.
func (a *account) ticketFile(b []byte) string {
	h := leaf.HashOf(b)
	return filepath.Join(a.receipts, fmt.Sprintf("ticket-%x.idlog-evidence", h[:8]))
}

// promised tells of an event that has a ticket and no receipt yet; err says why not, where that is known.
func (a *account) promised(l lined, id string, t *client.Ticket, err error) error {
	a.tally.promised++
	if !a.tickets {
		a.tally.blame(err)
	}
	if a.receipts != "" && !t.Repeat {
		b, err := t.Format()
		if err != nil {
			return err
		}
		if err := durable.Replace(a.ticketFile(t.Leaf), b, 0o600); err != nil {
			return err
		}
	}
	why := "" // it has no receipt, beyond that witnesses are away
	if err != error(t) {
		why = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	if a.g.JSON {
		return a.g.Object(resultJSON{Line: l.line, ID: id, Deadline: &t.Deadline, Ticket: string(t.Note), Message: why})
	}
	if why != "" {
		fmt.Fprintf(a.g.Stderr, "idlog: (%s): %s\n", report.Printable(id), why)
	}
	return a.g.Text("-  %s  promised until %s\n", report.Printable(id), t.Deadline.Format(time.RFC3339))
}

// refuse tells that a line, or an event of it, is not in the log.
func (a *account) refuse(line int, id string, err error) error {
	a.tally.refused++
	a.tally.blame(err)
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if a.g.JSON {
		return a.g.Object(resultJSON{Line: line, ID: id, Reason: report.ReasonOf(err), Message: text})
	}
	a.bar.Clear()
	var about []string
	if line > 0 {
		about = append(about, fmt.Sprintf("line %d", line))
	}
	if id != "" {
		about = append(about, "("+report.Printable(id)+")")
	}
	fmt.Fprintf(a.g.Stderr, "idlog: %s: %s\n", strings.Join(about, " "), text)
	return nil
}

// blame keeps the error that matters most: one that accuses the log before a
// promise that is open, and that before an event that was refused.
func (t *tally) blame(err error) {
	if rank(err) > rank(t.worst) {
		t.worst = err
	}
}

func rank(err error) int {
	if err == nil {
		return 0
	}
	switch code, _ := report.ClassOf(err); code {
	case serve.CodeVerification:
		return 3
	case serve.CodeQuorum:
		return 2
	}
	return 1
}

// finish holds the index to what is left of the sample, sums up what was read, and returns the error that the exit code is for.
func (a *account) finish(ctx context.Context, c *client.Client, read string) error {
	a.holdIndex(ctx, c)
	t, held := a.tally, a.sample.err
	a.bar.Clear()
	if !a.g.JSON {
		fmt.Fprintf(a.g.Stderr, "idlog: %s: %d events logged, %d promised, %d refused\n", read, t.logged, t.promised, t.refused)
		if a.sample.all {
			a.g.Note("the log's index holds for %d of %d events", a.sample.held, t.logged)
		}
	}
	if held != nil && rank(held) > rank(t.worst) {
		return held
	}
	if held != nil {
		a.g.Note("%v", held)
	}
	switch rank(t.worst) {
	case 0:
		return nil
	case 1:
		return &serve.ExitError{Code: serve.CodeError, Err: fmt.Errorf("%d of the lines or their events are not in the log", t.refused)}
	case 2:
		return &outcome{"not every event has a receipt that this policy accepts", t.worst}
	}
	return &outcome{"the log does not hold what was sent, or cannot show it", t.worst}
}

// outcome sums up what the lines before it have told in full. Its cause
// chooses the exit code.
type outcome struct {
	text  string
	cause error
}

func (o *outcome) Error() string { return o.text }
func (o *outcome) Unwrap() error { return o.cause }
