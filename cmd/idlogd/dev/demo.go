package dev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"
	"google.golang.org/protobuf/encoding/protojson"

	"idlog/client"
	"idlog/client/trust"
	"idlog/cmd/idlogd/config"
	"idlog/cmd/internal/serve"
	"idlog/log/source"
	"idlog/log/source/auth0"
	"idlog/log/source/okta"
	"idlog/proto/answer"
	"idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/policy"
	"idlog/proto/seal"
	"idlog/proto/subject"
	"idlog/testdata/samples"
)

// devSource is one source of the sample events.
type devSource struct {
	name   string
	issuer string
	file   string
	mapper source.Mapper // nil: the lines are events of idlog.event.v1 already
}

var devSources = []devSource{
	{"okta", "https://acme.okta.example", "okta.ndjson", okta.Mapper},
	{"auth0", "https://acme.auth0.example/", "auth0.ndjson", auth0.Mapper},
	{"direct", "https://hr.acme.example", "event.ndjson", nil},
}

// errOffline says that a saved receipt does not verify.
var errOffline = errors.New("the saved receipt does not verify offline")

// demo is the account that `idlogd dev` gives on the terminal.
type demo struct {
	env        serve.Env
	dir        string
	policyFile string
	addresses  map[string]string
	cosigners  int

	receiptFile string
	historyFile string
	pending     bool // a line of progress stands on the terminal
}

// run logs the samples and ends with a receipt that was verified offline.
func (d *demo) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	d.progress("logging the samples...")
	trusted, err := config.ReadPolicy(d.policyFile)
	if err != nil {
		return err
	}
	state, err := trust.Open(filepath.Join(d.dir, "reader"))
	if err != nil {
		return err
	}
	judged, err := d.readTrust()
	if err != nil {
		return err
	}
	c, err := client.New(client.Config{Target: d.addresses["grpc"], Policy: trusted, Trust: judged, State: state})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()

	d.say("A witnessed log of identity events, all of it on this machine.\n\n")
	d.line("log", "%s, with a key of its own", trusted.Logs[0].Origin)
	d.line("witnesses", "%s; any %d must cosign", strings.Join(witnessNames(trusted), ", "), d.cosigners/2+1)
	var first *client.Receipt
	for _, s := range devSources {
		receipts, err := logSamples(ctx, c, s)
		if err != nil {
			return fmt.Errorf("logging the samples of %s: %w", s.name, err)
		}
		d.line("logged", "%d events of %s, each receipt verified", len(receipts), s.name)
		d.progress("logging the samples...")
		if first == nil {
			first = receipts[0]
		}
	}
	now, err := c.Checkpoint(ctx)
	if err != nil {
		return err
	}
	d.line("size", "%d entries: these, the persons in them, and the log's own", now.Checkpoint.Size)
	d.receiptFile = filepath.Join(d.dir, "receipt.idlog-disclosure")
	if err := saveReceipt(d.receiptFile, first); err != nil {
		return err
	}
	opened, err := verifyOffline(d.receiptFile, d.policyFile)
	if err != nil {
		return err
	}
	if err := d.show(opened); err != nil {
		return err
	}
	d.progress("waiting for the verifier of the index...")
	return d.history(ctx, c, judged)
}

// readTrust reads the trust file, as a reader does that has it from somebody else.
func (d *demo) readTrust() (*policy.Trust, error) {
	b, err := os.ReadFile(filepath.Join(d.dir, trustName))
	if err != nil {
		return nil, fmt.Errorf("reading the trust file: %w", err)
	}
	return policy.ParseTrust(b)
}

// somebody is in the samples of the first source.
var somebody = subject.Identifier{Issuer: devSources[0].issuer, Format: subject.FormatOpaque, ID: "00uada0001"}

// history asks for all that a person did, and shows what a reader says of the file later, who has nothing else.
func (d *demo) history(ctx context.Context, c *client.Client, judged *policy.Trust) error {
	h, err := c.History(ctx, client.Question{Asks: []answer.Ask{{Kind: answer.OfActor, Identifier: somebody}}, Fields: true})
	if err != nil {
		return err
	}
	d.historyFile = filepath.Join(d.dir, "ada.idlog-history")
	if err := os.WriteFile(d.historyFile, h.File, 0o600); err != nil {
		return fmt.Errorf("saving the history: %w", err)
	}
	b, err := os.ReadFile(d.historyFile)
	if err != nil {
		return fmt.Errorf("reading the history: %w", err)
	}
	saved, err := answer.Parse(b)
	if err != nil {
		return err
	}
	v, err := saved.Verify(judged, time.Now())
	if err != nil {
		return err
	}
	d.say("\nAll that one person did, and the proof that it is all, verified offline as well:\n\n")
	d.line("actor", "%s of %s, whom no entry names", somebody.ID, somebody.Issuer)
	for _, e := range v.Events {
		kind := ""
		for _, l := range e.Fields {
			if l.Path == "source.native_type" && l.State == seal.Shown {
				kind = l.Value.Text()
			}
		}
		d.line("entry", "%d, %s", e.Index, kind)
	}
	d.line("verdict", "%s", v)
	d.line("verified", "with nothing but %s", filepath.Base(d.historyFile))
	d.line("", "and %s", trustName)
	return nil
}

