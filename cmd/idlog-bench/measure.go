package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"idlog/client/audit"
	"idlog/proto/event"
	"idlog/proto/policy"
)

// measure runs one shape of event against a log of its own. The server lives twice, and only its second life, after the
// population is enrolled, is measured and profiled.
func (b *bench) measure(ctx context.Context, s shape) (*ShapeReport, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dir := filepath.Join(b.dir, s.Name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	echo, err := startSelf(ctx, dir)
	if err != nil {
		return nil, err
	}
	echoConns, err := connect(echo.addresses["grpc"])
	if err != nil {
		return nil, err
	}
	site, err := b.site(ctx, dir, b.index)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(b.progress, "%s: enrolling %d persons\n", s.Name, persons)
	v, err := site.populate(ctx)
	if err != nil {
		return nil, err
	}
	defer v.close()
	profile := filepath.Join(dir, "cpu.pprof")
	if b.profiles != "" {
		profile = filepath.Join(b.profiles, s.Name+".pprof")
	}
	server, err := site.serve(ctx, "idlogd", "--cpu-profile", profile)
	if err != nil {
		return nil, err
	}
	conns, err := connect(server.addresses["grpc"])
	if err != nil {
		return nil, err
	}
	m := &meter{bench: b, shape: s, server: server, conns: conns, echo: echoConns, policy: site.policy, verifier: v}
	report, err := m.all(ctx, b.loads())
	if err != nil {
		return nil, err
	}
	if err := server.stop(); err != nil {
		return nil, fmt.Errorf("stopping the server: %w", err)
	}
	if report.MicrosPerEvent, err = stageMicros(profile, report.Events); err != nil {
		return nil, err
	}
	fmt.Fprintf(b.progress, "%s: auditing the log\n", s.Name)
	report.Audit, err = auditOf(ctx, site)
	return report, err
}

func (b *bench) loads() []load {
	var loads []load
	for _, n := range b.unary {
		loads = append(loads, load{Callers: n, Batch: 1, Window: b.window})
	}
	for _, n := range b.batches {
		loads = append(loads, load{Callers: n, Batch: batchSize, Window: b.window})
	}
	return slices.DeleteFunc(loads, func(l load) bool { return l.Callers < 1 })
}

const batchSize = 100

// meter measures one server.
type meter struct {
	bench       *bench
	shape       shape
	server      *daemon
	conns, echo []grpc.ClientConnInterface
	policy      *policy.Policy
	verifier    *verifier
}

// all gives every load, then half of the heaviest, then reads entries back.
func (m *meter) all(ctx context.Context, loads []load) (*ShapeReport, error) {
	g := newGenerator(m.shape, "size", 1)
	sample := g.event()
	event.Stamp(sample, time.Now())
	fields, err := event.Fields(sample)
	if err != nil {
		return nil, err
	}
	r := &ShapeReport{Shape: m.shape.Name, EventBytes: proto.Size(g.event()), EventFields: len(fields)}
	root := filepath.Join(m.bench.dir, m.shape.Name, "log")
	before, err := diskBytes(root)
	if err != nil {
		return nil, err
	}
	measure := func(l load) error {
		var runs []Line
		for range m.bench.runs {
			line, err := m.line(ctx, l)
			if err != nil {
				return err
			}
			r.Events += line.Events + line.Tickets
			runs = append(runs, *line)
		}
		slices.SortFunc(runs, func(a, b Line) int { return cmp.Compare(a.PerSecond, b.PerSecond) })
		r.Lines = append(r.Lines, runs[len(runs)/2])
		return nil
	}
	for _, l := range loads {
		if err := measure(l); err != nil {
			return nil, err
		}
	}
	if len(loads) > 0 {
		half := loads[len(loads)-1]
		half.Rate = r.Lines[len(r.Lines)-1].PerSecond / 2
		if err := measure(half); err != nil {
			return nil, err
		}
	}
	after, err := diskBytes(root)
	if err != nil {
		return nil, err
	}
	r.DiskPerEvent = float64(after-before) / float64(max(r.Events, 1))
	fmt.Fprintf(m.bench.progress, "%s: reading entries\n", m.shape.Name)
	if r.Read, err = coldReads(ctx, m.server.addresses["grpc"], m.policy); err != nil {
		return nil, err
	}
	r.PeakBytes, err = m.server.peak()
	return r, err
}

// line measures one load: idlog, then the bare server, then every receipt in full.
func (m *meter) line(ctx context.Context, l load) (*Line, error) {
	fmt.Fprintf(m.bench.progress, "%s: %s\n", m.shape.Name, l)
	seed := uint64(time.Now().UnixNano())
	used, err := m.server.cpu()
	if err != nil {
		return nil, err
	}
	got, err := drive(ctx, m.conns, benchSource, l, m.shape, seed, true, newGlancer(m.policy).glance)
	if err != nil {
		return nil, err
	}
	now, err := m.server.cpu()
	if err != nil {
		return nil, err
	}
	bare := new(measured)
	if l.Rate == 0 {
		if bare, err = drive(ctx, m.echo, benchSource, l, m.shape, seed, false, nil); err != nil {
			return nil, fmt.Errorf("the bare server: %w", err)
		}
	}
	held, each, err := m.verifier.verifyAll(ctx, got.answers)
	if err != nil {
		return nil, err
	}
	return &Line{
		Callers: l.Callers, Batch: l.Batch, Offered: l.Rate, Seconds: got.elapsed.Seconds(),
		Events: got.events, Tickets: got.tickets, PerSecond: got.perSecond(),
		P50: millis(got.at(0.5)), P99: millis(got.at(0.99)), P999: millis(got.at(0.999)),
		CallersPerP50: float64(l.Callers) / max(got.at(0.5).Seconds(), 1e-9),
		CPUPer100k:    (now - used).Seconds() * 100_000 / float64(max(got.events+got.tickets, 1)),
		EchoPerSecond: bare.perSecond(), Ratio: share(got.perSecond(), bare.perSecond()),
		Verified: held, MicrosToVerify: float64(each.Nanoseconds()) / 1e3,
	}, nil
}

func share(part, whole float64) float64 {
	if whole == 0 {
		return 0
	}
	return part / whole
}

// auditOf audits a log in its folder, whose server is down: every entry, tile and checkpoint.
func auditOf(ctx context.Context, site *site) (*AuditReport, error) {
	log, err := audit.Open(site.root, "")
	if err != nil {
		return nil, err
	}
	r, err := audit.Run(ctx, audit.Config{Log: log, Policy: site.policy})
	if err != nil {
		return nil, fmt.Errorf("auditing the log: %w", err)
	}
	if !r.Holds() {
		return nil, fmt.Errorf("auditing the log: %v", r.Findings[0])
	}
	return &AuditReport{Entries: r.Entries, Checkpoints: r.Checkpoints, Seconds: r.Took.Seconds(), PerSecond: float64(r.Entries) / r.Took.Seconds()}, nil
}
