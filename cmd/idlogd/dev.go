package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"idlog/client"
	"idlog/client/trust"
	"idlog/cmd/internal/serve"
)

// devFamily names the log of `idlogd dev`.
const devFamily = "idlog.example/dev"

type devOptions struct {
	dir       string
	once      bool
	listen    listenConfig
	readyFile string
}

func devCommand(env serve.Env) *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Show all of it on this machine: a log, three witnesses, sample events, a verified receipt",
		Long: `Makes a log with a fresh key and three witnesses with keys and stores of their
own, logs sample events over the public API, and verifies a receipt offline.
Then it serves until it is interrupted. Everything lies in one folder, which is
removed at the end unless --dir names it.`,
		Example: "  idlogd dev\n  idlogd dev --once",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runDev(cmd.Context(), env, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", "", "folder to keep it in; a temporary one unless given")
	f.BoolVar(&o.once, "once", false, "end after the verified receipt")
	f.StringVar(&o.listen.GRPC, "listen-grpc", "127.0.0.1:0", "address of the API")
	f.StringVar(&o.listen.HTTP, "listen-http", "127.0.0.1:0", "address of the tiles")
	f.StringVar(&o.readyFile, "ready-file", "", "file to write the addresses to, once they accept")
	return cmd
}

// runDev is the whole of dev. Witnesses end after the log, which needs them to
// answer what is in flight.
func runDev(ctx context.Context, env serve.Env, o devOptions) (err error) {
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "idlog-dev-"); err != nil {
			return fmt.Errorf("making a folder: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	}
	logger := serve.Logger(env.Stderr, slog.LevelWarn)
	cosigners, err := startCosigners(ctx, o.dir, logger)
	if err != nil {
		return err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var witnesses errgroup.Group
	for _, c := range cosigners {
		witnesses.Go(func() error { return c.run(life, logger) })
	}
	err = func() error {
		c, err := devLog(ctx, o, cosigners)
		if err != nil {
			return err
		}
		return serveAndShow(ctx, env, o, c, cosigners, logger)
	}()
	end()
	return errors.Join(err, witnesses.Wait())
}

// startCosigners starts three, or none.
func startCosigners(ctx context.Context, dir string, logger *slog.Logger) ([]*cosigner, error) {
	var cosigners []*cosigner
	for i := range 3 {
		name := fmt.Sprintf("witness-%d", i+1)
		c, err := startCosigner(ctx, name, filepath.Join(dir, name), logger)
		if err != nil {
			for _, c := range cosigners {
				err = errors.Join(err, c.listener.Close(), c.store.Close())
			}
			return nil, err
		}
		cosigners = append(cosigners, c)
	}
	return cosigners, nil
}

// devLog makes the log, or takes the one that an earlier run left in the folder
// and tells it where the witnesses are now.
func devLog(ctx context.Context, o devOptions, cosigners []*cosigner) (*config, error) {
	file := filepath.Join(o.dir, configName)
	c, err := readConfig(file)
	var missing *serve.ExitError
	if errors.As(err, &missing) && missing.Code == serve.CodeInit {
		witnessFile := filepath.Join(o.dir, "witnesses.tlog-policy")
		if err := os.WriteFile(witnessFile, []byte(cosignerLines(cosigners)), 0o644); err != nil {
			return nil, fmt.Errorf("writing the witness policy: %w", err)
		}
		// A shard of its own: whoever verified an earlier run must not take this one for its fork.
		opts := initOptions{dir: o.dir, family: devFamily, origin: devFamily + "/" + strings.ToLower(rand.Text()[:8]), witnessPolicy: witnessFile}
		for _, s := range devSources {
			opts.sources = append(opts.sources, s.name+"="+s.issuer)
		}
		c, err = initLog(ctx, opts)
	}
	if err != nil {
		return nil, err
	}
	c.Listen = o.listen
	vkeys, err := os.ReadFile(filepath.Join(o.dir, vkeyName))
	if err != nil {
		return nil, fmt.Errorf("reading the log's vkey: %w", err)
	}
	keys := strings.Fields(string(vkeys))
	for _, w := range cosigners {
		if err := w.watch(keys); err != nil {
			return nil, err
		}
	}
	// The ports are new each time.
	text, err := policyText(keys, cosignerLines(cosigners))
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(c.Logs[0].Policy, []byte(text), 0o644); err != nil {
		return nil, fmt.Errorf("writing the policy: %w", err)
	}
	return c, nil
}

// serveAndShow serves the log, shows what it does, and then either ends or goes
// on serving.
func serveAndShow(ctx context.Context, env serve.Env, o devOptions, c *config, cosigners []*cosigner, logger *slog.Logger) error {
	g, ctx := errgroup.WithContext(ctx)
	served, stop := context.WithCancel(ctx)
	defer stop()
	ready := make(chan map[string]string, 1)
	g.Go(func() error {
		return serveLogs(served, c, serving{readyFile: o.readyFile, ready: func(a map[string]string) { ready <- a }, logger: logger})
	})
	g.Go(func() error {
		var addresses map[string]string
		select {
		case addresses = <-ready:
		case <-ctx.Done():
			return nil
		}
		d := &demo{env: env, dir: o.dir, policyFile: c.Logs[0].Policy, addresses: addresses, cosigners: len(cosigners)}
		if err := d.run(ctx); err != nil {
			return verdict(err)
		}
		if o.once {
			stop()
			return nil
		}
		return d.next()
	})
	return g.Wait()
}

// verdict gives the errors of a receipt that does not hold their exit code.
func verdict(err error) error {
	var mismatch *client.Mismatch
	var fork *trust.Fork
	var rollback *trust.Rollback
	var ticket *client.Ticket
	switch {
	case errors.As(err, &mismatch), errors.As(err, &fork), errors.As(err, &rollback), errors.Is(err, errOffline):
		return &serve.ExitError{Code: serve.CodeVerification, Err: err}
	case errors.As(err, &ticket):
		return &serve.ExitError{Code: serve.CodeQuorum, Err: err}
	}
	return err
}
