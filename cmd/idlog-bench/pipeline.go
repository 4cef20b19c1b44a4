package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"idlog/client"
	"idlog/client/trust"
	"idlog/cmd/internal/serve"
	"idlog/proto/answer"
	"idlog/proto/policy"
)

// pipelineBench measures what the index costs the server: the same load to servers that differ in nothing else, by turns.
type pipelineBench struct {
	bench
	rate float64
}

// PipelineReport is the results file of the pipeline.
type PipelineReport struct {
	Date   time.Time
	Go     string
	Cores  int
	CPU    string
	Kernel string
	Rate   float64 // events offered a second
	Window time.Duration
	Runs   int
	Arms   []PipelineArm // the first is the one without an index
}

// PipelineArm is one kind of server.
type PipelineArm struct {
	Name       string
	Events     int64
	CPUPer100k float64 // seconds, until the index has caught up
	Roots      float64 // root leaves that were logged
	IndexBytes float64 // on disk, for an event
	Ratio      float64 // to the first arm; Target is what it has to be at most, 0 for none
	Target     float64
	// List is how long the longest list of the index is, PageP50 and PageP99 how many milliseconds it takes a client to ask the
	// running server for a page of 100 of it, and to verify the answer.
	List             int64
	PageP50, PageP99 Millis
}

// arms are the kinds of server. Where a verifier is configured it computes each root before it is logged, and the server
// does not do that a second time itself (SPEC 2.12).
var arms = []struct {
	name            string
	index, verifier bool
	target          float64
}{
	{"without the index", false, false, 0},
	{"index, computed twice by the server", true, false, 1.25},
	{"index, computed again by a verifier", true, true, 1.25},
}

