package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"idlog/log/index"
	"idlog/log/vault"
	"idlog/proto/answer"
	"idlog/proto/checkpoint"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/proof"
	"idlog/proto/subject"
	"idlog/proto/tile"
)

// A making is one answer under work. It belongs to one goroutine.
type making struct {
	*Query
	ctx       context.Context // of the call
	principal string
	req       *logv1.HistoryRequest
	basis     *index.Answer
	root      *leaf.Root
	size      int64 // of the checkpoint
	reader    *tile.Reader
	window    *answer.Window

	tags     []map[leaf.Tag]bool // what each ask comes down to
	subjects []answer.Subject    // evidence that was found
	keys     []answer.Key
	left     int64   // postings that the proof may still have
	events   []int64 // entries of the lists that answer, within the window
}

// A list is a list that answers, and the numbers [start, end) of it that the question is about.
type list struct {
	query      answer.Query
	start, end int64
}

func (q *Query) answer(ctx context.Context, principal string, req *logv1.HistoryRequest, asks []answer.Ask, basis *index.Answer) ([]byte, error) {
	m := &making{Query: q, ctx: ctx, principal: principal, req: req, basis: basis, left: proof.MaxPostings}
	c, err := parse(basis.Checkpoint.Note)
	if err != nil {
		return nil, err
	}
	l, err := leaf.Parse(basis.Root)
	if err != nil {
		return nil, fmt.Errorf("reading root leaf: %w", err)
	}
	root, ok := l.(*leaf.Root)
	if !ok {
		return nil, fmt.Errorf("entry %d is no root leaf", basis.At)
	}
	m.root, m.size, m.reader = root, c.Size, tile.NewReader(c, q.cfg.Log.Resource)
	if err := m.readWindow(); err != nil {
		return nil, err
	}
	if asks, err = m.plan(asks); err != nil {
		return nil, err
	}
	h := m.history(asks)
	if err := m.fill(h, m.page); err != nil {
		return nil, err
	}
	for _, step := range []func(*answer.History) error{m.entries, m.hashes, m.anchors, m.disclose} {
		if err := step(h); err != nil {
			return nil, err
		}
	}
	file, err := h.Format()
	if err != nil {
		return nil, tooLarge(err)
	}
	return file, nil
}

func tooLarge(err error) error {
	return refuse(logv1.Reason_REASON_TOO_LARGE, "", "the answer is too large: ask for a page of it, or for a window (%v)", err)
}

// history is an answer of which only the question is there.
func (m *making) history(asks []answer.Ask) *answer.History {
	return &answer.History{
		Log: m.cfg.Family, Asks: asks, Window: m.window, NoLinks: m.req.GetNoLinks(),
		Subjects: slices.Clone(m.subjects), Keys: slices.Clone(m.keys),
		Index: &proof.Index{
			At: m.basis.At, Root: m.basis.Root, Checkpoint: m.basis.Checkpoint.Note, Strict: m.req.GetStrict() || !m.cfg.Verified,
		},
	}
}

func parse(note []byte) (checkpoint.Checkpoint, error) {
	text, _, err := checkpoint.Split(note)
	if err != nil {
		return checkpoint.Checkpoint{}, err
	}
	return checkpoint.Parse(text)
}

// fill looks up what the history lacks, until there is nothing left that could be found. Page says which part of a list that
// answers is shown.
func (m *making) fill(h *answer.History, page func(list) (start, count int64)) error {
	m.left = proof.MaxPostings
	for {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		missing, err := h.Missing()
		if err != nil {
			return fmt.Errorf("finding out what is missing: %w", err)
		}
		found := false
		for _, q := range missing.Queries {
			a, err := m.lookup(q, page)
			if err != nil {
				return err
			}
			h.Add(*a)
			found = true
		}
		for _, s := range missing.Subjects {
			ok, err := m.prove(h, s.Identifier, s.Epoch)
			if err != nil {
				return err
			}
			found = found || ok
		}
		for _, u := range missing.Enrolments {
			ok, err := m.open(h, u)
			if err != nil {
				return err
			}
			found = found || ok
		}
		for _, k := range missing.Keys {
			if err := m.cfg.Events.Readable(k.Source, m.principal); err != nil {
				return refuse(logv1.Reason_REASON_SOURCE_NOT_BOUND, "asks",
					"the answer would show a key of source %s, which the caller may not read: name a source of your own", k.Source)
			}
			k.Key = m.cfg.Vault.Key(k.Field, k.Source)
			h.Keys = append(h.Keys, k)
			found = true
		}
		slices.SortFunc(h.Keys, func(a, b answer.Key) int {
			return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Source, b.Source))
		})
		if !found {
			return nil
		}
	}
}

// lookup answers one query of the index.
func (m *making) lookup(q answer.Query, page func(list) (start, count int64)) (*proof.Answer, error) {
	key := mapfn.Key(q.Field, q.Value)
	path, head, err := m.basis.Find(key)
	if err != nil {
		return nil, err
	}
	a := &proof.Answer{Field: q.Field, Value: q.Value, Path: path}
	if head.N == 0 {
		return a, nil
	}
	start, count := int64(0), head.N
	if !q.Whole {
		l := list{query: q, end: head.N}
		if l.start, l.end, err = m.span(key, head.N); err != nil {
			return nil, err
		}
		start, count = page(l)
	}
	if m.left -= count; m.left < 0 {
		return nil, tooLarge(fmt.Errorf("more than %d entries", proof.MaxPostings))
	}
	p, err := m.basis.Page(key, start, count)
	if err != nil {
		return nil, err
	}
	a.List = &proof.List{Head: head, Page: p, Entries: make([][]byte, len(p.Postings))}
	if !q.Whole {
		return a, nil // its entries are read when it is known which lists answer
	}
	return a, m.read(a.List)
}