// logSamples submits one file of samples and returns the receipts.
func logSamples(ctx context.Context, c *client.Client, s devSource) ([]*client.Receipt, error) {
	b, err := samples.Files.ReadFile(s.file)
	if err != nil {
		return nil, err
	}
	var events []*eventv1.Event
	for line := range bytes.Lines(b) {
		mapped, err := s.mapLine(bytes.TrimSpace(line))
		if err != nil {
			return nil, err
		}
		for _, e := range mapped {
			events = append(events, event.Split(e)...)
		}
	}
	results, err := c.Submit(ctx, s.name, events, client.Options{KeepConflicts: true})
	if err != nil {
		return nil, err
	}
	receipts := make([]*client.Receipt, len(results))
	for i, r := range results {
		if r.Err != nil {
			return nil, fmt.Errorf("event %s: %w", events[i].GetSource().GetNativeId(), r.Err)
		}
		receipts[i] = r.Receipt
	}
	return receipts, nil
}

func (s devSource) mapLine(line []byte) ([]*eventv1.Event, error) {
	if s.mapper != nil {
		return s.mapper.Map(line, source.Config{Issuer: s.issuer})
	}
	e := new(eventv1.Event)
	if err := protojson.Unmarshal(line, e); err != nil {
		return nil, fmt.Errorf("reading an event: %w", err)
	}
	return []*eventv1.Event{e}, nil
}

// saveReceipt writes a receipt as the file that its holder would keep.
func saveReceipt(file string, r *client.Receipt) error {
	b, err := r.Disclosure().Format()
	if err != nil {
		return fmt.Errorf("formatting the receipt: %w", err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		return fmt.Errorf("saving the receipt: %w", err)
	}
	return nil
}

// verifyOffline knows nothing but the two files.
func verifyOffline(receiptFile, policyFile string) (*seal.Opened, error) {
	b, err := os.ReadFile(receiptFile)
	if err != nil {
		return nil, fmt.Errorf("reading the receipt: %w", err)
	}
	trusted, err := config.ReadPolicy(policyFile)
	if err != nil {
		return nil, err
	}
	disclosure, err := seal.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errOffline, err)
	}
	opened, err := disclosure.Verify(trusted)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errOffline, err)
	}
	return opened, nil
}

// show says what the receipt proves.
func (d *demo) show(o *seal.Opened) error {
	var cosigned []string
	for _, c := range o.Cosigned {
		cosigned = append(cosigned, c.Witness)
	}
	d.say("\nA receipt, saved to a file, read again and verified offline:\n\n")
	d.line("event", "%s by %s, %s", text(o, "source.native_type"), text(o, "actor.login"), text(o, "times.occurred"))
	d.line("entry", "%d, received %s", o.Index, time.Unix(o.Leaf.Received, 0).UTC().Format(time.RFC3339))
	d.line("fields", "%d, and each opens its commitment in the entry", len(o.Lines))
	d.line("checkpoint", "of size %d, signed by %s", o.Checkpoint.Size, o.Checkpoint.Origin)
	d.line("cosigned", "by %s", strings.Join(cosigned, ", "))
	d.line("verified", "with nothing but %s", filepath.Base(d.receiptFile))
	d.line("", "and %s", filepath.Base(d.policyFile))
	return nil
}

// text is the value of a field, fit for a terminal.
func text(o *seal.Opened, path string) string {
	if l := o.Field(path); l != nil && l.State == seal.Shown {
		return l.Value.Text()
	}
	return "(none)"
}

// next says what to try while the log goes on serving.
func (d *demo) next() error {
	d.say("\nServing gRPC on %s and tiles on http://%s until Ctrl-C;\nmetrics, health and profiles on http://%s.\nTry next, in another terminal:\n\n", d.addresses["grpc"], d.addresses["http"], d.addresses["admin"])
	d.say("  export IDLOG_SERVER=%s IDLOG_POLICY=%s\n", d.addresses["grpc"], d.policyFile)
	for _, command := range []string{
		"verify " + d.receiptFile,
		"watch --from 0 --fields",
		"history --subject ada.byron@acme.example --fields -t " + filepath.Join(d.dir, trustName),
		"verify " + d.historyFile + " -t " + filepath.Join(d.dir, trustName),
		"submit testdata/samples/okta.ndjson --source okta --format okta --issuer " + devSources[0].issuer,
	} {
		d.say("  go run ./cmd/idlog %s\n", command)
	}
	return nil
}

func witnessNames(p *policy.Policy) []string {
	var names []string
	for _, w := range p.Witnesses {
		names = append(names, w.Name)
	}
	return names
}

// say writes to standard output. If nobody listens any more there is nothing
// to be done about it.
func (d *demo) say(format string, args ...any) {
	d.progress("")
	_, _ = fmt.Fprintf(d.env.Stdout, format, args...)
}

// line is one row of the account.
func (d *demo) line(name, format string, args ...any) {
	d.say("  %-11s %s\n", name, fmt.Sprintf(format, args...))
}

// progress shows what is being done, on a terminal only, until the next line
// takes its place.
func (d *demo) progress(what string) {
	f, ok := d.env.Stderr.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || !d.pending && what == "" {
		return
	}
	_, _ = fmt.Fprintf(f, "\r\x1b[K%s", what)
	d.pending = what != ""
}