func pipelineCommand(stdout, stderr io.Writer) *cobra.Command {
	var b pipelineBench
	cmd := &cobra.Command{
		Use:     "pipeline",
		Short:   "Measure what the index costs the whole server",
		Example: "  idlog-bench pipeline --out pipeline.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b.out, b.progress = stdout, stderr
			return b.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	b.flags(f)
	f.IntVar(&b.runs, "runs", 5, "how many turns each server gets")
	f.DurationVar(&b.window, "window", 4*time.Second, "how long a turn lasts")
	f.Float64Var(&b.rate, "rate", 8000, "events a second that are offered, in calls of 100; 0 is as many as are answered")
	return cmd
}

// turned is a server that takes its turns.
type turned struct {
	arm     *PipelineArm
	server  *daemon
	conns   []grpc.ClientConnInterface
	policy  *policy.Policy
	indexed bool
	folder  string // of the index
	held    int64  // bytes in it before the first turn
	used    time.Duration
}

func (b *pipelineBench) run(ctx context.Context) error {
	if b.runs < 1 || b.rate < 0 {
		return serve.Usagef("--runs %d --rate %g: a load is given once at least, and no rate is below zero", b.runs, b.rate)
	}
	remove, err := b.folders()
	if err != nil {
		return err
	}
	defer remove()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &PipelineReport{Date: time.Now().UTC(), Go: runtime.Version(), Cores: runtime.NumCPU(), CPU: processor(), Kernel: kernel(),
		Rate: b.rate, Window: b.window, Runs: b.runs, Arms: make([]PipelineArm, len(arms))}
	var all []*turned
	for i := range arms {
		t, err := b.turned(ctx, i, &r.Arms[i])
		if err != nil {
			return fmt.Errorf("starting the server %s: %w", arms[i].name, err)
		}
		all = append(all, t)
	}
	for n := range b.runs {
		for _, t := range all {
			fmt.Fprintf(b.progress, "pipeline: turn %d of %d: %s\n", n+1, b.runs, t.arm.Name)
			if err := t.turn(ctx, load{Callers: 64, Batch: batchSize, Window: b.window, Rate: b.rate}); err != nil {
				return fmt.Errorf("the server %s: %w", t.arm.Name, err)
			}
		}
	}
	for _, t := range all {
		if err := t.end(ctx); err != nil {
			return fmt.Errorf("the server %s: %w", t.arm.Name, err)
		}
		t.arm.Ratio = share(t.arm.CPUPer100k, r.Arms[0].CPUPer100k)
	}
	return errors.Join(save(b.results, r), r.print(b.out))
}

// turned starts one kind of server over a log of its own, whose persons are enrolled.
func (b *pipelineBench) turned(ctx context.Context, i int, arm *PipelineArm) (*turned, error) {
	arm.Name, arm.Target = arms[i].name, arms[i].target
	dir := filepath.Join(b.dir, fmt.Sprintf("arm%d", i))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	site, err := b.site(ctx, dir, arms[i].index)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(b.progress, "pipeline: enrolling %d persons: %s\n", persons, arm.Name)
	v, err := site.populate(ctx)
	if err != nil {
		return nil, err
	}
	if err := v.close(); err != nil {
		return nil, err
	}
	t := &turned{arm: arm, policy: site.policy, indexed: arms[i].index, folder: filepath.Join(site.root, "log", "index")}
	var args []string
	if b.profiles != "" {
		args = []string{"--cpu-profile", filepath.Join(b.profiles, fmt.Sprintf("pipeline-%d.pprof", i))}
	}
	if !arms[i].verifier {
		t.server, err = site.serve(ctx, "idlogd", args...)
	} else {
		t.server, err = site.verified(ctx, args)
	}
	if err != nil {
		return nil, err
	}
	if t.conns, err = connect(t.server.addresses["grpc"]); err != nil {
		return nil, err
	}
	if err := t.caughtUp(ctx); err != nil {
		return nil, err
	}
	if t.indexed {
		t.held, err = diskBytes(t.folder)
	}
	return t, err
}

// verified starts the log's server with a verifier of the index, which is a process of its own.
func (s *site) verified(ctx context.Context, args []string) (*daemon, error) {
	program, dir := filepath.Join(s.bench.bin, "idlog-witness"), filepath.Join(s.dir, "verifier")
	vkey, err := output(ctx, program, "init", "--dir", dir, "--name", "verifier.example", "--key-type", "ed25519")
	if err != nil {
		return nil, err
	}
	v, err := start(ctx, s.dir, "verifier.serve", program, "serve", "--verify-index", "--dir", dir, "--listen", "127.0.0.1:0", "--client-rate", "0")
	if err != nil {
		return nil, err
	}
	wanted := filepath.Join(s.dir, "verifiers.tlog-policy")
	if err := os.WriteFile(wanted, fmt.Appendf(nil, "witness verifier %s http://%s\nquorum verifier\n", vkey, v.addresses["http"]), 0o600); err != nil {
		return nil, err
	}
	server, err := s.serve(ctx, "idlogd", append(args, "--set", "logs.0.verifiers="+wanted)...)
	if err != nil {
		return nil, err
	}
	logKey, err := os.ReadFile(filepath.Join(s.root, "log.vkey"))
	if err != nil {
		return nil, err
	}
	if _, err := output(ctx, program, "add-log", "--dir", dir, strings.TrimSpace(string(logKey)), "http://"+server.addresses["http"]); err != nil {
		return nil, err
	}
	return server, v.cmd.Process.Signal(syscall.SIGHUP)
}

// turn gives one load, and waits until the index has caught up with it: what it costs later is counted as well.
func (t *turned) turn(ctx context.Context, l load) error {
	before, err := t.server.cpu()
	if err != nil {
		return err
	}
	got, err := drive(ctx, t.conns, benchSource, l, shapes[0], uint64(time.Now().UnixNano()), false, nil)
	if err != nil {
		return err
	}
	if err := t.caughtUp(ctx); err != nil {
		return err
	}
	after, err := t.server.cpu()
	if err != nil {
		return err
	}
	t.used += after - before
	t.arm.Events += got.events + got.tickets
	return nil
}

func (t *turned) end(ctx context.Context) (err error) {
	t.arm.CPUPer100k = t.used.Seconds() * 100_000 / float64(max(t.arm.Events, 1))
	if t.indexed {
		if t.arm.Roots, err = t.metric(ctx, "idlog_index_roots_total"); err != nil {
			return err
		}
		if err := t.pages(ctx); err != nil {
			return fmt.Errorf("asking for pages: %w", err)
		}
	}
	if err := t.server.stop(); err != nil || !t.indexed {
		return err
	}
	held, err := diskBytes(t.folder) // an orderly end has written all of it
	t.arm.IndexBytes = float64(held-t.held) / float64(max(t.arm.Events, 1))
	return err
}

// pages asks for pages from all over the list of all events of the source, as a client does who has the policy alone: each
// comes with its entries, and what proves these, the list and the index.
func (t *turned) pages(ctx context.Context) error {
	c, err := client.New(client.Config{Conn: t.conns[0], Policy: t.policy, State: trust.NewMemory()})
	if err != nil {
		return err
	}
	defer c.Close()
	random := rand.New(rand.NewPCG(3, 4))
	var m measured
	for n := range int64(201) {
		q := client.Question{Asks: []answer.Ask{{Kind: answer.OfSource, Source: benchSource}}, Count: 100}
		if n > 0 { // the first one says how long the list is
			q.Start = random.Int64N(t.arm.List - q.Count)
		}
		start := time.Now()
		h, err := c.History(ctx, q)
		if err != nil {
			return err
		}
		took := time.Since(start)
		list := h.Verdict.Lists[0]
		if got := int64(len(list.Page.Postings)); got != q.Count || list.Page.Start != q.Start {
			return fmt.Errorf("asked for %d from number %d on, and got %d from %d on", q.Count, q.Start, got, list.Page.Start)
		}
		t.arm.List = list.Head.N
		if n > 0 {
			m.latencies = append(m.latencies, took)
		}
	}
	slices.Sort(m.latencies)
	t.arm.PageP50, t.arm.PageP99 = millis(m.at(0.5)), millis(m.at(0.99))
	return nil
}

// caughtUp waits until what is not covered by a root is the last root leaf.
func (t *turned) caughtUp(ctx context.Context) error {
	if !t.indexed {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond) // a scrape costs the server as much as some dozen events
	defer tick.Stop()
	for {
		lag, err := t.metric(ctx, "idlog_index_lag_entries")
		if err == nil && lag <= 1 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the index is %g entries behind: %w", lag, errors.Join(err, ctx.Err()))
		}
	}
}

