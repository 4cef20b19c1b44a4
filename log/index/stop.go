package index

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"idlog/log/internal/atomicfile"
	"idlog/proto/leaf"
)

// faultError is a disagreement about a root: the index stops for good.
type faultError struct {
	reason string
	own    *leaf.Root // what the index has
	other  []byte     // the root leaf that says otherwise; nil if it is no leaf that does
}

func (e *faultError) Error() string { return e.reason }

// fault says that the present revision and a root leaf, which may be nil, do not agree.
func (x *Index) fault(reason string, other []byte) error {
	return &faultError{reason: reason, own: x.base.state.Root(x.cfg.Origin), other: other}
}

// stopFile is where it stands that an index is stopped, and why.
func stopFile(dir string) string { return filepath.Join(dir, "stopped.json") }

// stopRecord is the text of the file.
type stopRecord struct {
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
	Own    []byte    `json:"own_root_leaf"`             // of the index's state, with the milliseconds 0
	Other  []byte    `json:"other_root_leaf,omitempty"` // what it was compared with
}

// writeStop makes the verdict outlive the process. If we die before it returns, the next process comes to the same one, or
// finds the index right.
func writeStop(dir string, f *faultError, now time.Time) error {
	own, err := f.own.Format()
	if err != nil {
		return fmt.Errorf("keeping why the index stopped: %w", err)
	}
	b, err := json.MarshalIndent(stopRecord{Time: now.UTC(), Reason: f.reason, Own: own, Other: f.other}, "", "\t")
	if err == nil {
		err = atomicfile.Write(stopFile(dir), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keeping why the index stopped: %w", err)
	}
	return nil
}

// readStop returns why the index of a folder is stopped, empty if it is not.
func readStop(dir string) (string, error) {
	b, err := os.ReadFile(stopFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	var r stopRecord
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Sprintf("it was stopped, and %s does not say why: %v", stopFile(dir), err), nil
	}
	return r.Reason + "; " + stopFile(dir) + " has both sides", nil
}
