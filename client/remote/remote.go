// Package remote reads what logs and witnesses publish over HTTP.
//
// It trusts no server: answers are bounded in size and time, redirects lead
// nowhere, and what comes back is bytes that the caller verifies. Nothing is
// kept, so a crash means nothing. A Site may be used by any number of
// goroutines.
//
// Specifications: c2sp.org/tlog-tiles and c2sp.org/tlog-witness, as a reader.
package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"idlog/client/internal/pause"
	"idlog/proto/checkpoint"
	"idlog/proto/tile"
)

var (
	// ErrPlaintext says that a server which is not on this machine was named without
	// https: whoever is on the way could read what it answers, and withhold it.
	ErrPlaintext = errors.New("a server that is not on this machine needs https")
	// ErrTooLarge says that an answer is larger than anything of its kind is.
	ErrTooLarge = errors.New("the answer is too large")
)

// A StatusError is an answer that is neither the file nor that there is none.
type StatusError struct {
	URL  string
	Code int
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("getting %s: status %d %s", e.URL, e.Code, http.StatusText(e.Code))
	if e.Code >= 300 && e.Code < 400 {
		s += ", and redirects are not followed"
	}
	return s
}

// Config is how a Site is read. The zero value works.
type Config struct {
	// TLS is for https; nil is the machine's authorities and no certificate.
	TLS *tls.Config
	// Timeout bounds each request; 0 is 30 s.
	Timeout time.Duration
	// Attempts is how often a file is asked for while that fails for a reason that
	// may pass, with pauses of 0.2 s that double; 0 is once.
	Attempts int
}

const firstPause = 200 * time.Millisecond

// Site is what is published below one URL.
type Site struct {
	base string // without a slash at its end
	cfg  Config
	http *http.Client
}

// New returns the site below a URL, such as https://log.example/prefix. A URL
// with a user, a query or a fragment is refused, and plain http except to
// loopback, which is [ErrPlaintext]. It does not connect.
func New(base string, cfg Config) (*Site, error) {
	u, err := Parse(base)
	if err != nil {
		return nil, err
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	return &Site{base: strings.TrimRight(u.String(), "/"), cfg: cfg, http: Client(cfg.TLS)}, nil
}

// Parse reads a URL by the rules of New. Its errors do not repeat the URL, which
// may be a secret.
func Parse(base string) (*url.URL, error) {
	u, err := url.Parse(base)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("it is not a URL like https://log.example/prefix")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("the URL has more than a scheme, a host and a path")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, ErrPlaintext
	}
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Client is the HTTP client of a Site: no redirects, no cookies, no compression.
func Client(conf *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, ForceAttemptHTTP2: true, DisableCompression: true,
			MaxIdleConnsPerHost: 32, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// URL returns where the file at a path is.
func (s *Site) URL(path string) string { return s.base + "/" + path }

// Tile is a [tile.Fetch]. A file that is not there is fs.ErrNotExist; other
// errors are ErrTooLarge, *StatusError, and those of the network.
func (s *Site) Tile(ctx context.Context, path string) ([]byte, error) {
	return s.get(ctx, path, tile.MaxBundle, false)
}

// Note returns a signed note, not verified: a log's checkpoint, or an archived
// one. Caches on the way are asked not to answer. Errors are those of Tile.
func (s *Site) Note(ctx context.Context, path string) ([]byte, error) {
	return s.get(ctx, path, checkpoint.MaxNote, true)
}

// get fetches a file, again and again while it fails for a reason that may pass.
func (s *Site) get(ctx context.Context, path string, most int64, fresh bool) ([]byte, error) {
	next := firstPause
	for try := 1; ; try++ {
		b, err := s.once(ctx, s.URL(path), most, fresh)
		if err == nil || try >= s.cfg.Attempts || !passes(err) || ctx.Err() != nil {
			return b, err
		}
		if err := pause.For(ctx, next); err != nil {
			return nil, err
		}
		next *= 2
	}
}

// passes reports whether another try may have another answer.
func passes(err error) bool {
	if status, ok := errors.AsType[*StatusError](err); ok {
		return status.Code >= 500 || status.Code == http.StatusTooManyRequests
	}
	return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrTooLarge)
}

func (s *Site) once(ctx context.Context, url string, most int64, fresh bool) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("getting %s: %w", url, err)
	}
	if fresh {
		req.Header.Set("Cache-Control", "no-cache")
	}
	res, err := s.http.Do(req)
	if err != nil {
		return nil, err // it names the URL
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone:
		return nil, fmt.Errorf("getting %s: %w", url, fs.ErrNotExist)
	default:
		return nil, &StatusError{url, res.StatusCode}
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	if err != nil {
		return nil, fmt.Errorf("getting %s: %w", url, err)
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("getting %s: %w: more than %d bytes", url, ErrTooLarge, most)
	}
	return b, nil
}