// metric reads one metric of the server, which has one log.
func (t *turned) metric(ctx context.Context, name string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+t.server.addresses["admin"]+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("reading the server's metrics: %w", err)
	}
	defer res.Body.Close()
	for s := bufio.NewScanner(res.Body); s.Scan(); {
		if strings.HasPrefix(s.Text(), name+"{") {
			fields := strings.Fields(s.Text())
			return strconv.ParseFloat(fields[len(fields)-1], 64)
		}
	}
	return 0, fmt.Errorf("reading the server's metrics: there is no %s", name)
}

func (r *PipelineReport) print(w io.Writer) error {
	out := &printer{w: w}
	offered := thousands(r.Rate) + " events/s"
	if r.Rate == 0 {
		offered = "as many events as are answered"
	}
	out.f("`bin/idlog-bench pipeline` on %s: %d cores of %s, shared by servers, witnesses, verifier and client; kernel %s; %s; %s offered to each server by turns, %d of %v each.\n",
		r.Date.Format(time.DateOnly), r.Cores, r.CPU, r.Kernel, r.Go, offered, r.Runs, r.Window)
	out.f("\n| server | events | roots | index bytes/event | CPU s/100k | ratio | target | met |\n|---|---|---|---|---|---|---|---|\n")
	for _, a := range r.Arms {
		target, met := "", ""
		if a.Target > 0 {
			target = fmt.Sprintf("at most %g", a.Target)
			met = map[bool]string{true: "yes", false: "**no**"}[a.Ratio <= a.Target]
		}
		out.f("| %s | %d | %.0f | %.0f | %.2f | %.2f | %s | %s |\n", a.Name, a.Events, a.Roots, a.IndexBytes, a.CPUPer100k, a.Ratio, target, met)
	}
	out.f("\n")
	for _, a := range r.Arms {
		if a.List > 0 {
			out.f("%s: a page of 100 of a list of %s, asked of the running server and verified: p50 %.1f ms, p99 %.1f ms.\n", a.Name, thousands(float64(a.List)), a.PageP50, a.PageP99)
		}
	}
	return out.err
}
