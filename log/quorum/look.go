package quorum

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"idlog/proto/checkpoint"
)

// Shown is what one witness shows of a log to whoever asks.
type Shown struct {
	Witness string // by its name in the policy
	// Note is the newest checkpoint that it has cosigned, and one of the log's keys has signed; nil if it has none.
	Note       []byte
	Checkpoint checkpoint.Checkpoint
	// Err says why the witness's word is missing.
	Err error
}

// Look asks every witness of the policy once, in its order, what it shows of the
// log. Of c, Prove is not used.
func Look(ctx context.Context, c Config) ([]Shown, error) {
	if c.Policy == nil {
		return nil, nil
	}
	client := callClient(c.HTTP)
	shown := make([]Shown, len(c.Policy.Witnesses))
	var all sync.WaitGroup
	for i, pw := range c.Policy.Witnesses {
		w, err := newWitness(pw, &c, client)
		if err != nil {
			return nil, err
		}
		all.Go(func() { shown[i] = w.look(ctx) })
	}
	all.Wait()
	return shown, nil
}

func (w *witness) look(ctx context.Context) Shown {
	s := Shown{Witness: w.name}
	if w.url == "" {
		s.Err = errors.New("it has no URL in the policy")
		return s
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	status, _, note, err := w.do(ctx, http.MethodGet, fmt.Sprintf("%s/%x/checkpoint", w.url, sha256.Sum256([]byte(w.origin))), nil)
	switch {
	case err != nil:
		s.Err = err
	case status == http.StatusNotFound:
	case status != http.StatusOK:
		s.Err = fmt.Errorf("status %d", status)
	default:
		c, by, err := checkpoint.Open(note, w.origin, w.keys...)
		if err == nil && by == 0 {
			err = errors.New("what it shows is not signed by the log's keys")
		}
		s.Checkpoint, s.Note, s.Err = c, note, err
	}
	return s
}
