// Package submit is the command `idlog submit`: from the lines of a file to
// receipts that were verified.
package submit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/protobuf/encoding/protojson"

	"idlog/client"
	"idlog/cmd/idlog/report"
	"idlog/cmd/idlog/session"
	"idlog/cmd/internal/durable"
	"idlog/cmd/internal/serve"
	"idlog/log/source"
	"idlog/log/source/auth0"
	"idlog/log/source/okta"
	"idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
)

const (
	maxLine = 16 << 20 // bytes; what is longer cannot be one event
	// A chunk is mapped and submitted as one: bounded memory for any file.
	maxChunk      = 500
	maxChunkBytes = 8 << 20
)

// formats reads one line of each format.
var formats = map[string]func(line []byte, cfg source.Config) ([]*eventv1.Event, error){
	"event": parseEvent,
	"okta":  okta.Mapper.Map,
	"auth0": auth0.Mapper.Map,
}

// parseEvent reads the JSON of an idlog.event.v1.Event.
func parseEvent(line []byte, _ source.Config) ([]*eventv1.Event, error) {
	e := &eventv1.Event{}
	if err := protojson.Unmarshal(line, e); err != nil {
		return nil, fmt.Errorf("not the JSON of an event: %w", err)
	}
	return []*eventv1.Event{e}, nil
}

// submission is one run of the submit command.
type submission struct {
	g                                      *session.Session
	source, format, issuer, wait, receipts string

	opts     client.Options
	client   *client.Client
	progress bool
	tally    tally
}

// tally counts what became of the events; worst is the error that the exit
// code is for.
type tally struct {
	lines, logged, promised, refused int
	worst                            error
}

