package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"idlog/proto/checkpoint"
	"idlog/proto/tile"
)

const (
	attempts   = 5
	firstPause = 200 * time.Millisecond
	// The archive is walked in ranges of sizes, several at once: each answer only
	// says where the next one is.
	walkers   = 8
	ahead     = 32
	rangeSize = 1 << 14
	maxRanges = 1024
)

// ErrPlaintext says that a log on another machine was named without https.
var ErrPlaintext = errors.New("a log that is not on this machine needs https")

// A Site is a log served over HTTP as c2sp.org/tlog-tiles, with the archive of
// checkpoints below archive/.
type Site struct {
	prefix string
	client *http.Client
}

// NewSite returns the log whose checkpoint is at prefix + "/checkpoint". A nil
// client is http.DefaultClient. Plain http is for this machine alone.
func NewSite(prefix string, client *http.Client) (*Site, error) {
	u, err := url.Parse(prefix)
	if err != nil {
		return nil, fmt.Errorf("reading the log's URL: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not the URL of a log: https://host[:port][/path]", prefix)
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%s: %w", prefix, ErrPlaintext)
	}
	if client == nil {
		client = http.DefaultClient
	}
	return &Site{strings.TrimRight(prefix, "/"), client}, nil
}

// Newest implements [Log].
func (s *Site) Newest(ctx context.Context) ([]byte, error) {
	return s.get(ctx, "checkpoint", checkpoint.MaxNote)
}

// Resource implements [Log].
func (s *Site) Resource(ctx context.Context, path string) ([]byte, error) {
	return s.get(ctx, path, tile.MaxBundle)
}

// A StatusError is an answer that is neither the file nor that there is none.
type StatusError struct {
	URL  string
	Code int
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: %d %s", e.URL, e.Code, http.StatusText(e.Code))
}

// get fetches a file, again and again while it fails for a reason that may pass.
func (s *Site) get(ctx context.Context, path string, most int64) ([]byte, error) {
	pause := firstPause
	for try := 1; ; try++ {
		b, err := s.once(ctx, s.prefix+"/"+path, most)
		status, ok := errors.AsType[*StatusError](err)
		passes := err != nil && !errors.Is(err, fs.ErrNotExist) && (!ok || status.Code >= 500 || status.Code == http.StatusTooManyRequests)
		if !passes || try == attempts || ctx.Err() != nil {
			return b, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
			pause *= 2
		}
	}
}

func (s *Site) once(ctx context.Context, url string, most int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
		return io.ReadAll(io.LimitReader(res.Body, most+1))
	case http.StatusNotFound, http.StatusGone:
		return nil, fmt.Errorf("%s: %w", url, fs.ErrNotExist)
	}
	return nil, &StatusError{url, res.StatusCode}
}

// Heads implements [Log].
func (s *Site) Heads(ctx context.Context, newest int64) iter.Seq2[Head, error] {
	return func(yield func(Head, error) bool) {
		ctx, stop := context.WithCancel(ctx)
		var running sync.WaitGroup
		defer running.Wait()
		defer stop()
		width := max(rangeSize, newest/maxRanges+1)
		type found struct {
			heads []Head
			err   error
		}
		queue := make(chan chan found, ahead)
		busy := make(chan struct{}, walkers)
		running.Go(func() {
			defer close(queue)
			for from := int64(1); from <= newest; from += width {
				answer := make(chan found, 1) // a walker never waits for its reader
				select {
				case busy <- struct{}{}:
				case <-ctx.Done():
					return
				}
				running.Go(func() {
					defer func() { <-busy }()
					heads, err := s.walk(ctx, from, min(from+width-1, newest))
					answer <- found{heads, err}
				})
				select {
				case queue <- answer:
				case <-ctx.Done():
					return
				}
			}
		})
		for answer := range queue {
			f := <-answer
			for _, h := range f.heads {
				if !yield(h, nil) {
					return
				}
			}
			if f.err != nil {
				yield(Head{}, f.err)
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(Head{}, err)
		}
	}
}

// walk returns the archived checkpoints of the sizes from to to, each asked for
// by the size after the one before.
func (s *Site) walk(ctx context.Context, from, to int64) ([]Head, error) {
	var heads []Head
	for next := from; next <= to; {
		path := "archive/" + strconv.FormatInt(next, 10)
		b, err := s.get(ctx, path, checkpoint.MaxNote)
		if errors.Is(err, fs.ErrNotExist) {
			return heads, nil
		} else if err != nil {
			return heads, err
		}
		h := Head{Note: b, Archived: true, Where: s.prefix + "/" + path}
		text, _, err := checkpoint.Split(b)
		if err != nil {
			return append(heads, Head{Problem: err.Error(), Where: h.Where}), nil
		}
		c, err := checkpoint.Parse(text)
		if err != nil || c.Size < next {
			return append(heads, Head{Problem: "it is not a checkpoint of that size or a larger one", Where: h.Where}), nil
		}
		if c.Size > to {
			return heads, nil
		}
		heads, next = append(heads, h), c.Size+1
	}
	return heads, nil
}
