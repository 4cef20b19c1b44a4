package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"idlog/log/journal"
	"idlog/log/vault"
	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/tag"
)

var errReadOnly = errors.New("the log is read-only")

// sequence puts what is journalled into the log, round after round.
func (in *Ingest) sequence(ctx context.Context) error {
	for {
		err := in.round(ctx)
		switch {
		case errors.Is(err, errReadOnly):
			<-ctx.Done() // reads go on, and an operator acts
			return nil
		case ctx.Err() != nil && errors.Is(err, ctx.Err()):
			return nil
		case err != nil:
			return fmt.Errorf("sequencing: %w", err)
		}
	}
}

// round appends what is ready, stores where it stands, and lets it be signed.
// ctx ends only the waiting: a round that has begun is finished.
func (in *Ingest) round(ctx context.Context) error {
	// 1. SPEC F15: rows that need others wait until these have an index.
	rows, err := in.journal.Take(ctx, maxRound)
	if err != nil {
		return err
	}
	if rows = in.cheat.lose(rows); len(rows) == 0 {
		return nil
	}
	began := time.Now()
	ctx = context.WithoutCancel(ctx)
	leaves := make([][]byte, len(rows))
	for i, r := range rows {
		leaves[i] = r.Leaf
	}
	// 2. If we die while this runs, or it fails, any of the leaves may be in the
	// log: recover looks, before anything is appended again.
	first, err := in.log.Append(ctx, leaves)
	if err != nil {
		if in.log.ReadOnly() != nil {
			return errReadOnly
		}
		return err
	}
	// 3. If we die now, all of them are in the log, above the cursor.
	if err := in.settle(ctx, first, rows); err != nil {
		return err
	}
	in.cfg.Metrics.round.Observe(time.Since(began).Seconds())
	in.cfg.Metrics.batch.Observe(float64(len(rows)))
	// 4. Waiters sleep until the checkpoint comes.
	in.backlog.sequenced(first+int64(len(rows)), rows)
	return nil
}