// Command is `idlog submit`.
func Command(g *session.Session) *cobra.Command {
	s := &submission{g: g}
	cmd := &cobra.Command{
		Use:   "submit [FILE|-]",
		Short: "Log the events of an NDJSON file, and verify every receipt",
		Example: `  idlog submit okta.ndjson --source okta-prod --format okta --issuer https://acme.okta.com
  my-service | idlog submit - --source my-service --receipts receipts`,
		Long: `Log the events of an NDJSON file or of standard input, one JSON value a line, and verify every receipt.

Bad lines are refused with their number; the rest goes in, and the exit code says that some did not (1).
Submitting a file again is safe: what is logged is not logged twice.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, shut, err := input(g, args)
			if err != nil {
				return err
			}
			defer shut()
			return s.run(cmd.Context(), in)
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.source, "source", "", "source instance that the events belong to (required)")
	f.StringVar(&s.format, "format", "event", "event, okta or auth0")
	f.StringVar(&s.issuer, "issuer", "", "who names the persons in a provider's events, such as https://acme.okta.com")
	f.StringVar(&s.receipts, "receipts", "", "folder to save each receipt in, as INDEX.idlog-disclosure")
	f.StringVar(&s.wait, "wait", "published", "published waits for receipts, sequenced takes tickets")
	return cmd
}

// input opens the file that is named, or standard input.
func input(g *session.Session, args []string) (in io.Reader, shut func(), err error) {
	if len(args) == 0 || args[0] == "-" {
		return g.Stdin, func() {}, nil
	}
	f, err := os.Open(args[0])
	if err != nil {
		return nil, nil, &serve.ExitError{Code: serve.CodeUsage, Err: fmt.Errorf("opening the events: %w", err)}
	}
	return f, func() { f.Close() }, nil
}

func (s *submission) run(ctx context.Context, in io.Reader) error {
	parse, ok := formats[s.format]
	switch {
	case s.source == "":
		return serve.Usagef("--source is missing: which source do the events belong to?")
	case !ok:
		return serve.Usagef("--format is event, okta or auth0, not %q", s.format)
	case s.wait != "published" && s.wait != "sequenced":
		return serve.Usagef("--wait is published or sequenced, not %q", s.wait)
	}
	s.opts = client.Options{Sequenced: s.wait == "sequenced", KeepConflicts: true}
	if s.receipts != "" {
		if err := os.MkdirAll(s.receipts, 0o700); err != nil {
			return fmt.Errorf("making the folder of receipts: %w", err)
		}
	}
	var err error
	if s.client, err = s.g.Client(); err != nil {
		return err
	}
	defer s.client.Close()
	if f, ok := s.g.Stderr.(*os.File); ok {
		s.progress = term.IsTerminal(int(f.Fd()))
	}
	if err := s.read(ctx, bufio.NewReaderSize(in, 64<<10), parse); err != nil {
		return err
	}
	return s.finish()
}

// lined is an event and the line that it came from.
type lined struct {
	line  int
	event *eventv1.Event
}

// read maps the lines and submits them in chunks. It returns the error that
// stopped it: what was read before is told, what comes after was not sent.
func (s *submission) read(ctx context.Context, in *bufio.Reader, parse func([]byte, source.Config) ([]*eventv1.Event, error)) error {
	var chunk []lined
	size := 0
	for number := 1; ; number++ {
		line, err := readLine(in)
		end, long := errors.Is(err, io.EOF), errors.Is(err, errLine)
		if err != nil && !end && !long {
			return fmt.Errorf("reading line %d: %w", number, err)
		}
		if line = bytes.TrimSpace(line); len(line) > 0 || long {
			s.tally.lines++
			var events []*eventv1.Event
			bad := errLine
			if !long {
				events, bad = parse(line, source.Config{Issuer: s.issuer})
			}
			// A delivery may hold good events beside what is none.
			if bad != nil {
				if err := s.refuse(number, "", bad); err != nil {
					return err
				}
			}
			for _, e := range events {
				for _, part := range event.Split(e) {
					chunk = append(chunk, lined{number, part})
				}
			}
			size += len(line)
		}
		if len(chunk) >= maxChunk || size >= maxChunkBytes || end {
			if err := s.submit(ctx, chunk); err != nil {
				return err
			}
			chunk, size = chunk[:0], 0
		}
		if end {
			return nil
		}
	}
}

var errLine = fmt.Errorf("longer than %d bytes", maxLine)

// readLine returns the next line with its end. Of a line that is too long it
// returns errLine, and the next call begins after it. io.EOF comes with the last.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	long := false
	for {
		part, err := in.ReadSlice('\n')
		if long = long || len(line)+len(part) > maxLine; !long {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case long && err == nil:
			return nil, errLine
		case long:
			return nil, errors.Join(errLine, err)
		default:
			return line, err
		}
	}
}

// submit sends one chunk and tells what became of each event of it.
func (s *submission) submit(ctx context.Context, chunk []lined) error {
	if len(chunk) == 0 {
		return nil
	}
	events := make([]*eventv1.Event, len(chunk))
	for i, l := range chunk {
		events[i] = l.event
	}
	ctx, cancel := s.g.Within(ctx)
	defer cancel()
	results, failed := s.client.Submit(ctx, s.source, events, s.opts)
	open := 0
	for i, res := range results {
		switch {
		case res.Err != nil && failed != nil && errors.Is(res.Err, failed):
			open++
		default:
			if err := s.tell(chunk[i], res); err != nil {
				return err
			}
		}
	}
	if s.progress {
		fmt.Fprintf(s.g.Stderr, "\r%d lines, %d logged ", s.tally.lines, s.tally.logged)
	}
	if failed != nil {
		return fmt.Errorf("submitting line %d and what follows (%d events are logged, submitting the file again is safe): %w",
			chunk[len(chunk)-open].line, s.tally.logged, failed)
	}
	return nil
}

// resultJSON is the fate of one event.
type resultJSON struct {
	Line      int              `json:"line"`
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

func (s *submission) tell(l lined, res client.Result) error {
	id := l.event.GetSource().GetNativeId()
	if ticket, ok := errors.AsType[*client.Ticket](res.Err); ok {
		s.tally.promised++
		if !s.opts.Sequenced {
			s.tally.blame(res.Err)
		}
		if s.g.JSON {
			return s.g.Object(resultJSON{Line: l.line, ID: id, Deadline: &ticket.Deadline, Ticket: string(ticket.Note)})
		}
		return s.g.Text("-  %s  promised until %s\n", report.Printable(id), ticket.Deadline.Format(time.RFC3339))
	}
	if res.Err != nil {
		return s.refuse(l.line, id, res.Err)
	}
	r := res.Receipt
	s.tally.logged++
	if s.receipts != "" {
		b, err := r.Disclosure().Format()
		if err != nil {
			return fmt.Errorf("saving the receipt of entry %d: %w", r.Index, err)
		}
		if err := durable.Replace(filepath.Join(s.receipts, fmt.Sprintf("%d.idlog-disclosure", r.Index)), b, 0o600); err != nil {
			return err
		}
	}
	c := r.Checkpoint
	if s.g.JSON {
		return s.g.Object(resultJSON{Line: l.line, ID: r.NativeID, Index: &r.Index, Size: c.Checkpoint.Size,
			Witnesses: report.Witnesses(c.Cosignatures), Repeat: r.Repeat})
	}
	return s.g.Text("%d  %s  size %d  %s\n", r.Index, report.Printable(r.NativeID), c.Checkpoint.Size, report.Names(c.Cosignatures))
}

// refuse tells that a line, or an event of it, is not in the log.
func (s *submission) refuse(line int, id string, err error) error {
	s.tally.refused++
	s.tally.blame(err)
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if s.g.JSON {
		return s.g.Object(resultJSON{Line: line, ID: id, Reason: report.ReasonOf(err), Message: text})
	}
	if s.progress {
		fmt.Fprint(s.g.Stderr, "\r")
	}
	about := ""
	if id != "" {
		about = " (" + report.Printable(id) + ")"
	}
	fmt.Fprintf(s.g.Stderr, "idlog: line %d%s: %s\n", line, about, text)
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

// finish sums up and returns the error that the exit code is for.
func (s *submission) finish() error {
	t := s.tally
	if s.progress {
		fmt.Fprint(s.g.Stderr, "\r")
	}
	if !s.g.JSON {
		fmt.Fprintf(s.g.Stderr, "idlog: %d lines: %d events logged, %d promised, %d refused\n", t.lines, t.logged, t.promised, t.refused)
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
