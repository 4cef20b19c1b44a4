package witness

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"idlog/proto/checkpoint"
)

// The files of a state directory are text with a last line that is
//
//	sum base64(SHA-256 of everything before the line) LF
//
// A state file, named by the hex SHA-256 of its origin, is
//
//	idlog-witness-state/v1 LF
//	time decimal LF            Latest.Time
//	LF
//	checkpoint                 Latest.Note
//
// and the manifest is
//
//	idlog-witness-manifest/v1 LF
//	*(origin LF)               ascending: every origin that was ever cosigned
//
// and a refusal, named by the hash of its origin and ".refused", is
//
//	idlog-witness-refusal/v1 LF
//	origin LF
//	reason LF
//
// The sum finds damage, not malice: who can write here can also read the key.
const (
	manifestName   = "manifest"
	lockName       = "LOCK"
	evidenceName   = "evidence"
	stateHeader    = "idlog-witness-state/v1\n"
	manifestHeader = "idlog-witness-manifest/v1\n"
	refusalHeader  = "idlog-witness-refusal/v1\n"
	refusalMark    = ".refused"
	sumLine        = len("sum ") + 44 + len("\n")
)

func sumOf(body []byte) []byte {
	h := sha256.Sum256(body)
	return []byte("sum " + base64.StdEncoding.EncodeToString(h[:]) + "\n")
}

func seal(body []byte) []byte { return append(body, sumOf(body)...) }

func unseal(b []byte) ([]byte, error) {
	i := len(b) - sumLine
	if i < 0 || !bytes.Equal(b[i:], sumOf(b[:i])) {
		return nil, errors.New("is damaged: its content does not have its sum")
	}
	return b[:i], nil
}

// stateName is the name of an origin in the state directory and in the URL of
// its latest checkpoint.
func stateName(origin string) string {
	h := sha256.Sum256([]byte(origin))
	return hex.EncodeToString(h[:])
}

// CheckpointPath is the path of an origin's latest checkpoint in the Handler.
func CheckpointPath(origin string) string { return "/" + stateName(origin) + "/checkpoint" }

func formatState(l *Latest) []byte {
	return seal(append(fmt.Appendf(nil, "%stime %d\n\n", stateHeader, l.Time), l.Note...))
}

func parseState(name string, b []byte) (*Latest, error) {
	body, err := unseal(b)
	if err != nil {
		return nil, err
	}
	rest, ok := bytes.CutPrefix(body, []byte(stateHeader+"time "))
	seconds, note, ok2 := bytes.Cut(rest, []byte("\n\n"))
	if !ok || !ok2 {
		return nil, errors.New("is not a state of this version")
	}
	t, err := checkpoint.ParseSize(string(seconds))
	if err != nil {
		return nil, fmt.Errorf("holds no state: time: %w", err)
	}
	text, _, err := checkpoint.Split(note)
	if err != nil {
		return nil, fmt.Errorf("holds no state: %w", err)
	}
	c, err := checkpoint.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("holds no state: %w", err)
	}
	if stateName(c.Origin) != name {
		return nil, fmt.Errorf("holds the state of another log, %s", c.Origin)
	}
	return &Latest{Origin: c.Origin, Size: c.Size, Root: c.Root, Time: t, Note: note}, nil
}

func formatManifest(origins []string) []byte {
	b := []byte(manifestHeader)
	for _, o := range origins {
		b = append(b, o+"\n"...)
	}
	return seal(b)
}

func parseManifest(b []byte) ([]string, error) {
	body, err := unseal(b)
	if err != nil {
		return nil, err
	}
	list, ok := strings.CutPrefix(string(body), manifestHeader)
	if !ok {
		return nil, errors.New("is not a manifest of this version")
	}
	var origins []string
	for o := range strings.Lines(list) {
		origins = append(origins, strings.TrimSuffix(o, "\n"))
	}
	if !slices.Equal(origins, slices.Compact(slices.Sorted(slices.Values(origins)))) || !bytes.Equal(formatManifest(origins), b) {
		return nil, errors.New("is not a list of origins")
	}
	return origins, nil
}

func formatRefusal(origin, reason string) []byte {
	return seal([]byte(refusalHeader + origin + "\n" + reason + "\n"))
}

func parseRefusal(name string, b []byte) (reason string, err error) {
	body, err := unseal(b)
	if err != nil {
		return "", err
	}
	rest, ok := strings.CutPrefix(string(body), refusalHeader)
	origin, reason, ok2 := strings.Cut(strings.TrimSuffix(rest, "\n"), "\n")
	if !ok || !ok2 || stateName(origin)+refusalMark != name {
		return "", errors.New("is not a refusal of this version")
	}
	return reason, nil
}

// errUnsure marks a failed write after which the directory may hold the old
// file or the new one.
var errUnsure = errors.New("what is on disk is not known")

// replace writes a file of dir durably: when it returns nil, the new content
// survives the loss of power. With an error that is not errUnsure the old
// content is untouched. fault, if not nil, is asked before each step and its
// error is the step's.
func replace(dir *os.File, name string, content []byte, fault func(step, name string) error) error {
	if fault == nil {
		fault = func(string, string) error { return nil }
	}
	tmp, err := writeTemp(dir, name, content, fault)
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Join(dir.Name(), name), err)
	}
	// If we die here: the old file stands, and the next start removes the new
	// one's temporary name. Nobody was told of it.
	err = fault("rename", name)
	if err == nil {
		err = os.Rename(tmp, filepath.Join(dir.Name(), name))
	}
	if err != nil {
		err = errors.Join(err, errUnsure)
		return fmt.Errorf("renaming %s: %w", tmp, err)
	}
	// If we die here: either file may stand after a loss of power, both whole.
	err = fault("sync", name)
	if err == nil {
		err = dir.Sync()
	}
	if err != nil {
		// The kernel reports a failed sync once, so a later success would prove
		// nothing about this one.
		err = errors.Join(err, errUnsure)
		return fmt.Errorf("syncing %s: %w", dir.Name(), err)
	}
	// If we die here: the new file stands.
	return nil
}

func writeTemp(dir *os.File, name string, content []byte, fault func(step, name string) error) (path string, err error) {
	if err := fault("write", name); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir.Name(), name+tempMark+"*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// tempMark is in the names of files that replace has not renamed yet.
const tempMark = ".tmp-"
