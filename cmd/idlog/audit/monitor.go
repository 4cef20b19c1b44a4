package audit

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"idlog/client/monitor"
	"idlog/client/monitor/webhook"
	"idlog/client/remote"
	"idlog/cmd/idlog/report"
	"idlog/cmd/idlog/session"
	"idlog/cmd/internal/program"
	"idlog/cmd/internal/progress"
	"idlog/cmd/internal/serve"
	"idlog/proto/policy"
	"idlog/proto/tile"
)

// monitoring is one run of the command.
type monitoring struct {
	s                  *session.Session
	getenv             func(string) string
	conf               monitor.Config // of each log, but for what is its own
	list, hook, secret string
	once               bool
	logger             *slog.Logger

	mu  sync.Mutex // guards both outputs and the bar, which several logs write to
	bar *progress.Line
}

// Monitor is the command `idlog monitor`.
func Monitor(s *session.Session, getenv func(string) string) *cobra.Command {
	m := &monitoring{s: s, getenv: getenv}
	cmd := &cobra.Command{
		Use:   "monitor URL -p POLICY | monitor --list FILE",
		Short: "Follow logs for months, and say what is wrong with them",
		Example: `  idlog monitor https://log.example/id -p policy.tlog-policy
  idlog monitor https://log.example/id -p policy.tlog-policy --index --once --json    # from cron
  idlog monitor https://log.example/id -p policy.tlog-policy --receipts receipts --tickets ~/.local/state/idlog/tickets
  idlog monitor --list logs.txt --webhook https://hooks.example/idlog --webhook-secret hook.secret`,
		Long: `Follow a log: every checkpoint continues those before, is cosigned and fresh; what the witnesses and the clients of
this machine saw is the same; every entry, once, is a leaf of this log under announced keys, received when it says, and
one event is one leaf. Beside who submits, each ticket becomes an entry in time, and each receipt is of this log and of what was
sent. With --index each root of the index is what the entries give, from the first one on.

Each finding is a line on standard output and, if there is one, a call of the webhook. What was checked is remembered
only when it was written, and the webhook answered 2xx: a finding may come twice, under its id, and is never left out.
A log that contradicts itself is not followed any more; the evidence is kept, "idlog verify" judges it, and the next
start refuses until --acknowledge says that somebody knows.

It ends with 0 when it is told to, 3 after a contradiction, 75 if its own disk fails; with --once also with 1 if an entry
broke a rule, 5 if nothing could be read or the webhook refused it, 7 if witnesses are lacking, and 8 if the newest checkpoint is too old.

A list has a line for each log, the policy's file and the URL; lines that begin with # are passed over.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return m.run(cmd.Context(), args) },
	}
	f := cmd.Flags()
	f.StringVar(&m.list, "list", "", "file of several logs, in place of URL and policy")
	f.BoolVar(&m.once, "once", false, "check what is published now, and end")
	f.StringArrayVar(&m.conf.Tickets, "tickets", nil, "folder of tickets, such as tickets/ in the --state of who submits; may be given again")
	f.StringArrayVar(&m.conf.Receipts, "receipts", nil, "folder of \"idlog submit --receipts\": receipts, and tickets until then; may be given again")
	f.DurationVar(&m.conf.Interval, "interval", 10*time.Second, "between two looks")
	f.DurationVar(&m.conf.MaxAge, "max-age", 10*time.Minute, "how long a checkpoint, a silence, a missing witness may last")
	f.DurationVar(&m.conf.Backlog, "backlog", 24*time.Hour, "how long the log may keep an event back while it publishes others")
	f.IntVar(&m.conf.Witnesses, "quorum", 0, "how many witnesses must have cosigned, if more than the policy asks for")
	f.StringVar(&m.hook, "webhook", "", "URL to post each finding to, https or on this machine ($IDLOG_WEBHOOK)")
	f.StringVar(&m.secret, "webhook-secret", "", "file of the webhook's secret, whsec_..., which nobody else can read")
	f.BoolVar(&m.conf.Index, "index", false, "compute the index of all entries, and compare every root leaf with it")
	f.BoolVar(&m.conf.FromNow, "from-now", false, "begin a log that is new here at its end: nothing below is ever checked")
	f.BoolVar(&m.conf.Acknowledge, "acknowledge", false, "go on after the contradiction at which an earlier run stopped")
	program.Files(cmd, "list", "txt")
	program.Files(cmd, "webhook-secret")
	return cmd
}

func (m *monitoring) run(ctx context.Context, args []string) error {
	format := "json"
	if !m.s.JSON && progress.New(m.s.Stderr) != nil {
		format = "text"
	}
	m.logger = serve.FormatLogger(aboveBar{m}, slog.LevelInfo, format)
	m.conf.Logger, m.conf.Sinks = m.logger, []monitor.Sink{m}
	if m.hook == "" {
		m.hook = m.getenv("IDLOG_WEBHOOK") // no default of the flag, which help would show
	}
	if m.hook != "" {
		h, err := m.webhook()
		if err != nil {
			return err
		}
		m.conf.Sinks = append(m.conf.Sinks, monitor.Webhook(h))
	} else if m.secret != "" {
		return serve.Usagef("--webhook-secret needs --webhook")
	}
	logs, err := m.logs(args)
	if err != nil {
		return err
	}
	if len(logs) == 1 {
		m.bar = progress.New(m.s.Stderr)
	}
	var all []*monitor.Monitor
	for _, c := range logs {
		one, err := monitor.Open(c)
		if err != nil {
			return errors.Join(opening(err), closeAll(all))
		}
		all = append(all, one)
	}
	err = m.follow(ctx, all)
	m.bar.Clear()
	return errors.Join(err, closeAll(all))
}

// follow runs all monitors until ctx ends. One that stopped at a contradiction
// leaves the others running; any other failure ends all.
func (m *monitoring) follow(ctx context.Context, all []*monitor.Monitor) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(all))
	var running sync.WaitGroup
	for i, one := range all {
		running.Go(func() {
			if m.once {
				errs[i] = m.outcome(one, one.Once(ctx))
				return
			}
			errs[i] = one.Run(ctx)
			if is[*monitor.Stopped](errs[i]) && len(all) > 1 {
				m.logger.Error("not followed any more", "log", one.Origin(), "err", errs[i])
			} else if errs[i] != nil {
				cancel()
			}
		})
	}
	running.Wait()
	var worst *serve.ExitError
	for _, err := range errs {
		if err == nil {
			continue
		}
		if e := ending(err); worst == nil || slices.Index(order, e.Code) > slices.Index(order, worst.Code) {
			worst = e
		}
	}
	if worst == nil {
		return nil
	}
	return worst
}

// order is that of exit codes, the gravest last: several logs have one.
var order = []int{serve.CodeInterrupted, serve.CodeError, serve.CodeUnavailable, serve.CodeStale, serve.CodeQuorum, serve.CodeVerification, serve.CodeStorage}

// outcome adds to --once that entries broke rules.
func (m *monitoring) outcome(one *monitor.Monitor, err error) error {
	if err == nil && one.Faults() > 0 {
		err = &serve.ExitError{Code: serve.CodeError, Err: fmt.Errorf("%d faults in the entries of %s", one.Faults(), one.Origin())}
	}
	if err == nil {
		m.logger.Info("checked", "log", one.Origin(), "entries", one.Checked())
	}
	return err
}

// ending gives an error of a monitor its exit code, and says what to do.
func ending(err error) *serve.ExitError {
	if e, ok := errors.AsType[*serve.ExitError](err); ok {
		return e
	}
	e := &serve.ExitError{Code: serve.CodeError, Err: err}
	if s, ok := errors.AsType[*monitor.Stopped](err); ok {
		e.Code, e.Remedy = serve.CodeVerification, "idlog verify "+s.Finding.Evidence
		if s.Before {
			e.Remedy += ", and --acknowledge once somebody has seen to it"
		}
		return e
	}
	code, remedy := report.ClassOf(err)
	switch {
	case is[*monitor.StateError](err):
		code, remedy = serve.CodeStorage, "whether the disk of --state is well"
	case is[*monitor.Undelivered](err):
		code, remedy = serve.CodeUnavailable, "whether the webhook answers; the next run tells it again"
	case is[*monitor.Stale](err):
		code, remedy = serve.CodeStale, ""
	case is[*tile.MismatchError](err):
		code, remedy = serve.CodeVerification, "idlog audit, which finds out what else is damaged"
	case is[*monitor.Behind](err):
		code, remedy = serve.CodeVerification, ""
	case is[*monitor.Unverified](err):
		code = serve.CodeVerification
	case code == serve.CodeError && monitor.Failed(err):
		code, remedy = serve.CodeUnavailable, "whether the URL is right and the log is running"
	}
	e.Code, e.Remedy = code, remedy
	return e
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// opening says what to do about a monitor that did not open.
func opening(err error) error {
	if errors.Is(err, monitor.ErrInUse) {
		return &serve.ExitError{Code: serve.CodeUnavailable, Err: err, Remedy: "again when the other monitor has ended, or another --state"}
	}
	if is[*monitor.StateError](err) {
		return &serve.ExitError{Code: serve.CodeStorage, Err: err}
	}
	if errors.Is(err, remote.ErrPlaintext) {
		return &serve.ExitError{Code: serve.CodeUsage, Err: err, Remedy: "https"}
	}
	return &serve.ExitError{Code: serve.CodeUsage, Err: err}
}

func closeAll(all []*monitor.Monitor) error {
	var errs []error
	for _, one := range all {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}

func (m *monitoring) webhook() (*webhook.Hook, error) {
	secret := ""
	if m.secret != "" {
		if info, err := os.Stat(m.secret); err == nil && info.Mode().Perm()&0o077 != 0 {
			return nil, &serve.ExitError{Code: serve.CodePermission, Err: fmt.Errorf("%s can be read by others", m.secret), Remedy: "chmod 600 " + m.secret}
		}
		b, err := session.ReadFile(m.secret)
		if err != nil {
			return nil, fmt.Errorf("reading the webhook's secret: %w", err)
		}
		secret = string(b)
	}
	h, err := webhook.New(m.hook, secret)
	if err != nil {
		return nil, serve.Usagef("%w", err)
	}
	return h, nil
}

// logs returns the configuration of each log that is named.
func (m *monitoring) logs(args []string) ([]monitor.Config, error) {
	if (len(args) == 1) == (m.list != "") {
		return nil, serve.Usagef("one of URL, where the log is published, and --list FILE is needed")
	}
	state, err := m.s.Trust()
	if err != nil {
		return nil, err
	}
	m.conf.State, m.conf.Dir, m.conf.Timeout = state, filepath.Join(m.s.State, "monitor"), m.s.Timeout
	if m.conf.TLS, err = m.s.TLS(); err != nil {
		return nil, err
	}
	if m.list == "" {
		p, _, err := m.s.Trusted()
		if err != nil {
			return nil, err
		}
		c, err := m.config(p, args[0])
		return []monitor.Config{c}, err
	}
	b, err := session.ReadFile(m.list)
	if err != nil {
		return nil, fmt.Errorf("reading the list of logs: %w", err)
	}
	var logs []monitor.Config
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words) != 2 {
			return nil, serve.Usagef("%s:%d: not a policy's file and a URL", m.list, n)
		}
		if !filepath.IsAbs(words[0]) {
			words[0] = filepath.Join(filepath.Dir(m.list), words[0])
		}
		p, _, err := session.ReadPolicy(words[0])
		if err != nil {
			return nil, serve.Usagef("%s:%d: %w", m.list, n, err)
		}
		c, err := m.config(p, words[1])
		if err != nil {
			return nil, serve.Usagef("%s:%d: %w", m.list, n, err)
		}
		if slices.ContainsFunc(logs, func(o monitor.Config) bool { return o.Origin == c.Origin }) {
			return nil, serve.Usagef("%s:%d: log %s stands there twice", m.list, n, c.Origin)
		}
		logs = append(logs, c)
	}
	if len(logs) == 0 {
		return nil, serve.Usagef("%s has no log", m.list)
	}
	return logs, nil
}

// config is that of the one log of a policy which --log, if it is given, names
// by its origin or its family.
func (m *monitoring) config(p *policy.Policy, url string) (monitor.Config, error) {
	var origins []string
	for _, l := range p.Logs {
		named := m.s.Log == "" || l.Origin == m.s.Log || strings.HasPrefix(l.Origin, m.s.Log+"/") && !strings.Contains(l.Origin[len(m.s.Log)+1:], "/")
		if named && !slices.Contains(origins, l.Origin) {
			origins = append(origins, l.Origin)
		}
	}
	if len(origins) != 1 {
		return monitor.Config{}, &serve.ExitError{Code: serve.CodeUsage,
			Err:    fmt.Errorf("the policy has keys of %s, and one log is followed", cmp.Or(strings.Join(origins, " and "), "no such log")),
			Remedy: "--log ORIGIN"}
	}
	c := m.conf
	c.Policy, c.Origin, c.URL = p, origins[0], url
	c.Progress = func(what string, done, size int64) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if size-done > 1000 || done == size {
			m.bar.Show(what, done, size)
		}
		if done == size {
			m.bar.Clear()
		}
	}
	return c, nil
}

// Deliver writes a finding to standard output, which is not buffered.
func (m *monitoring) Deliver(_ context.Context, f monitor.Finding) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bar.Clear()
	if m.s.JSON {
		return m.s.Object(f)
	}
	line := fmt.Sprintf("%s  %s  %s  %s  %s", f.Time.Format(time.RFC3339), f.Severity, f.Kind, f.Log, visible(f.Message))
	if f.Evidence != "" {
		line += "  evidence " + f.Evidence
	}
	return m.s.Text("%s\n", line)
}

// aboveBar is standard error for the logger, whose lines take the bar away.
type aboveBar struct{ m *monitoring }

func (w aboveBar) Write(b []byte) (int, error) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	w.m.bar.Clear()
	return w.m.s.Stderr.Write(b)
}

// visible is a sentence in which a log may have had a word.
func visible(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fmt.Sprintf("%+q", s)
	}
	return s
}