// span returns the numbers of a list's postings that show what of it lies in the window: those within, and one on each side.
func (m *making) span(key leaf.Hash, n int64) (start, end int64, err error) {
	end = n
	if m.window == nil {
		return 0, end, nil
	}
	if start, err = m.basis.Seek(key, m.window.From); err != nil {
		return 0, 0, err
	}
	if m.window.To < m.root.N {
		if end, err = m.basis.Seek(key, m.window.To); err != nil {
			return 0, 0, err
		}
	}
	return max(start-1, 0), min(end+1, n), nil
}

// page is which part of a list that answers is shown.
func (m *making) page(l list) (start, count int64) {
	start, end := l.start, l.end
	since := slices.IndexFunc(m.req.GetSince(), func(s *logv1.Since) bool {
		return uint16(s.GetField()) == l.query.Field && slices.Equal(s.GetValue(), l.query.Value[:])
	})
	switch p := m.req.GetPage(); {
	case since >= 0:
		start = min(max(start, m.req.GetSince()[since].GetCount()), end)
	case p != nil:
		start = min(max(start, p.GetStart()), end)
		end = min(end, start+p.GetCount())
	case len(m.req.GetSince()) == 0:
		end = min(end, start+pageByDefault)
	}
	return start, min(end-start, m.left)
}

// read puts the entries of a page in their place. It reads each bundle of the log once.
func (m *making) read(l *proof.List) error {
	postings := l.Page.Postings
	for i := 0; i < len(postings); {
		next := i + 1
		for next < len(postings) && postings[next].Index/tile.Width == postings[i].Index/tile.Width {
			next++
		}
		for e, err := range m.reader.Entries(m.ctx, postings[i].Index, postings[next-1].Index+1) {
			if err != nil {
				return err
			}
			if e.Index != postings[i].Index {
				continue
			}
			if e.Hash != postings[i].Leaf {
				return fmt.Errorf("entry %d is not the one that was indexed", e.Index)
			}
			l.Entries[i] = e.Data
			i++
		}
	}
	return nil
}

// prove adds what an identifier is called in an epoch.
func (m *making) prove(h *answer.History, id subject.Identifier, epoch int64) (bool, error) {
	if epoch != vault.Epoch {
		return false, nil // there is no key of another yet
	}
	_, pi, err := m.cfg.Vault.Prove(id)
	if err != nil {
		return false, err
	}
	h.Subjects = append(h.Subjects, answer.Subject{Identifier: id, Epoch: epoch, Proof: pi})
	return true, nil
}

// open adds what is known of an enrolment: its handle, its identifier, or that it is erased.
func (m *making) open(h *answer.History, u answer.Unopened) (bool, error) {
	of := slices.IndexFunc(h.Subjects, func(s answer.Subject) bool {
		return s.Identifier == u.Identifier && (u.Epoch == 0 || s.Epoch == u.Epoch)
	})
	e, err := m.cfg.Vault.Enrolment(u.Leaf)
	switch {
	case errors.Is(err, vault.ErrLost):
	case err != nil:
		return false, err
	case u.Epoch != 0 && of >= 0:
		h.Subjects[of].Enrolments = append(h.Subjects[of].Enrolments, answer.Enrolled{Leaf: u.Leaf, Handle: e.Handle})
		return true, nil
	case e.Identifier != subject.Identifier{}:
		if slices.ContainsFunc(h.Subjects, func(s answer.Subject) bool { return s.Identifier == e.Identifier }) {
			return false, nil // its list does not have the enrolment: it came after N
		}
		return m.prove(h, e.Identifier, e.Epoch)
	}
	key := mapfn.Key(mapfn.Erasure, u.Leaf)
	_, head, err := m.basis.Find(key)
	if err != nil || head.N == 0 || of < 0 {
		return false, err // lost: the reader is told so
	}
	p, err := m.basis.Page(key, 0, 1)
	if err != nil {
		return false, err
	}
	h.Subjects[of].Enrolments = append(h.Subjects[of].Enrolments, answer.Enrolled{Leaf: u.Leaf, Erased: true, ErasedAt: p.Postings[0].Index})
	return true, nil
}

// entries reads the entries of the lists that answer, and notes where those stand that are asked for.
func (m *making) entries(h *answer.History) error {
	for _, a := range h.Index.Answers {
		if a.List == nil || evidence(a.Field) {
			continue
		}
		if err := m.read(a.List); err != nil {
			return err
		}
		for i, p := range a.List.Page.Postings {
			if inside := m.window == nil || m.window.From <= p.Index && p.Index < m.window.To; inside && m.answers(a.List.Entries[i]) {
				m.events = append(m.events, p.Index)
			}
		}
	}
	slices.Sort(m.events)
	m.events = slices.Compact(m.events)
	return nil
}

// evidence reports whether a field is that of lists from which others follow, and not of one that answers.
func evidence(field uint16) bool { return field >= mapfn.Enrolment }

// hashes adds the proof that the root leaf, and in strict mode each entry, is in the log.
func (m *making) hashes(h *answer.History) error {
	var known []int64
	if h.Index.Strict {
		for _, a := range h.Index.Answers {
			if a.List == nil {
				continue
			}
			for _, p := range a.List.Page.Postings {
				known = append(known, p.Index)
			}
		}
	}
	var err error
	h.Index.Hashes, err = proof.IndexHashes(m.size, m.root.N, m.basis.At, known, func(from, to int64) ([][32]byte, error) {
		return m.reader.Subtrees(m.ctx, from, to)
	})
	return err
}
