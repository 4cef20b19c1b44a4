package trust

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"idlog/client/internal/atomicfile"
	"idlog/proto/leaf"
)

// Ticket is a promise as a State keeps it: by the hash of the leaf that was promised.
type Ticket struct {
	Leaf leaf.Hash
	File []byte // the ticket in whatever form its holder reads it back; the State does not look
}

const (
	open   = ".ticket" // a promise that may still be kept
	broken = ".broken" // one of which there is evidence that it was not
)

// KeepTickets remembers tickets until they are redeemed: the receipt that comes for one may bear the time of the ticket,
// and one that never comes makes the ticket evidence. When it returns nil they are on disk. A State in memory remembers
// their leaves alone.
func (s *State) KeepTickets(tickets []Ticket) error {
	if len(tickets) == 0 {
		return nil
	}
	if s.dir == "" {
		for _, t := range tickets {
			s.tickets.Put(t.Leaf, struct{}{})
		}
		return nil
	}
	if err := s.keepTickets(tickets); err != nil {
		return fmt.Errorf("keeping tickets: %w", err)
	}
	return nil
}

func (s *State) keepTickets(tickets []Ticket) error {
	err := os.Mkdir(filepath.Join(s.dir, "tickets"), 0o700)
	if err == nil {
		err = syncDir(s.dir) // before that a crash of the machine takes the new folder with all that is in it
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// An answer may have 500; a file system syncs several files at the price of one.
	var g errgroup.Group
	g.SetLimit(64)
	for _, t := range tickets {
		g.Go(func() error { return atomicfile.Write(s.ticket(t.Leaf, open), t.File, 0o600) })
	}
	// If we die here some are kept, and no caller was told of one.
	return g.Wait()
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Tickets yields the files of the tickets that are kept and neither redeemed nor broken, in no order. A State in memory
// has none. An error is the last thing it yields.
func (s *State) Tickets() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if s.dir == "" {
			return
		}
		dir := filepath.Join(s.dir, "tickets")
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		for _, e := range entries {
			if filepath.Ext(e.Name()) != open {
				continue
			}
			var b []byte
			if b, err = os.ReadFile(filepath.Join(dir, e.Name())); errors.Is(err, fs.ErrNotExist) {
				err = nil // somebody redeemed it meanwhile
				continue
			}
			if err != nil {
				break
			}
			if !yield(b, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, fmt.Errorf("reading tickets: %w", err))
		}
	}
}

// HoldsTicket reports whether a ticket of the leaf is kept.
func (s *State) HoldsTicket(h leaf.Hash) bool {
	if s.dir == "" {
		_, ok := s.tickets.Get(h)
		return ok
	}
	for _, kind := range []string{open, broken} {
		if _, err := os.Stat(s.ticket(h, kind)); err == nil {
			return true
		}
	}
	return false
}

// BrokenTicket ends the following of a ticket of which there is evidence that it was not kept. It still vouches for its
// time, should the leaf appear after all.
func (s *State) BrokenTicket(h leaf.Hash) error {
	if s.dir == "" {
		return nil
	}
	if err := os.Rename(s.ticket(h, open), s.ticket(h, broken)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("setting a broken ticket aside: %w", err)
	}
	return nil
}

// RedeemTicket forgets the ticket of a leaf that is in the log, if there was one.
func (s *State) RedeemTicket(h leaf.Hash) error {
	if s.dir == "" {
		return nil // the list is bounded
	}
	for _, kind := range []string{open, broken} {
		if err := os.Remove(s.ticket(h, kind)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forgetting a ticket: %w", err)
		}
	}
	return nil
}

func (s *State) ticket(h leaf.Hash, kind string) string {
	return filepath.Join(s.dir, "tickets", hex.EncodeToString(h[:])+kind)
}
