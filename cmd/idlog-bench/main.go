// Command idlog-bench measures idlog as its callers see it: over the public gRPC API of a server that runs as a process of
// its own, with three witnesses that are processes too, every promise kept. Beside each figure it measures a bare gRPC
// server of the same messages under the same load, in the same run; the ratio is what may be compared.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"idlog/cmd/internal/serve"
	"idlog/proto/event"
	"idlog/proto/policy"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var b bench
	cmd := &cobra.Command{
		Use:           "idlog-bench",
		Short:         "Measure idlog through its public API, beside a bare gRPC server",
		Example:       "  go build -o bin/ ./cmd/... && bin/idlog-bench --out results.json",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b.out, b.progress = stdout, stderr
			return b.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&b.bin, "bin", "", "folder of idlogd and idlog-witness; that of idlog-bench unless given")
	f.StringVar(&b.dir, "dir", "", "folder to work in, on the disk to be measured; a temporary one unless given")
	f.StringVar(&b.results, "out", "", "results file, JSON")
	f.DurationVar(&b.window, "window", 3*time.Second, "how long each load lasts")
	f.IntSliceVar(&b.unary, "callers", []int{1, 64, 1024}, "numbers of callers with one event a call")
	f.IntSliceVar(&b.batches, "batches", []int{1, 8, 64}, "numbers of callers with 100 events a call")
	f.StringSliceVar(&b.shapes, "shapes", []string{"fields", "raw", "enrolling"}, "shapes of event")
	echo := &cobra.Command{
		Use: "echo", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := serve.Listen(cmd.Context(), "127.0.0.1:0", nil)
			if err != nil {
				return err
			}
			ready, _ := cmd.Flags().GetString("ready-file")
			if err := serve.WriteReady(ready, map[string]string{"grpc": l.Addr().String()}); err != nil {
				return err
			}
			return serveEcho(cmd.Context(), l)
		},
	}
	echo.Flags().String("ready-file", "", "")
	cmd.AddCommand(echo)
	cmd.SetArgs(args)
	return serve.Report(stderr, "idlog-bench", cmd.ExecuteContext(ctx))
}

// bench is one run of the program; its fields are the flags.
type bench struct {
	bin, dir, results string
	window            time.Duration
	unary, batches    []int
	shapes            []string
	out, progress     io.Writer
}

const (
	benchSource = "bench"
	witnesses   = 3
)

func (b *bench) run(ctx context.Context) error {
	if b.bin == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		b.bin = filepath.Dir(self)
	}
	if b.dir == "" {
		dir, err := os.MkdirTemp("", "idlog-bench")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		b.dir = dir
	}
	r := &Report{Date: time.Now().UTC(), Go: runtime.Version(), Cores: runtime.NumCPU(), CPU: processor(), Kernel: kernel(), Witness: witnesses}
	for _, name := range b.shapes {
		s, err := shapeNamed(name)
		if err != nil {
			return err
		}
		line, err := b.measure(ctx, s)
		if err != nil {
			return fmt.Errorf("measuring %s: %w", name, err)
		}
		r.Shapes = append(r.Shapes, *line)
	}
	if b.results != "" {
		f, err := os.Create(b.results)
		if err != nil {
			return err
		}
		if err := errors.Join(r.writeJSON(f), f.Close()); err != nil {
			return fmt.Errorf("writing the results: %w", err)
		}
	}
	return r.print(b.out)
}

func shapeNamed(name string) (shape, error) {
	for _, s := range shapes {
		if s.Name == name {
			return s, nil
		}
	}
	return shape{}, serve.Usagef("no shape is called %q: fields, raw or enrolling", name)
}

