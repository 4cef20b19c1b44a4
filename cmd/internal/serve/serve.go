// Package serve is what the daemons share: the life of a process from its
// arguments to its exit code, listeners that refuse to be open to everybody,
// the ready file and the logger.
//
// It trusts the command line and the file system. Nothing here is durable: a
// crash leaves at most a ready file that names addresses nobody serves, which
// RemoveReady takes away at the next start. All functions may be called from
// any goroutine.
package serve

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/term"
)

// DrainTimeout bounds how long a daemon finishes requests in flight after the
// first SIGTERM or SIGINT. It starts then, so it is not eaten by a deadline
// that ran before.
const DrainTimeout = 30 * time.Second

// Env is what a program gets from its surroundings instead of reaching for
// globals. Args excludes the program's name.
type Env struct {
	Args           []string
	Environ        []string // NAME=VALUE
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Main runs a program with the arguments and streams of the process and
// returns its exit code: main is os.Exit(serve.Main(run)).
//
// The first SIGTERM or SIGINT ends ctx; run should then drain and return nil,
// which exits 0. A second signal makes Main return CodeError at once and
// leaves run where it is: what it had not made durable is what a crash would
// lose. An error that is an *ExitError chooses the code.
func Main(run func(ctx context.Context, env Env) error) int {
	env := Env{Args: os.Args[1:], Environ: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	name := filepath.Base(os.Args[0])
	signals := make(chan os.Signal, 2) // the signals of one shutdown; more change nothing
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1) // buffered: run may end after a second signal, when nobody listens
	go func() { done <- run(ctx, env) }()
	for signalled := false; ; signalled = true {
		select {
		case err := <-done:
			return Report(env.Stderr, name, err)
		case <-signals:
			if signalled {
				return CodeError
			}
			cancel()
		}
	}
}

// Logger writes records of level and above to w: as text when w is a
// terminal, as one JSON object per line otherwise.
func Logger(w io.Writer, level slog.Leveler) *slog.Logger { return FormatLogger(w, level, "auto") }

// FormatLogger is Logger with a format of the caller's choice: json, text, or auto.
func FormatLogger(w io.Writer, level slog.Leveler, format string) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if f, ok := w.(*os.File); format == "text" || format == "auto" && ok && term.IsTerminal(int(f.Fd())) {
		return slog.New(slog.NewTextHandler(w, opts))
	}
	return slog.New(slog.NewJSONHandler(w, opts))
}
