package dev

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"idlog/cmd/idlogd/config"
	"idlog/cmd/internal/durable"
	"idlog/cmd/internal/serve"
	"idlog/proto/checkpoint"
	"idlog/proto/history/pebblekv"
	"idlog/witness"
	"idlog/witness/verify"
)

// cosigner is one witness of `idlogd dev`: a key, a store and a listener of its
// own. It shares this process with the log and nothing else.
type cosigner struct {
	name     string
	vkey     string
	witness  *witness.Witness
	verifier *verify.Verifier // nil unless it verifies the index
	store    *witness.Store
	listener net.Listener
}

// startCosigner makes the witness of dir, or opens the one that is there, and
// takes a port. It answers only once run is called.
func startCosigner(ctx context.Context, name, dir string, verifies bool, logger *slog.Logger) (*cosigner, error) {
	keyFile, storeDir := filepath.Join(dir, "witness.key"), filepath.Join(dir, "state")
	if _, err := os.Stat(keyFile); errors.Is(err, fs.ErrNotExist) {
		if err := createCosigner(name, dir, keyFile, storeDir); err != nil {
			return nil, err
		}
	}
	skey, err := config.ReadSecret(keyFile)
	if err != nil {
		return nil, err
	}
	c := &cosigner{name: name}
	if c.vkey, err = checkpoint.VKey(skey); err != nil {
		return nil, fmt.Errorf("reading %s: %w", keyFile, err)
	}
	if c.store, err = witness.OpenStore(storeDir); err != nil {
		return nil, err
	}
	none, err := witness.ParseLogs(nil)
	if err != nil {
		return nil, errors.Join(err, c.store.Close())
	}
	conf := witness.Config{PrivateKeys: []string{skey}, Store: c.store, Logs: none, Logger: logger}
	if verifies {
		c.verifier = verify.New(verify.Config{Dir: filepath.Join(dir, "index"), Open: pebblekv.Open, Store: c.store, Logs: none, Logger: logger})
		conf.Verify = c.verifier.Verify
	}
	if c.witness, err = witness.New(conf); err != nil {
		return nil, errors.Join(err, c.store.Close())
	}
	if c.listener, err = serve.Listen(ctx, "127.0.0.1:0", nil); err != nil {
		return nil, errors.Join(err, c.store.Close())
	}
	return c, nil
}

// createCosigner writes the store before the key: a key without its store would
// be a witness that forgot what it signed.
func createCosigner(name, dir, keyFile, storeDir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making a witness: %w", err)
	}
	if err := witness.CreateStore(storeDir); err != nil {
		return fmt.Errorf("making a witness: %w", err)
	}
	skey, _, err := checkpoint.GenerateKey(name+".example", checkpoint.Ed25519, checkpoint.WitnessRole)
	if err != nil {
		return fmt.Errorf("making a witness: %w", err)
	}
	return durable.Create(keyFile, []byte(skey+"\n"), 0o600)
}

func (c *cosigner) url() string { return "http://" + c.listener.Addr().String() }

// watch makes the witness cosign for the log with these keys, whose entries are
// below the URL; a witness that reads none needs no URL.
func (c *cosigner) watch(vkeys []string, url string) error {
	var lines strings.Builder
	for _, v := range vkeys {
		fmt.Fprintf(&lines, "log %s %s\n", v, url)
	}
	logs, err := witness.ParseLogs([]byte(lines.String()))
	if err != nil {
		return err
	}
	if c.verifier != nil {
		c.verifier.SetLogs(logs)
	}
	return c.witness.SetLogs(logs)
}

// run answers until ctx ends. It gives up port and store.
func (c *cosigner) run(ctx context.Context, logger *slog.Logger) error {
	mux := http.NewServeMux()
	mux.Handle("/", c.witness.Handler())
	var reading sync.WaitGroup
	if c.verifier != nil {
		mux.Handle("GET /{origin}/index-root/{size}", c.verifier.Handler())
		reading.Go(func() { c.verifier.Run(ctx) })
	}
	err := serve.HTTP(ctx, c.listener, nil, mux, logger)
	reading.Wait()
	return errors.Join(err, c.store.Close())
}

// cosignerLines is the policy of some witnesses: any two of three, or in
// general more than half.
func cosignerLines(cs []*cosigner) string {
	var lines strings.Builder
	names := make([]string, len(cs))
	for i, c := range cs {
		fmt.Fprintf(&lines, "witness %s %s %s\n", c.name, c.vkey, c.url())
		names[i] = c.name
	}
	fmt.Fprintf(&lines, "group witnesses %d %s\nquorum witnesses\n", len(cs)/2+1, strings.Join(names, " "))
	return lines.String()
}
