// Package dev is `idlogd dev`: a log, three witnesses and a cosigner that verifies
// its index, each with keys and stores of its own, sample events over the public API and a receipt verified offline, all
// on this machine.
//
// It trusts its own folder. A crash leaves what a log and witnesses leave; a named
// folder is taken up again by the next run. Run is called once at a time.
package dev

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"idlog/client"
	"idlog/client/trust"
	"idlog/cmd/idlogd/config"
	"idlog/cmd/idlogd/instance"
	"idlog/cmd/idlogd/server"
	"idlog/cmd/internal/serve"
	"idlog/proto/policy"
)

const (
	devFamily    = "idlog.example/dev" // the log of `idlogd dev`
	verifierName = "verifier-1"
)

// Options is how Run runs.
type Options struct {
	// Dir is the folder to keep it in; a temporary one, removed at the end, if empty.
	Dir string
	// Once ends after the verified receipt.
	Once   bool
	Listen config.Listen
	// ReadyFile gets the addresses once they accept.
	ReadyFile string
}

// Run is the whole of dev. It serves until ctx ends; witnesses end after the log, which needs them to
// answer what is in flight.
func Run(ctx context.Context, env serve.Env, o Options) (err error) {
	if o.Dir == "" {
		if o.Dir, err = os.MkdirTemp("", "idlog-dev-"); err != nil {
			return fmt.Errorf("making a folder: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.Dir)) }()
	}
	logger := serve.Logger(env.Stderr, slog.LevelWarn)
	cosigners, err := startCosigners(ctx, o.Dir, logger)
	if err != nil {
		return err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var witnesses errgroup.Group
	verifier := cosigners[len(cosigners)-1]
	for _, c := range cosigners {
		witnesses.Go(func() error { return c.run(life, logger) })
	}
	err = func() error {
		c, keys, err := devLog(ctx, o, cosigners[:len(cosigners)-1], verifier)
		if err != nil {
			return err
		}
		// Where the entries are is known once the log has taken a port.
		listening := func(addresses map[string]string) error { return verifier.watch(keys, "http://"+addresses["http"]) }
		return serveAndShow(ctx, env, o, c, len(cosigners)-1, listening)
	}()
	end()
	return errors.Join(err, witnesses.Wait())
}

// startCosigners starts three witnesses and last one that verifies the index, or
// none.
func startCosigners(ctx context.Context, dir string, logger *slog.Logger) ([]*cosigner, error) {
	var cosigners []*cosigner
	for _, name := range []string{"witness-1", "witness-2", "witness-3", verifierName} {
		c, err := startCosigner(ctx, name, filepath.Join(dir, name), name == verifierName, logger)
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
func devLog(ctx context.Context, o Options, cosigners []*cosigner, verifier *cosigner) (*config.Config, []string, error) {
	file := filepath.Join(o.Dir, config.Name)
	c, err := config.Read(file)
	var missing *serve.ExitError
	if errors.As(err, &missing) && missing.Code == serve.CodeInit {
		witnessFile := filepath.Join(o.Dir, "witnesses.tlog-policy")
		if err := os.WriteFile(witnessFile, []byte(cosignerLines(cosigners)), 0o644); err != nil {
			return nil, nil, fmt.Errorf("writing the witness policy: %w", err)
		}
		// A shard of its own: whoever verified an earlier run must not take this one for its fork.
		opts := instance.InitOptions{Dir: o.Dir, Family: devFamily, Origin: devFamily + "/" + strings.ToLower(rand.Text()[:8]), WitnessPolicy: witnessFile}
		for _, s := range devSources {
			opts.Sources = append(opts.Sources, s.name+"="+s.issuer)
		}
		c, err = instance.Init(ctx, opts)
	}
	if err != nil {
		return nil, nil, err
	}
	c.Listen, c.LogLevel = o.Listen, "warn"
	vkeys, err := os.ReadFile(filepath.Join(o.Dir, instance.VKeyName))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the log's vkey: %w", err)
	}
	keys := strings.Fields(string(vkeys))
	for _, w := range append(cosigners, verifier) {
		if err := w.watch(keys, ""); err != nil {
			return nil, nil, err
		}
	}
	// The ports are new each time.
	text, err := instance.PolicyText(keys, cosignerLines(cosigners))
	if err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(c.Logs[0].Policy, []byte(text), 0o644); err != nil {
		return nil, nil, fmt.Errorf("writing the policy: %w", err)
	}
	c.Logs[0].Verifiers = filepath.Join(o.Dir, "verifiers.tlog-policy")
	lines := fmt.Sprintf("witness %s %s %s\nquorum %s\n", verifier.name, verifier.vkey, verifier.url(), verifier.name)
	if err := os.WriteFile(c.Logs[0].Verifiers, []byte(lines), 0o644); err != nil {
		return nil, nil, fmt.Errorf("writing the verifiers: %w", err)
	}
	return c, keys, writeTrust(o.Dir, c.Logs[0].Origin, keys, text, verifier)
}

// trustName is the file by which a reader judges answers.
const trustName = "dev.idlog-trust"

// writeTrust writes what a reader of this log would decide for itself: the policy, and that the verifier must have cosigned.
func writeTrust(dir, origin string, keys []string, policyText string, verifier *cosigner) error {
	p, err := policy.Parse(fmt.Appendf(nil, "witness %s %s %s\n%s", verifier.name, verifier.vkey, verifier.url(), policyText))
	if err != nil {
		return fmt.Errorf("making the trust file: %w", err)
	}
	t := &policy.Trust{Log: devFamily, Require: keys, Verifiers: []string{verifier.name}, Threshold: 1, Origins: []string{origin}, Policy: p,
		MaxLag: policy.DefaultMaxLag, MaxAge: policy.DefaultMaxAge, Skew: policy.DefaultSkew}
	b, err := t.Format()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, trustName), b, 0o644); err != nil {
		return fmt.Errorf("writing the trust file: %w", err)
	}
	return nil
}

// serveAndShow serves the log, shows what it does, and then either ends or goes
// on serving.
func serveAndShow(ctx context.Context, env serve.Env, o Options, c *config.Config, cosigners int, listening func(addresses map[string]string) error) error {
	g, ctx := errgroup.WithContext(ctx)
	served, stop := context.WithCancel(ctx)
	defer stop()
	ready := make(chan map[string]string, 1)
	g.Go(func() error {
		return server.Serve(served, c, server.Options{ReadyFile: o.ReadyFile, Ready: func(a map[string]string) { ready <- a }, Stderr: env.Stderr})
	})
	g.Go(func() error {
		var addresses map[string]string
		select {
		case addresses = <-ready:
		case <-ctx.Done():
			return nil
		}
		if err := listening(addresses); err != nil {
			return err
		}
		d := &demo{env: env, dir: o.Dir, policyFile: c.Logs[0].Policy, addresses: addresses, cosigners: cosigners}
		if err := d.run(ctx); err != nil {
			return verdict(err)
		}
		if o.Once {
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
