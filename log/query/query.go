// Package query makes the answers to questions about a log: history files, which show of themselves whether they are whole.
//
// It decides nothing about what is true. What an answer has to hold is said by package answer, which is what the reader
// verifies it with; here it is looked up: lists and their proofs in the index, entries and hashes in the published log, times
// in the archive of checkpoints, names and keys in the vault. What cannot be looked up, because it is lost, is left out, and
// the reader is told by the same package that the answer is incomplete.
//
// Whoever asks is given what LogService and EventService give anyway, in one file. An answer that names a person, by an
// identifier's proof and handles, goes to principals who are bound to a source of the log, as GetEnrolments does, or its
// readers. An answer that needs tag keys goes to those who are bound to each source whose key it shows, as GetSourceKeys does,
// or its readers; a question that is restricted to a source needs that source's key only. Keys and handles are given out for
// ever: they test every entry that is tagged with them, also after an erasure.
//
// Nothing is written, so a crash loses answers only. A Query may be used by any number of goroutines; it makes a few answers
// at a time and lets others wait.
package query

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	ilog "idlog/log"
	"idlog/log/index"
	"idlog/log/ingest"
	"idlog/log/vault"
	"idlog/proto/answer"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/policy"
	"idlog/proto/seal"
	"idlog/proto/subject"
	"idlog/proto/tag"
)

const (
	atOnce         = 4                // answers under work
	pageByDefault  = 10_000           // postings of each list
	anchorsDefault = 64               // archived checkpoints
	maxFields      = 48 << 20         // bytes of disclosed fields
	patience       = 10 * time.Second // for the index to come to what a caller knows
	again          = 50 * time.Millisecond
)

// Index is the index of the log, as *index.Index is.
type Index interface {
	// Answering is false before the first root leaf, and while the index is stopped.
	Answering() (*index.Answer, bool)
}

// Log is what is read of a log, as *log.Log is. Nothing at or above the size of a published checkpoint is asked for.
type Log interface {
	Published() (ilog.Published, bool)
	Next(ctx context.Context, after []byte) (ilog.Published, error)
	Entry(ctx context.Context, index int64) ([]byte, error)
	Consistency(ctx context.Context, from, to int64) ([]leaf.Hash, error)
	Resource(ctx context.Context, path string) ([]byte, error)
	// Archived is the archived checkpoint of the smallest size that is at least size; Around is the archived sizes before and
	// after an entry.
	Archived(ctx context.Context, size int64) ([]byte, error)
	Around(index int64) (after, before int64)
}

// Events is who may have what, and what entries show, as *ingest.Ingest is. Errors are an *ingest.Refusal, the context's, or a
// failure of storage.
type Events interface {
	// Readable refuses principals that may not be given keys of a source, and what persons are called.
	Readable(source, principal string) error
	Disclose(ctx context.Context, index int64) ([]seal.Line, []byte, error)
}

// Vault is what is known of persons and keys, as *vault.Vault is.
type Vault interface {
	Key(field uint16, source string) tag.Key
	Prove(id subject.Identifier) (etag leaf.Hash, proof []byte, err error)
	// Enrolment is vault.ErrLost where nothing is left of one.
	Enrolment(hash leaf.Hash) (*vault.Enrolment, error)
}

// Config is all that a Query is told. All of it must be set.
type Config struct {
	Family  string
	Sources []string // names of those that callers can be bound to, or read
	Index   Index
	Log     Log
	Events  Events
	Vault   Vault
	// Policy tells the times of archived checkpoints.
	Policy *policy.Policy
	// Verified says that verifiers of the index have cosigned the checkpoints of its answers. Else every answer is strict: it
	// proves its entries to be in the log.
	Verified bool
}

// Query answers questions about one log.
type Query struct {
	cfg  Config
	turn chan struct{} // holds a token for each answer under work
}

// New makes a Query. It starts nothing.
func New(c Config) *Query { return &Query{cfg: c, turn: make(chan struct{}, atOnce)} }

