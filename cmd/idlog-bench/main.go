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
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"idlog/cmd/internal/serve"
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
	b.flags(f)
	f.IntVar(&b.runs, "runs", 3, "how often each load is given; the run in the middle is told")
	f.DurationVar(&b.window, "window", 3*time.Second, "how long each load lasts")
	f.IntSliceVar(&b.unary, "callers", []int{1, 64, 1024}, "numbers of callers with one event a call; 0 is none")
	f.IntSliceVar(&b.batches, "batches", []int{1, 8, 64}, "numbers of callers with 100 events a call; 0 is none")
	f.BoolVar(&b.index, "index", false, "the servers keep the index, whose share the command pipeline measures")
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
	cmd.AddCommand(echo, indexCommand(stdout, stderr), pipelineCommand(stdout, stderr))
	cmd.SetArgs(args)
	return serve.Report(stderr, "idlog-bench", cmd.ExecuteContext(ctx))
}

// bench is one run of the program; its fields are the flags.
type bench struct {
	bin, dir, results, profiles string
	settings                    []string // of idlogd
	runs                        int
	window                      time.Duration
	unary, batches              []int
	index                       bool
	shapes                      []string
	out, progress               io.Writer
}

// flags are those of every command that runs servers.
func (b *bench) flags(f *pflag.FlagSet) {
	f.StringVar(&b.bin, "bin", "", "folder of idlogd and idlog-witness; that of idlog-bench unless given")
	f.StringVar(&b.dir, "dir", "", "folder to work in, on the disk to be measured; a temporary one unless given")
	f.StringVar(&b.results, "out", "", "results file, JSON")
	f.StringVar(&b.profiles, "profiles", "", "folder to keep the servers' CPU profiles in, for go tool pprof")
	f.StringArrayVar(&b.settings, "set", nil, "a setting of every server, as idlogd's own --set; may be given again")
}

const (
	benchSource = "bench"
	witnesses   = 3
)

func (b *bench) run(ctx context.Context) error {
	if b.runs < 1 {
		return serve.Usagef("--runs %d: a load is given once at least", b.runs)
	}
	remove, err := b.folders()
	if err != nil {
		return err
	}
	defer remove()
	r := &Report{Date: time.Now().UTC(), Go: runtime.Version(), Cores: runtime.NumCPU(), CPU: processor(), Kernel: kernel(), Witness: witnesses, Runs: b.runs, Window: b.window}
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
	return errors.Join(save(b.results, r), r.print(b.out))
}

// folders settles where the programs are and where to work, and returns what removes the latter if it was made for this run.
func (b *bench) folders() (remove func(), err error) {
	if b.bin == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		b.bin = filepath.Dir(self)
	}
	if b.profiles != "" {
		if err := os.MkdirAll(b.profiles, 0o755); err != nil {
			return nil, err
		}
	}
	if b.dir != "" {
		return func() {}, nil
	}
	if b.dir, err = os.MkdirTemp("", "idlog-bench"); err != nil {
		return nil, err
	}
	return func() { os.RemoveAll(b.dir) }, nil
}

func shapeNamed(name string) (shape, error) {
	for _, s := range shapes {
		if s.Name == name {
			return s, nil
		}
	}
	return shape{}, serve.Usagef("no shape is called %q: fields, raw or enrolling", name)
}