// recover reads the entries of the log that the journal has no index of yet,
// and stores it. What was journalled and is not among them is appended by the
// rounds that follow; what is among them and was never journalled, because the
// journal is older than the log, is adopted by its tag 1 (SPEC F31).
func (in *Ingest) recover(ctx context.Context) error {
	from, end := in.scanFrom(), in.log.Integrated()
	if end < from {
		return fmt.Errorf("the log has %d entries and the journal knows of %d: the log was rolled back, restore its newer copy", end, from)
	}
	for from < end {
		var rows []*journal.Row
		for index := from; index < end && len(rows) < maxRound; index++ {
			b, err := in.log.Entry(ctx, index)
			if err != nil {
				return err
			}
			row, err := in.adopt(ctx, index, b, rows)
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		// If we die after this, the next start goes on behind these.
		if err := in.journal.Sequenced(from, rows); err != nil {
			return err
		}
		from += int64(len(rows))
	}
	in.log.Release(in.journal.Cursor())
	return nil
}

// adopt returns the row of an entry: the one that was journalled, one of the
// same chunk, or a new one without payload.
func (in *Ingest) adopt(ctx context.Context, index int64, b []byte, chunk []*journal.Row) (*journal.Row, error) {
	key, control := leaf.HashOf(b), false
	l, err := leaf.Parse(b)
	if err == nil {
		switch l := l.(type) {
		case *leaf.Event:
			if len(l.Tags) > 0 && l.Tags[0].Field == tag.EventID {
				key = l.Tags[0].Value
			}
		case *leaf.Subject:
			if l.Fields != nil {
				key = *l.Fields
			}
		default:
			control = true
		}
	}
	row, err := in.journal.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	for _, r := range chunk {
		if row == nil && r.Key == key {
			row = r
		}
	}
	if row == nil {
		return &journal.Row{Key: key, Leaf: b, Control: control}, nil
	}
	if string(row.Leaf) != string(b) {
		return nil, fmt.Errorf("entry %d is another leaf than the journal has under its key", index)
	}
	return row, nil
}

// found makes sure that genesis stands at 0, the first keys leaf at 1, and that
// every source has a keys leaf, each in the log before anything needs it.
func (in *Ingest) found(ctx context.Context) error {
	rows, err := in.journal.Controls()
	if err != nil {
		return err
	}
	var first *journal.Row // keys leaf
	for _, r := range rows {
		l, err := leaf.Parse(r.Leaf)
		if err != nil {
			return fmt.Errorf("reading control leaf: %w", err)
		}
		switch l := l.(type) {
		case *leaf.Shard:
			if l.Genesis != nil && in.genesis == nil {
				if err := in.checkGenesis(l); err != nil {
					return err
				}
				in.genesis = r
			}
		case *leaf.Keys:
			if first == nil {
				first = r
			}
			if err := in.checkKeys(l, r); err != nil {
				return err
			}
		}
	}
	if in.log.ReadOnly() != nil {
		return nil
	}
	if in.genesis == nil {
		if in.log.Integrated() > 0 {
			return errors.New("entry 0 of the log is not a genesis leaf")
		}
		if in.genesis, err = in.putGenesis(ctx); err != nil {
			return err
		}
	}
	if err := in.putKeys(ctx, first); err != nil {
		return err
	}
	return in.untilFounded(ctx)
}

// untilFounded runs rounds until all control rows are in the log.
func (in *Ingest) untilFounded(ctx context.Context) error {
	for {
		done := in.genesis.Index() >= 0
		for _, src := range in.sources {
			done = done && src.row.Index() >= 0
		}
		if done {
			return nil
		}
		if err := in.round(ctx); errors.Is(err, errReadOnly) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (in *Ingest) checkGenesis(l *leaf.Shard) error {
	vkey, err := checkpoint.VKey(in.cfg.TicketKey)
	if err != nil {
		return err
	}
	switch {
	case l.Log != in.cfg.Family:
		return fmt.Errorf("the log is of family %s", l.Log)
	case l.Genesis.Ticket != vkey:
		return fmt.Errorf("the genesis leaf announces another ticket key: %s", l.Genesis.Ticket)
	}
	return nil
}

// checkKeys holds a keys leaf against the vault, and gives the sources it
// commits to their row.
func (in *Ingest) checkKeys(l *leaf.Keys, r *journal.Row) error {
	if l.Epoch != vault.Epoch || l.VRF != in.vault.VRF() {
		return errors.New("the vault is not that of this log: the log announces other keys")
	}
	for _, c := range l.Commits {
		if src := in.sources[c.Source]; src != nil && src.row == nil {
			src.row = r
		}
		if in.vault.Key(c.Field, c.Source).Commit(c.Field, c.Source) != c.Commit {
			return fmt.Errorf("the vault is not that of this log: the log announces other keys of source %s", c.Source)
		}
	}
	return nil
}

func (in *Ingest) putGenesis(ctx context.Context) (*journal.Row, error) {
	vkey, err := checkpoint.VKey(in.cfg.TicketKey)
	if err != nil {
		return nil, err
	}
	return in.putControl(ctx, nil, &leaf.Shard{
		Log: in.cfg.Family, Received: in.now().Unix(),
		Genesis: &leaf.Genesis{MapFn: leaf.MapFn, Keys: vault.Epoch, Ticket: vkey},
	})
}

// putKeys journals keys leaves for the sources that have none, and the first
// keys leaf even if there is no source.
func (in *Ingest) putKeys(ctx context.Context, first *journal.Row) error {
	var fresh []*source
	for _, s := range in.cfg.Sources {
		if src := in.sources[s.Name]; src.row == nil {
			fresh = append(fresh, src)
		}
	}
	for first == nil || len(fresh) > 0 {
		now := fresh[:min(len(fresh), sourcesPerLeaf)]
		fresh = fresh[len(now):]
		l := &leaf.Keys{Log: in.cfg.Family, Received: in.now().Unix(), Epoch: vault.Epoch, VRF: in.vault.VRF()}
		for _, src := range now {
			for _, field := range neutral {
				l.Commits = append(l.Commits, leaf.Commit{
					Field: field, Source: src.name, Commit: in.vault.Key(field, src.name).Commit(field, src.name),
				})
			}
		}
		slices.SortFunc(l.Commits, func(a, b leaf.Commit) int {
			return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Source, b.Source))
		})
		needs := []leaf.Hash{in.genesis.Key}
		if first != nil {
			needs = append(needs, first.Key)
		}
		row, err := in.putControl(ctx, needs, l)
		if err != nil {
			return err
		}
		if first == nil {
			first = row
		}
		for _, src := range now {
			src.row = row
		}
	}
	return nil
}

func (in *Ingest) putControl(ctx context.Context, needs []leaf.Hash, l leaf.Leaf) (*journal.Row, error) {
	b, err := l.Format()
	if err != nil {
		return nil, fmt.Errorf("making control leaf: %w", err)
	}
	// If we die after this, the leaf goes into the log at the next start.
	outcomes, err := in.journal.Put(ctx, []*journal.Row{{Key: leaf.HashOf(b), Leaf: b, Control: true, Needs: needs}})
	if err != nil {
		return nil, err
	}
	return outcomes[0].Row, nil
}
