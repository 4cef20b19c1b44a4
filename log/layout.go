package log

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/mod/sumdb/note"

	"idlog/log/internal/atomicfile"
	"idlog/proto/checkpoint"
)

// What stands in Config.Dir, and in Config.Heads beside the heads file.
const (
	lockName      = "LOCK"
	identityName  = "identity"
	tilesName     = "tiles"
	publishedName = "published"
	refusedName   = "refused"
)

// ErrExists is returned by Create when anything of a log is already there. The
// caller opens that log, or chooses other directories.
var ErrExists = errors.New("a log is already there")

// ErrNotInitialised is returned by Open when the directory holds no log. The
// caller checks what is mounted there before it creates one.
var ErrNotInitialised = errors.New("there is no log here: check what is mounted, or create one")

// A RefusedError says that Open found something it must not build on, and left
// everything as it was. A person reads it: File is what to look at, Problem
// what is wrong with it, Remedy what to do.
type RefusedError struct {
	File, Problem, Remedy string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("refusing to open: %s: %s; %s", e.File, e.Problem, e.Remedy)
}

func refuse(file, problem, remedy string) error {
	return &RefusedError{File: file, Problem: problem, Remedy: remedy}
}

// The identity file binds a directory to an origin and its keys:
//
//	idlog-identity/v1
//	origin <origin>
//	vkey <vkey>          one or more: every key that a configuration may have
//	created <RFC 3339>
func formatIdentity(origin string, vkeys []string, created time.Time) []byte {
	b := fmt.Appendf(nil, "idlog-identity/v1\norigin %s\n", origin)
	for _, v := range vkeys {
		b = fmt.Appendf(b, "vkey %s\n", v)
	}
	return fmt.Appendf(b, "created %s\n", created.UTC().Format(time.RFC3339))
}

const remedyIdentity = "point the configuration to the directory and the keys of one log"

// readIdentity reads an identity file. One of another origin, or that is not as
// formatIdentity wrote it, is a *RefusedError.
func readIdentity(name, origin string) (vkeys []string, created time.Time, err error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, created, fmt.Errorf("reading identity: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch field {
		case "vkey":
			vkeys = append(vkeys, value)
		case "created":
			created, err = time.Parse(time.RFC3339, value)
		}
	}
	if err != nil || !bytes.Equal(b, formatIdentity(origin, vkeys, created)) {
		return nil, created, refuse(name, fmt.Sprintf("it is not the identity of %s", origin), remedyIdentity)
	}
	return vkeys, created, nil
}

// checkIdentity refuses a directory that is another log's. All keys of the
// configuration must be in it: while keys change it may have more.
func checkIdentity(name, origin string, vkeys []string) error {
	known, _, err := readIdentity(name, origin)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("opening log %s in %s: %w", origin, filepath.Dir(name), ErrNotInitialised)
	} else if err != nil {
		return err
	}
	for _, v := range vkeys {
		if !slices.Contains(known, v) {
			return refuse(name, "it does not name the key "+v+" of the configuration", remedyIdentity)
		}
	}
	return nil
}

// lock takes a lock for the life of the returned file. It is of the open file,
// not of the process, so it also keeps a second Open in this process out. A
// crash releases it.
func lock(name string) (*os.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(refuse(name, "it is locked: the log is open already", "stop the other process first"), f.Close())
	} else if err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", name, err), f.Close())
	}
	return f, nil
}

// ReadOnlyError says why a log no longer signs: the guard found something that
// it must not put its name to, in this process or in one before. Everything
// published stays readable. An operator finds out what happened and then calls
// ClearRefusal, with the log closed.
type ReadOnlyError struct {
	Reason string
	File   string // holds time, reason and evidence
}

func (e *ReadOnlyError) Error() string {
	return fmt.Sprintf("the log is read-only: %s; see %s", e.Reason, e.File)
}

// A refusal is a verdict of the guard: the next signature must not be made.
type refusal struct {
	reason   string
	evidence [][]byte // notes that show it
}

func (r *refusal) Error() string { return "refusing to sign: " + r.reason }

// The refusal marker:
//
//	idlog-refused/v1
//	time <RFC 3339>
//	reason <one line>
//
// then the notes that show it, each after an empty line and a line "note".
func writeRefusal(dir string, r *refusal, now time.Time) (*ReadOnlyError, error) {
	name := filepath.Join(dir, refusedName)
	reason := strings.Join(strings.Fields(r.reason), " ")
	b := fmt.Appendf(nil, "idlog-refused/v1\ntime %s\nreason %s\n", now.UTC().Format(time.RFC3339), reason)
	for _, e := range r.evidence {
		b = append(append(b, "\nnote\n"...), e...)
	}
	return &ReadOnlyError{Reason: reason, File: name}, atomicfile.Write(name, b)
}

// readRefusal returns nil if there is no marker. A marker that cannot be
// understood is a refusal too.
func readRefusal(dir string) (*ReadOnlyError, error) {
	name := filepath.Join(dir, refusedName)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("reading refusal: %w", err)
	}
	_, reason, _ := strings.Cut(string(b), "\nreason ")
	reason, _, _ = strings.Cut(reason, "\n")
	return &ReadOnlyError{Reason: reason, File: name}, nil
}

// ClearRefusal lets the log whose heads directory this is sign again at its
// next start. The marker is kept under a name with the time. It returns
// fs.ErrNotExist if nothing was refused. The log must be closed.
func ClearRefusal(heads string, now time.Time) error {
	l, err := lock(heads)
	if err != nil {
		return err
	}
	defer l.Close()
	name := filepath.Join(heads, refusedName)
	if err := os.Rename(name, name+"."+now.UTC().Format("20060102T150405Z")); err != nil {
		return fmt.Errorf("clearing refusal: %w", err)
	}
	// If we die here, the marker may be back, and is cleared again.
	return atomicfile.SyncDir(heads)
}

// check refuses a configuration that cannot keep our promises, and returns the
// verifiers of the signers' keys.
func (c *Config) check() ([]note.Verifier, error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, err
	}
	heads, err := filepath.Abs(c.Heads)
	if err != nil {
		return nil, err
	}
	if c.Dir == "" || c.Heads == "" || within(dir, heads) || within(heads, dir) {
		return nil, fmt.Errorf("configuring log %s: %q and %q must be two directories, and neither inside the other: who puts back an old copy of one must not put back both", c.Origin, c.Dir, c.Heads)
	}
	if len(c.Signers) == 0 || len(c.Signers) != len(c.VKeys) {
		return nil, fmt.Errorf("configuring log %s: %d signers with %d vkeys, want one each", c.Origin, len(c.Signers), len(c.VKeys))
	}
	var vs []note.Verifier
	for i, s := range c.Signers {
		v, err := checkpoint.NewVerifier(c.VKeys[i])
		if err != nil {
			return nil, fmt.Errorf("configuring log %s: %w", c.Origin, err)
		}
		if s.Name() != c.Origin || v.Name() != s.Name() || v.KeyHash() != s.KeyHash() {
			return nil, fmt.Errorf("configuring log %s: signer %s+%08x does not have vkey %s", c.Origin, s.Name(), s.KeyHash(), c.VKeys[i])
		}
		vs = append(vs, v)
	}
	return vs, nil
}

func within(dir, other string) bool {
	return other == dir || strings.HasPrefix(other, strings.TrimSuffix(dir, "/")+"/")
}
