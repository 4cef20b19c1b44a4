package audit

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"strconv"
	"sync"

	"idlog/client/remote"
)

// The archive is walked in ranges of sizes, several at once: each answer only
// says where the next one is.
const (
	walkers   = 8
	ahead     = 32
	rangeSize = 1 << 14
	maxRanges = 1024
)

// A Site is a log served over HTTP as c2sp.org/tlog-tiles, with the archive of
// checkpoints below archive/. One request in many thousands fails, and ends the
// audit: its remote.Config has several Attempts.
type Site struct{ *remote.Site }

// Newest implements [Log].
func (s Site) Newest(ctx context.Context) ([]byte, error) { return s.Note(ctx, "checkpoint") }

// Resource implements [Log].
func (s Site) Resource(ctx context.Context, path string) ([]byte, error) { return s.Tile(ctx, path) }

// Heads implements [Log].
func (s Site) Heads(ctx context.Context, newest int64) iter.Seq2[Head, error] {
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
func (s Site) walk(ctx context.Context, from, to int64) ([]Head, error) {
	var heads []Head
	for next := from; next <= to; {
		path := "archive/" + strconv.FormatInt(next, 10)
		where := s.URL(path)
		b, err := s.Note(ctx, path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return heads, nil
		case errors.Is(err, remote.ErrTooLarge):
			return append(heads, Head{Problem: "it is larger than any checkpoint", Where: where}), nil
		case err != nil:
			return heads, err
		}
		c, err := parseNote(b)
		if err != nil {
			return append(heads, Head{Problem: err.Error(), Where: where}), nil
		}
		if c.Size < next {
			return append(heads, Head{Problem: "it is not a checkpoint of that size or a larger one", Where: where}), nil
		}
		if c.Size > to {
			return heads, nil
		}
		heads, next = append(heads, Head{Note: b, Archived: true, Where: where}), c.Size+1
	}
	return heads, nil
}