// History returns the answer to a question as the bytes of a history file, for a principal. The request has passed the rules
// of its schema. Errors are an *ingest.Refusal, ctx's, or a failure of storage. An answer that cannot be whole, because
// something is lost, is returned as it is.
func (q *Query) History(ctx context.Context, principal string, req *logv1.HistoryRequest) ([]byte, error) {
	asks, err := q.asks(principal, req)
	if err != nil {
		return nil, err
	}
	if err := q.await(ctx, req.GetCovering()); err != nil {
		return nil, err
	}
	select {
	case q.turn <- struct{}{}:
		defer func() { <-q.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	basis, ok := q.cfg.Index.Answering()
	if !ok {
		return nil, errNoAnswers
	}
	file, err := q.answer(ctx, principal, req, asks, basis)
	err = errors.Join(err, basis.Close())
	if err != nil {
		var r *ingest.Refusal
		if errors.As(err, &r) {
			return nil, r
		}
		return nil, fmt.Errorf("answering: %w", err)
	}
	return file, nil
}

var errNoAnswers = refuse(logv1.Reason_REASON_NOT_FOUND, "", "the index has no answers yet, or is stopped")

// await waits until answers speak of size entries. After a while it is content with less, if there are answers at all.
func (q *Query) await(ctx context.Context, size int64) error {
	for until := time.Now().Add(patience); size > 0; {
		p, _ := q.cfg.Log.Published()
		covered, err := q.covers(ctx, min(size, p.Size))
		if covered || err != nil || time.Now().After(until) {
			return err
		}
		// A new checkpoint wakes us; that verifiers have cosigned an older one does not.
		waiting, cancel := context.WithTimeout(ctx, again)
		_, err = q.cfg.Log.Next(waiting, p.Note)
		over := waiting.Err() != nil
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !over {
			return nil // the log publishes no more
		}
	}
	return nil
}

// covers reports whether answers speak of the entries below a size, but for root leaves at their end.
func (q *Query) covers(ctx context.Context, size int64) (bool, error) {
	basis, ok := q.cfg.Index.Answering()
	if !ok {
		return false, nil
	}
	from := basis.View.State().Size
	if err := basis.Close(); err != nil {
		return false, fmt.Errorf("answering: %w", err)
	}
	for i := from; i < size; i++ {
		b, err := q.cfg.Log.Entry(ctx, i)
		if err != nil {
			return false, fmt.Errorf("answering: %w", err)
		}
		l, _ := leaf.Parse(b) // what is no leaf is no root
		if _, ok := l.(*leaf.Root); !ok {
			return false, nil
		}
	}
	return true, nil
}

func refuse(reason logv1.Reason, path, format string, args ...any) error {
	return &ingest.Refusal{Reason: reason, Path: path, Index: -1, Message: fmt.Sprintf(format, args...)}
}

// asks reads what is asked. Who may not have an answer about persons is refused before any work.
func (q *Query) asks(principal string, req *logv1.HistoryRequest) ([]answer.Ask, error) {
	var asks []answer.Ask
	for i, a := range req.GetAsks() {
		ask, err := askOf(a)
		path := fmt.Sprintf("asks[%d]", i)
		switch {
		case err != nil:
			return nil, refuse(logv1.Reason_REASON_FIELD_INVALID, path, "%v", err)
		case slices.Contains(asks, ask):
			return nil, refuse(logv1.Reason_REASON_FIELD_INVALID, path, "asks twice for the same")
		case ask.Kind == answer.OfSubject || ask.Kind == answer.OfActor:
			if !slices.ContainsFunc(q.cfg.Sources, func(s string) bool { return q.cfg.Events.Readable(s, principal) == nil }) {
				return nil, refuse(logv1.Reason_REASON_SOURCE_NOT_BOUND, path, "only who is bound to a source of the log, or a reader of one, may ask for persons")
			}
		}
		asks = append(asks, ask)
	}
	if req.GetPage() != nil && len(req.GetSince()) > 0 {
		return nil, refuse(logv1.Reason_REASON_FIELD_INVALID, "since", "not together with a page")
	}
	return asks, nil
}

func askOf(a *logv1.Ask) (ask answer.Ask, err error) {
	switch key := a.GetKey().(type) {
	case *logv1.Ask_Subject:
		ask.Kind = answer.OfSubject
		ask.Identifier, err = subject.ParseIdentifier(key.Subject)
	case *logv1.Ask_Actor:
		ask.Kind = answer.OfActor
		ask.Identifier, err = subject.ParseIdentifier(key.Actor)
	case *logv1.Ask_Source:
		ask.Kind, ask.Source = answer.OfSource, key.Source
	case *logv1.Ask_Event:
		ask.Kind, ask.Value = answer.OfEvent, key.Event
	case *logv1.Ask_Session:
		ask.Kind, ask.Value = answer.OfSession, key.Session
	case *logv1.Ask_Class:
		ask.Kind, ask.Value = answer.OfClass, fmt.Sprint(key.Class)
	case *logv1.Ask_Target_:
		if slices.Contains([]byte(key.Target.GetType()), 0) {
			return ask, errors.New("a zero byte in the type of a target")
		}
		ask.Kind, ask.Value = answer.OfTarget, key.Target.GetType()+"\x00"+key.Target.GetId()
	case *logv1.Ask_Tag_:
		if key.Tag.GetField() > math.MaxInt16 {
			return ask, fmt.Errorf("field %d is not that of a tag", key.Tag.GetField())
		}
		ask.Kind, ask.Tag = answer.OfTag, leaf.Tag{Field: uint16(key.Tag.GetField()), Value: leaf.Hash(key.Tag.GetValue())}
	default:
		return ask, errors.New("asks for nothing that this server knows")
	}
	return ask, err
}

// plan brings each ask down to tags, and returns the asks with the one first whose lists have the fewest postings to show: that
// one's lists are proven, and the entries in them decide the others.
func (m *making) plan(asks []answer.Ask) ([]answer.Ask, error) {
	best, fewest := asks, int64(-1)
	m.tags = make([]map[leaf.Tag]bool, len(asks))
	for i := range asks {
		count := int64(0)
		m.tags[i] = make(map[leaf.Tag]bool)
		h := m.history(append([]answer.Ask{asks[i]}, slices.Delete(slices.Clone(asks), i, i+1)...))
		err := m.fill(h, func(l list) (start, _ int64) {
			m.tags[i][leaf.Tag{Field: l.query.Field, Value: l.query.Value}] = true
			count += l.end - l.start
			return l.start, 0
		})
		if err != nil {
			return nil, err
		}
		m.subjects, m.keys = h.Subjects, h.Keys // the same for every order
		if fewest < 0 || count < fewest {
			best, fewest = h.Asks, count
		}
	}
	if len(m.req.GetSince()) > 0 {
		return asks, nil // the order of the older answer
	}
	return best, nil
}

// answers reports whether an entry is an event that meets every ask.
func (m *making) answers(entry []byte) bool {
	l, err := leaf.Parse(entry)
	e, ok := l.(*leaf.Event)
	if err != nil || !ok {
		return false
	}
	source := leaf.Tag{Field: mapfn.Source, Value: mapfn.SourceValue(e.Source)}
	for _, tags := range m.tags {
		if !tags[source] && !slices.ContainsFunc(e.Tags, func(t leaf.Tag) bool { return tags[t] }) {
			return false
		}
	}
	return true
}
