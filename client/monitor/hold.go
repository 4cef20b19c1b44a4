package monitor

import (
	"cmp"
	"context"
	"fmt"

	"idlog/client/monitor/kept"
	"idlog/client/monitor/memory"
	"idlog/client/rules"
	"idlog/proto/evidence"
	"idlog/proto/leaf"
	"idlog/proto/policy"
)

// keptReceipt is who has seen what a receipt was verified under.
const keptReceipt = "who keeps a receipt"

// holdAtOnce is how many files are delivered for and remembered together.
const holdAtOnce = 256

// holding is one reading of what a submitter keeps.
type holding struct {
	*Monitor
	log   kept.Log
	tree  tree
	found []Finding
	files []*kept.File // settled by what was found
	batch memory.Batch // that they are
}

// hold holds the log to what a submitter keeps, once all entries were checked that
// were accepted. What it can say nothing of yet it looks at again the next time.
func (m *Monitor) hold(ctx context.Context, t tree) error {
	if m.kept == nil || m.at.checked < m.at.head.Size {
		return nil
	}
	late, err := m.cfg.Policy.Verify(m.at.note)
	if err != nil {
		return nil // it was accepted under another policy, and the next one is under this
	}
	h := holding{Monitor: m, tree: t, log: kept.Log{
		Newest: t.Verified, Reader: t.reader, Late: late,
		Archived: func(ctx context.Context, size int64) (*policy.Verified, error) {
			return m.verified(ctx, fmt.Sprintf("archive/%d", size))
		},
		Continues: func(ctx context.Context, v *policy.Verified) error {
			return m.continues(ctx, t, view{who: "who keeps a ticket", head: v.Checkpoint, note: v.Note})
		},
	}}
	m.unread = nil
	for f, err := range m.kept.Files(late.Oldest(), h.logged) {
		if is[*StateError](err) {
			return err
		}
		if err != nil {
			m.unread = err // the log has no part in it
			break
		}
		if err := h.file(ctx, f); err != nil {
			if m.passing(err) { // what was found before does not wait for the log to answer
				err = cmp.Or(h.settle(ctx), err)
			}
			return err
		}
		if len(h.files) == holdAtOnce {
			if err := h.settle(ctx); err != nil {
				return err
			}
		}
	}
	return h.settle(ctx)
}

// settle delivers what was found, and remembers of which files it was.
func (h *holding) settle(ctx context.Context) error {
	if len(h.files) == 0 {
		return nil
	}
	if err := h.Monitor.settle(ctx, h.found); err != nil {
		return err
	}
	// If we die here all of it was delivered, and is found again under its ids.
	h.batch.Checked = h.at.checked
	if err := h.memory.Commit(&h.batch); err != nil {
		return &StateError{err}
	}
	for _, f := range h.files {
		h.kept.Settle(f)
	}
	for _, f := range h.found {
		if f.Severity == Fault {
			h.faults++
		}
	}
	h.found, h.files, h.batch = nil, nil, memory.Batch{}
	return nil
}

func (h *holding) find(k memory.Key) (memory.Place, bool, error) {
	p, ok, err := h.memory.Find(&h.batch, k)
	if err != nil {
		return p, ok, &StateError{err}
	}
	return p, ok, nil
}

func (h *holding) logged(fields leaf.Hash) (bool, error) {
	_, ok, err := h.find(memory.Fields(fields))
	return ok, err
}

// settled takes what there is to say of a file, at last.
func (h *holding) settled(f *kept.File, found ...Finding) {
	h.found, h.files = append(h.found, found...), append(h.files, f)
	h.batch.Learn(memory.Told(f.Sum), memory.Place{Hash: f.Sum})
}

