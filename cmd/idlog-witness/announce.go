package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"time"

	"idlog/cmd/internal/serve"
	"idlog/witness"
)

const (
	announceTimeout = 10 * time.Second
	announceMin     = time.Second // between two attempts that fail
	announceMax     = 5 * time.Minute
)

// announcer posts each contradiction that is kept to one address, until it is
// taken. What is taken is remembered on disk, so a restart goes on where it
// ended; a crash between the two sends one again.
type announcer struct {
	target  *url.URL
	store   *witness.Store // set before run
	client  *http.Client
	logger  *slog.Logger
	found   chan struct{} // holds one: look again
	observe func(outcome string)
}

// newAnnouncer judges the address. It is often a secret, so no error repeats it.
func newAnnouncer(target string, logger *slog.Logger, observe func(outcome string)) (*announcer, error) {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
		return nil, serve.Usagef("--webhook is not an https URL, nor an http one of this machine")
	}
	return &announcer{
		target: u, logger: logger, observe: observe, found: make(chan struct{}, 1),
		client: &http.Client{
			Timeout:       announceTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// look makes run look for new contradictions. It does not block.
func (a *announcer) look() {
	select {
	case a.found <- struct{}{}:
	default:
	}
}

// run posts until ctx ends.
func (a *announcer) run(ctx context.Context) {
	wait := announceMin
	for {
		err := a.announce(ctx)
		if ctx.Err() != nil {
			return
		}
		var again <-chan time.Time
		if err != nil {
			a.observe("failed")
			a.logger.Error("a contradiction is not announced yet", "host", a.target.Host, "err", err)
			again = time.After(wait + rand.N(wait/4))
			wait = min(2*wait, announceMax)
		} else {
			wait = announceMin
		}
		select {
		case <-ctx.Done():
			return
		case <-a.found:
		case <-again:
		}
	}
}

// announce posts what is not announced yet, oldest first, and stops at the first
// failure.
func (a *announcer) announce(ctx context.Context) error {
	kept, err := a.store.Contradictions()
	if err != nil {
		return err
	}
	for _, c := range kept {
		if c.Announced {
			continue
		}
		if err := a.post(ctx, c); err != nil {
			return fmt.Errorf("announcing %s: %w", c.Name, err)
		}
		// If we die here it is posted again: the name says that it is the same.
		if err := a.store.SetAnnounced(c.Name); err != nil {
			return err
		}
		a.observe("delivered")
		a.logger.Info("announced a contradiction", "evidence", c.Name, "host", a.target.Host)
	}
	return nil
}

func (a *announcer) post(ctx context.Context, c witness.Contradiction) error {
	b, err := a.store.Evidence(c.Name)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.target.String(), bytes.NewReader(b))
	if err != nil {
		return errors.New("the address is refused") // the error would repeat it
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Idempotency-Key", c.Name)
	req.Header.Set("Idlog-Proven", fmt.Sprint(c.Proven))
	resp, err := a.client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the address
		}
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)); err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("answered %d", resp.StatusCode)
	}
	return nil
}