// measure runs one shape of event against a log of its own.
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
	server, pol, err := b.site(ctx, dir)
	if err != nil {
		return nil, err
	}
	conns, err := connect(server.addresses["grpc"])
	if err != nil {
		return nil, err
	}
	echoConns, err := connect(echo.addresses["grpc"])
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(b.progress, "%s: enrolling %d persons\n", s.Name, persons)
	if err := population(ctx, conns[0], benchSource); err != nil {
		return nil, err
	}
	g := newGenerator(s, "size", 1)
	sample := g.event()
	event.Stamp(sample, time.Now())
	fields, err := event.Fields(sample)
	if err != nil {
		return nil, err
	}
	report := &ShapeReport{Shape: s.Name, EventBytes: proto.Size(g.event()), EventFields: len(fields)}
	before, err := diskBytes(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	var measuredEvents int64
	for _, l := range b.loads() {
		line, err := b.line(ctx, server, conns, echoConns, pol, s, l)
		if err != nil {
			return nil, err
		}
		report.Lines = append(report.Lines, *line)
		measuredEvents += line.Events + line.Tickets
	}
	after, err := diskBytes(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	if report.PeakBytes, err = server.peak(); err != nil {
		return nil, err
	}
	report.Events = measuredEvents + persons/2
	report.DiskPerEvent = float64(after-before) / float64(max(measuredEvents, 1))
	if err := server.stop(); err != nil {
		return nil, fmt.Errorf("stopping the server: %w", err)
	}
	report.MicrosPerEvent, err = stageMicros(filepath.Join(dir, "cpu.pprof"), report.Events)
	return report, err
}

func (b *bench) loads() []load {
	var loads []load
	for _, n := range b.unary {
		loads = append(loads, load{Callers: n, Batch: 1, Window: b.window})
	}
	for _, n := range b.batches {
		loads = append(loads, load{Callers: n, Batch: 100, Window: b.window})
	}
	return loads
}

// line measures one load: idlog, then the bare server, then every receipt in full.
func (b *bench) line(ctx context.Context, server *daemon, conns, echo []grpc.ClientConnInterface, pol *policy.Policy, s shape, l load) (*Line, error) {
	fmt.Fprintf(b.progress, "%s: %d callers, %d events a call\n", s.Name, l.Callers, l.Batch)
	seed := uint64(time.Now().UnixNano())
	used, err := server.cpu()
	if err != nil {
		return nil, err
	}
	m, err := drive(ctx, conns, benchSource, l, s, seed, true, newGlancer(pol).glance)
	if err != nil {
		return nil, err
	}
	now, err := server.cpu()
	if err != nil {
		return nil, err
	}
	bare, err := drive(ctx, echo, benchSource, l, s, seed, false, nil)
	if err != nil {
		return nil, fmt.Errorf("the bare server: %w", err)
	}
	held, each, err := verifyAll(ctx, conns[0], pol, benchSource, m.answers)
	if err != nil {
		return nil, err
	}
	return &Line{
		Callers: l.Callers, Batch: l.Batch, Seconds: m.elapsed.Seconds(),
		Events: m.events, Tickets: m.tickets, PerSecond: m.perSecond(),
		P50: millis(m.at(0.5)), P99: millis(m.at(0.99)), P999: millis(m.at(0.999)),
		CallersPerP50: float64(l.Callers) / max(m.at(0.5).Seconds(), 1e-9),
		CPUPer100k:    (now - used).Seconds() * 100_000 / float64(max(m.events+m.tickets, 1)),
		EchoPerSecond: bare.perSecond(), Ratio: m.perSecond() / max(bare.perSecond(), 1),
		Verified: held, MicrosToVerify: float64(each.Nanoseconds()) / 1e3,
	}, nil
}

// site starts three witnesses and a log that they cosign, all as processes, and returns the log's and its policy.
func (b *bench) site(ctx context.Context, dir string) (*daemon, *policy.Policy, error) {
	witness, idlogd := filepath.Join(b.bin, "idlog-witness"), filepath.Join(b.bin, "idlogd")
	var lines []string
	var running []*daemon
	for i := range witnesses {
		name := fmt.Sprintf("w%d", i)
		vkey, err := output(ctx, witness, "init", "--dir", filepath.Join(dir, name), "--name", name+".example", "--key-type", "ed25519")
		if err != nil {
			return nil, nil, err
		}
		w, err := start(ctx, dir, name+".serve", witness, "serve", "--dir", filepath.Join(dir, name), "--listen", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		running = append(running, w)
		lines = append(lines, fmt.Sprintf("witness %s %s http://%s", name, vkey, w.addresses["http"]))
	}
	lines = append(lines, "group two 2 w0 w1 w2", "quorum two", "")
	wanted := filepath.Join(dir, "witnesses.tlog-policy")
	if err := os.WriteFile(wanted, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		return nil, nil, err
	}
	root := filepath.Join(dir, "log")
	if _, err := output(ctx, idlogd, "init", "--dir", root, "--family", "bench.example/id", "--source", benchSource+"=https://acme.example", "--witness-policy", wanted); err != nil {
		return nil, nil, err
	}
	vkey, err := os.ReadFile(filepath.Join(root, "log.vkey"))
	if err != nil {
		return nil, nil, err
	}
	for i, w := range running {
		if _, err := output(ctx, witness, "add-log", "--dir", filepath.Join(dir, fmt.Sprintf("w%d", i)), strings.TrimSpace(string(vkey))); err != nil {
			return nil, nil, err
		}
		if err := w.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			return nil, nil, err
		}
	}
	server, err := start(ctx, dir, "idlogd", idlogd, "serve", "--config", filepath.Join(root, "idlogd.yaml"),
		"--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0", "--listen-admin", "127.0.0.1:0", "--cpu-profile", filepath.Join(dir, "cpu.pprof"))
	if err != nil {
		return nil, nil, err
	}
	text, err := os.ReadFile(filepath.Join(root, "policy.tlog-policy"))
	if err != nil {
		return nil, nil, err
	}
	p, err := policy.Parse(text)
	return server, p, err
}

// output runs a program to its end and returns what it printed, without the last newline.
func output(ctx context.Context, program string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, program, args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return "", fmt.Errorf("running %s %s: %w", filepath.Base(program), args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// startSelf starts the bare server as a process of its own.
func startSelf(ctx context.Context, dir string) (*daemon, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(ctx, dir, "echo", self, "echo")
}

// connect opens eight connections, over which callers are spread as those of eight services would be.
func connect(target string) ([]grpc.ClientConnInterface, error) {
	conns := make([]grpc.ClientConnInterface, 8)
	for i := range conns {
		c, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20), grpc.MaxCallSendMsgSize(8<<20)))
		if err != nil {
			return nil, err
		}
		conns[i] = c
	}
	return conns, nil
}

// processor is the machine's name for its processors.
func processor() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.Trim(name, "\t :\n")
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return strings.TrimSpace(string(b))
}
