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

	"idlog/proto/checkpoint"
	"idlog/proto/tile"
)

// ErrPlaintext says that a server which is not on this machine was named without
// https: whoever is on the way could read what it answers, and withhold it.
var ErrPlaintext = errors.New("a server that is not on this machine needs https")

// Site is what is published below one URL.
type Site struct {
	base    string // without a slash at its end
	timeout time.Duration
	http    *http.Client
}

// New returns the site below a URL, such as https://log.example/prefix. conf is
// for TLS and may be nil; each request takes at most timeout, which is 30 s if
// it is 0. A URL with a user, a query or a fragment is refused, and plain http
// except to loopback, which is [ErrPlaintext]. It does not connect.
func New(base string, conf *tls.Config, timeout time.Duration) (*Site, error) {
	u, err := Parse(base)
	if err != nil {
		return nil, err
	}
	if timeout <= 0 {
		timeout = 30 * time.Second
	}
	return &Site{base: strings.TrimRight(u.String(), "/"), timeout: timeout, http: Client(conf)}, nil
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
			MaxIdleConnsPerHost: 8, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Tile is a [tile.Fetch].
func (s *Site) Tile(ctx context.Context, path string) ([]byte, error) {
	return s.get(ctx, path, tile.MaxBundle, false)
}

// Note returns a signed note, not verified: a log's checkpoint, or an archived
// one. Caches on the way are asked not to answer. A note that is not there is
// fs.ErrNotExist.
func (s *Site) Note(ctx context.Context, path string) ([]byte, error) {
	return s.get(ctx, path, checkpoint.MaxNote, true)
}

func (s *Site) get(ctx context.Context, path string, most int64, fresh bool) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/"+path, nil)
	if err != nil {
		return nil, fmt.Errorf("getting %s: %w", path, err)
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
	case http.StatusNotFound:
		return nil, fmt.Errorf("getting %s/%s: %w", s.base, path, fs.ErrNotExist)
	default:
		return nil, fmt.Errorf("getting %s/%s: status %d", s.base, path, res.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	if err != nil {
		return nil, fmt.Errorf("getting %s/%s: %w", s.base, path, err)
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("getting %s/%s: more than %d bytes", s.base, path, most)
	}
	return b, nil
}