// file holds the log to one file. Its errors are those of a look.
func (h *holding) file(ctx context.Context, f *kept.File) error {
	_, told, err := h.find(memory.Told(f.Sum))
	switch {
	case err != nil:
		return err
	case told:
		h.kept.Settle(f) // by an earlier process, or it is a copy
		return nil
	case f.Err != nil:
		h.settled(f, h.finding(Warning, "unread", fmt.Sprintf("%x", f.Sum), "%s: nothing can be held to it: %v", f.Path, f.Err))
		return nil
	case f.Receipt != nil:
		return h.receipt(ctx, f)
	}
	return h.ticket(ctx, f)
}

// receipt holds the log to a receipt: it continues the checkpoint that the receipt was
// verified under, so that its entry is that of the receipt; and that is what was sent.
func (h *holding) receipt(ctx context.Context, f *kept.File) error {
	r := f.Receipt
	seen := view{who: keptReceipt, head: r.Checkpoint, note: r.Note}
	if r.Checkpoint.Size > h.tree.Checkpoint.Size {
		if _, waits := h.ahead[seen.who]; !waits {
			h.ahead[seen.who] = seen // compared when the tree is as large, and an alarm until then
		}
		return nil
	}
	if err := h.continues(ctx, h.tree, seen); err != nil && !is[*Behind](err) {
		return err
	} else if err != nil || r.Differs == "" {
		h.settled(f) // as it must be; or a contradiction that was acknowledged
		return nil
	}
	n, err := h.contradiction(evidence.ReceiptMismatch, fmt.Sprintf("%d %x", r.Index, f.Sum),
		fmt.Sprintf("entry %d is not what its submitter says it sent: %s", r.Index, r.Differs), r.Parts()...)
	if err != nil {
		return err
	}
	n.Index = &r.Index
	h.settled(f, n)
	return nil
}

// ticket settles a ticket whose event is in the log, or whose deadline has passed.
func (h *holding) ticket(ctx context.Context, f *kept.File) error {
	t := f.Ticket
	promised := leaf.HashOf(t.Leaf)
	at, logged, err := h.find(memory.Fields(t.Event.Fields))
	if err != nil {
		return err
	}
	key, until := fmt.Sprintf("%x", promised), t.Deadline.Format("2006-01-02T15:04:05Z")
	honoured := func(index int64) {
		n := h.finding(Info, "promise-kept", key, "entry %d is what was promised until %s", index, until)
		n.Index = &index
		h.settled(f, n)
	}
	if logged && at.Hash == promised {
		honoured(at.Index)
		return nil
	}
	if h.log.Late.Oldest().Unix() <= t.Deadline.Unix() {
		return nil
	}
	other, err := h.otherLeaf(t.Event)
	if err != nil {
		return err
	}
	p, err := h.kept.Promised(ctx, t, other, h.log)
	switch {
	case err != nil:
		return err
	case p.Index >= 0: // below where this monitor began, or after another leaf of the event
		honoured(p.Index)
		return nil
	}
	message := fmt.Sprintf("the log promised the leaf %x until %s, and it is none of its %d entries", promised[:8], until, h.log.Late.Checkpoint.Size)
	if p.Other >= 0 {
		message = fmt.Sprintf("the log promised the leaf %x until %s, and has the event as another leaf, entry %d", promised[:8], until, p.Other)
	}
	if p.Parts == nil {
		h.settled(f, h.finding(Fault, string(evidence.BrokenPromise), key, "%s; there are too many for a file of evidence", message))
		return nil
	}
	n, err := h.contradiction(evidence.BrokenPromise, key, message, p.Parts...)
	if err != nil {
		return err
	}
	h.settled(f, n)
	return nil
}

// otherLeaf returns where the event of a leaf was read by its id, -1 if it was not.
func (h *holding) otherLeaf(e *leaf.Event) (int64, error) {
	id, ok := rules.EventID(e)
	if !ok {
		return -1, nil
	}
	at, ok, err := h.find(memory.ID(e.Source, id))
	if !ok {
		return -1, err
	}
	return at.Index, nil
}
