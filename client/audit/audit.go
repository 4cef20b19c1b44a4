// Package audit reads a whole log, from its directory or over HTTP, and says
// whether it is what its newest checkpoint commits to and what a log must be:
// every checkpoint of the archive, every tile and every entry.
//
// It trusts a policy and nothing that it reads. What it needs of the log is
// public; it holds no secret and sees no field of an event. It keeps nothing on
// disk but a temporary file, evidence and the trust state it was given: a crash
// loses the audit and nothing else. Run may be called concurrently.
//
// An audit proves that the entries [0, size) are those of the newest
// checkpoint, that every archived checkpoint was a prefix of it, and that no
// leaf breaks a rule of package rules. It cannot see what an event says, whether
// its tags are those of its fields, or that something was never logged:
// receipts, sampled disclosures and the index are for these.
//
// Specifications: c2sp.org/tlog-tiles, c2sp.org/tlog-checkpoint; SPEC 2.1, 2.9,
// 2.10, F13, F34, F38.
package audit

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"strings"
	"time"

	"idlog/client/trust"
	"idlog/proto/evidence"
	"idlog/proto/policy"
)

// A Log is where a log is read: a [Directory] or a [Site]. Its methods are
// called concurrently.
type Log interface {
	// Newest returns the newest checkpoint, not verified.
	Newest(ctx context.Context) ([]byte, error)
	// Heads yields signed tree heads by ascending size, from 1 on. An error ends
	// the audit and is the last thing it yields.
	Heads(ctx context.Context, newest int64) iter.Seq2[Head, error]
	// Resource returns the file at a path of c2sp.org/tlog-tiles, or an error
	// that is fs.ErrNotExist. Any other error ends the audit.
	Resource(ctx context.Context, path string) ([]byte, error)
}

// A Head is a tree head as it is kept, not verified.
type Head struct {
	Note     []byte
	Archived bool   // published: it must have a quorum; others bear the log's signature alone
	Problem  string // in place of a note: what is wrong with the archive here
	Where    string // file or URL
}

// Config is what Run needs. Log and Policy must be set.
type Config struct {
	Log    Log
	Policy *policy.Policy
	// Older are policies that were in force before, when the log had other keys or
	// witnesses: an older checkpoint may satisfy one of these instead.
	Older []*policy.Policy
	// State is what was seen of this log before, which it must continue; the
	// newest checkpoint is remembered if it does. Evidence is saved there. Nil
	// means a state in memory: nothing is known, nothing kept.
	State *trust.State
	// Known are more checkpoints that the log must continue, signed notes.
	Known [][]byte
	// Workers is how many bundles are read at once; 0 means one a core, which is
	// right for a disk.
	Workers int
	// Memory is how many bytes of event ids are held before they go to a
	// temporary file; 0 means 256 MiB.
	Memory int64
	// Progress is called, by one goroutine, after every bundle or so. It may be nil.
	Progress func(Progress)
}

// Progress is how far an audit is.
type Progress struct {
	Entries, Size int64 // of the newest checkpoint
	Checkpoints   int64
	Findings      int64
}

// A Report is what an audit saw.
type Report struct {
	Origin, Family string
	Newest         *policy.Verified

	Entries     int64            // that were read and hashed
	Bytes       int64            // of these entries
	Kinds       map[string]int64 // entries by the first line of their leaf
	Persons     int64            // handles that events name
	Checkpoints int64            // archived ones that hold
	Heads       int64            // tree heads that were signed and not archived, and hold
	First, Last time.Time        // from when on a quorum vouches for the oldest and the newest archived checkpoint
	Tiles       int64            // files of hashes and entries that were compared, partial ones too
	Repeats     int64            // entries that are byte for byte one before them, which is no fault (F34)
	Took        time.Duration

	// Findings are what must not be; of each rule at most MaxFindings, though
	// Counts has them all. Empty means that the log holds.
	Findings []Finding
	Counts   map[Rule]int64
	// Notes are what a reader should know and what accuses nobody, such as files
	// that do not belong there.
	Notes []string
	// Evidence is what convinces others, as far as there is any.
	Evidence []Evidence
}

// MaxFindings is how many findings of one rule a Report holds.
const MaxFindings = 100

// Holds reports whether the audit found nothing that must not be.
func (r *Report) Holds() bool { return len(r.Findings) == 0 }

// Evidence is an evidence file that the audit made, and its verdict.
type Evidence struct {
	File    string // where it was written; empty with a state in memory
	Data    []byte
	Verdict evidence.Verdict
}

// Run audits a log. An error means that the audit could not be done, and says
// nothing about the log, with these exceptions: a newest checkpoint that the
// policy does not accept is an error of package policy, because without one
// there is nothing to hold the log to.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	begun := time.Now()
	note, err := cfg.Log.Newest(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the newest checkpoint: %w", err)
	}
	newest, err := cfg.Policy.Verify(note)
	if err != nil {
		return nil, fmt.Errorf("verifying the newest checkpoint: %w", err)
	}
	if cfg.State == nil {
		cfg.State = trust.NewMemory()
	}
	if cfg.Workers == 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	if cfg.Memory == 0 {
		cfg.Memory = 256 << 20
	}
	origin := newest.Checkpoint.Origin
	family := origin[:max(strings.LastIndexByte(origin, '/'), 0)]
	if family == "" {
		return nil, fmt.Errorf("auditing %s: the origin of a log is its family, a slash, and the name of the shard", origin)
	}
	a := &auditor{
		cfg: cfg, newest: newest, findings: newFindings(),
		report: &Report{Origin: origin, Family: family, Newest: newest, Kinds: make(map[string]int64)},
	}
	if err := a.run(ctx); err != nil {
		return nil, fmt.Errorf("auditing %s: %w", origin, err)
	}
	a.report.Took = time.Since(begun)
	return a.report, nil
}
