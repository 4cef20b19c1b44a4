package submit

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"

	"idlog/client"
	"idlog/cmd/idlog/report"
	"idlog/cmd/internal/serve"
)

const (
	// oneOf is of how many receipts one is held to the index unless all are: SPEC 3.1 step 9.
	oneOf = 1000
	// maxKept is how many receipts are in memory until they are held to it.
	maxKept = 5000
)

// sample is the receipts of a run that the log's index is held to.
type sample struct {
	all  bool // a self-monitor; else some are drawn
	kept []*client.Receipt
	held int
	err  error // what ended it
}

// take keeps a receipt if it is drawn.
func (s *sample) take(r *client.Receipt) {
	if s.err == nil && (s.all || drawn()) {
		s.kept = append(s.kept, r)
	}
}

// drawn is true once in oneOf times, by a chance that the operator has no part in.
func drawn() bool {
	var b [8]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])%oneOf == 0
}

// holdIndex holds the log's index to the receipts that were kept, and ends with the first that it does not hold for. Of those
// that were drawn only what accuses the log counts: a log need not have an index, and nobody asked to wait for it.
func (a *account) holdIndex(ctx context.Context, c *client.Client) {
	s := &a.sample
	kept := s.kept
	s.kept = nil
	for i, r := range kept {
		a.bar.Show("holding the log's index to receipts", int64(i), int64(len(kept)))
		err := a.indexed(ctx, c, r)
		a.bar.Clear()
		code, _ := report.ClassOf(err)
		switch {
		case err == nil:
			s.held++
			continue
		case s.all || code == serve.CodeVerification:
			s.err = err
		case !errors.Is(err, client.ErrNoIndex) && code != serve.CodeInterrupted:
			a.g.Note("a receipt that was drawn by chance was not held to the log's index: %v", err)
		}
		return
	}
}

func (a *account) indexed(ctx context.Context, c *client.Client, r *client.Receipt) error {
	ctx, cancel := a.g.Within(ctx)
	defer cancel()
	return c.Indexed(ctx, r)
}
