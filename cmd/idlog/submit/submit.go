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
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"idlog/client"
	"idlog/cmd/idlog/session"
	"idlog/cmd/internal/program"
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
	account
	source, format, issuer, wait string

	opts   client.Options
	client *client.Client
}

// Command is `idlog submit`.
func Command(g *session.Session) *cobra.Command {
	s := &submission{account: account{g: g}}
	cmd := &cobra.Command{
		Use:   "submit [FILE|-]",
		Short: "Log the events of an NDJSON file, and verify every receipt",
		Example: `  idlog submit okta.ndjson --source okta-prod --format okta --issuer https://acme.okta.com
  my-service | idlog submit - --source my-service --receipts receipts --self-monitor`,
		Long: `Log the events of an NDJSON file or of standard input, one JSON value a line, and verify every receipt.

Bad lines are refused with their number; the rest goes in, and the exit code says that some did not (1).
Submitting a file again is safe: what is logged is not logged twice.

An event that is in the log and not in its index is found by nobody. So the index is held to one receipt in a thousand, drawn by
chance, or with --self-monitor to all, once it comes up to them. What it lacks is evidence, which idlog verify judges for anyone.

While the log's witnesses are away an event is promised by a ticket. It is followed until --timeout; then it is kept, and
idlog follow goes on with it.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: program.FileArgs("ndjson", "jsonl", "json"),
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
	s.flags(f)
	f.StringVar(&s.wait, "wait", "published", "published waits for receipts, sequenced takes tickets")
	program.Values(cmd, "format", slices.Sorted(maps.Keys(formats))...)
	program.Values(cmd, "wait", "published", "sequenced")
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
	s.tickets = s.opts.Sequenced
	if err := s.begin(); err != nil {
		return err
	}
	defer s.bar.Clear()
	var err error
	if s.client, err = s.g.Client(); err != nil {
		return err
	}
	defer s.client.Close()
	if err := s.read(ctx, bufio.NewReaderSize(in, 64<<10), parse); err != nil {
		return err
	}
	return s.finish(ctx, s.client, fmt.Sprintf("%d lines", s.tally.lines))
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
			if len(s.sample.kept) >= maxKept {
				s.holdIndex(ctx, s.client)
			}
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
	if !s.opts.Sequenced {
		s.follow(ctx, results)
	}
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
	s.bar.Say(fmt.Sprintf("%d lines, %d logged", s.tally.lines, s.tally.logged))
	if failed != nil {
		return fmt.Errorf("submitting line %d and what follows (%d events are logged, submitting the file again is safe): %w",
			chunk[len(chunk)-open].line, s.tally.logged, failed)
	}
	return nil
}

// follow puts what comes of tickets in their place, as long as ctx lasts.
func (s *submission) follow(ctx context.Context, results []client.Result) {
	var tickets []*client.Ticket
	var at []int
	for i, r := range results {
		if t, ok := errors.AsType[*client.Ticket](r.Err); ok {
			tickets, at = append(tickets, t), append(at, i)
		}
	}
	if len(tickets) == 0 {
		return
	}
	s.bar.Say(fmt.Sprintf("%d events are promised, waiting for the log's witnesses", len(tickets)))
	for i, r := range s.client.Follow(ctx, tickets) {
		results[at[i]] = r
	}
}
