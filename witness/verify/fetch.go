package verify

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
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"idlog/proto/checkpoint"
	"idlog/proto/tile"
)

// requestTime bounds one request to a log.
const requestTime = 30 * time.Second

// client follows no redirect, and keeps no cookie.
func client(conf *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, DisableCompression: true, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: maxAtOnce, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// site reads what a log publishes below one URL.
type site struct {
	base string
	http *http.Client
}

func newSite(base string, c *http.Client) (*site, error) {
	u, err := url.Parse(base)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("%q is not a URL like https://log.example/prefix", base)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, fmt.Errorf("%q: a log that is not on this machine needs https", base)
	}
	return &site{base: strings.TrimRight(base, "/") + "/", http: c}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// tile is a tile.Fetch.
func (s *site) tile(ctx context.Context, path string) ([]byte, error) {
	return s.get(ctx, path, tile.MaxBundle)
}

// checkpoint returns the newest checkpoint, not verified.
func (s *site) checkpoint(ctx context.Context) ([]byte, error) {
	return s.get(ctx, "checkpoint", checkpoint.MaxNote)
}

func (s *site) get(ctx context.Context, path string, most int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "identity")
	res, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone:
		return nil, fmt.Errorf("getting %s: %w", s.base+path, fs.ErrNotExist)
	default:
		return nil, fmt.Errorf("getting %s: status %d", s.base+path, res.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	if err == nil && int64(len(b)) > most {
		err = errors.New("the answer is too large")
	}
	if err != nil {
		return nil, fmt.Errorf("getting %s: %w", s.base+path, err)
	}
	return b, nil
}

const (
	maxAtOnce = 8        // requests for what is read ahead
	maxAhead  = 32 << 20 // bytes of it, give or take what is under way
)

// ahead fetches what one chunk of entries needs at once, so that a log far away is
// read faster than one answer after the other. It belongs to one goroutine.
type ahead struct {
	site  *site
	ready map[string][]byte
}

// read fetches the hashes and entries of [from, to) in a tree of that size, as far as
// there is room. What fails is left for fetch.
func (a *ahead) read(ctx context.Context, from, to, size int64) {
	a.ready = make(map[string][]byte)
	if (to-1)/tile.Width == from/tile.Width {
		return // two resources, and the reader may have one of them
	}
	var g errgroup.Group
	g.SetLimit(maxAtOnce)
	var mu sync.Mutex // guards ready and total
	var total int
	for n := from / tile.Width; n*tile.Width < to; n++ {
		for _, level := range []int{0, tile.Entries} {
			c, ok := tile.At(level, n, size)
			if !ok {
				continue
			}
			g.Go(func() error {
				mu.Lock()
				full := total > maxAhead
				mu.Unlock()
				if full {
					return nil
				}
				b, err := a.site.tile(ctx, c.Path())
				if err == nil {
					mu.Lock()
					a.ready[c.Path()], total = b, total+len(b)
					mu.Unlock()
				}
				return nil
			})
		}
	}
	_ = g.Wait() // nil: what failed is fetched again
}

// fetch is a tile.Fetch. It hands out what was read ahead once.
func (a *ahead) fetch(ctx context.Context, path string) ([]byte, error) {
	if b, ok := a.ready[path]; ok {
		delete(a.ready, path)
		return b, nil
	}
	return a.site.tile(ctx, path)
}
