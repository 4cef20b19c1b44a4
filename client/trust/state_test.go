package trust_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"idlog/client/trust"
	"idlog/proto/checkpoint"
	"idlog/proto/evidence"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/prototest"
)

const origin = "log.example/id/1"

var key = prototest.NewKey(origin, checkpoint.Ed25519, checkpoint.LogRole)

// newLog returns a log of 20 leaves, of which the first are shared with others.
func newLog(shared int64) *prototest.Log {
	l := prototest.NewLog(origin, key)
	l.Fill(shared)
	for n := shared; n < 20; n++ {
		l.Append(fmt.Appendf(nil, "leaf %d after %d", n, shared))
	}
	return l
}

func verified(l *prototest.Log, size int64) *policy.Verified {
	return &policy.Verified{Checkpoint: l.Checkpoint(size), Note: l.Note(size, 1)}
}

// proofs answers as the operator of a log does.
func proofs(l *prototest.Log) trust.Prove {
	return func(_ context.Context, from, to trust.Seen) ([]leaf.Hash, error) {
		return l.Consistency(from.Size, to.Size), nil
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, dir string) *trust.State {
	t.Helper()
	s, err := trust.Open(dir)
	check(t, err)
	return s
}

// states runs a test with a state in memory, and with one that every call opens anew.
func states(t *testing.T, test func(t *testing.T, open func() *trust.State, dir string)) {
	t.Run("memory", func(t *testing.T) {
		s := trust.NewMemory()
		test(t, func() *trust.State { return s }, "")
	})
	t.Run("directory", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "state")
		test(t, func() *trust.State { return open(t, dir) }, dir)
	})
}

func wantSeen(t *testing.T, s *trust.State, want *policy.Verified) {
	t.Helper()
	seen, ok, err := s.Seen(origin)
	check(t, err)
	if diff := cmp.Diff(trust.SeenIn(want), seen); !ok || diff != "" {
		t.Errorf("seen %t (-want +got):\n%s", ok, diff)
	}
}

func TestAdvance(t *testing.T) {
	states(t, func(t *testing.T, open func() *trust.State, _ string) {
		l := newLog(0)
		if _, ok, err := open().Seen(origin); ok || err != nil {
			t.Fatalf("seen %t, %v", ok, err)
		}
		var newest int64
		for _, size := range []int64{0, 3, 1, 3, 7, 8, 20, 0, 13, 20} {
			check(t, open().Advance(t.Context(), verified(l, size), proofs(l)))
			newest = max(newest, size)
			wantSeen(t, open(), verified(l, newest))
		}
		if _, ok, err := open().Seen("log.example/id/2"); ok || err != nil {
			t.Errorf("another origin was seen: %t, %v", ok, err)
		}
	})
}

func TestFork(t *testing.T) {
	p, err := policy.Parse([]byte("log " + key.VKey + "\nquorum none\n"))
	check(t, err)
	for _, test := range []struct {
		name       string
		seen, next int64
		files      int
	}{
		{"equal", 12, 12, 1},
		{"larger", 12, 15, 2}, // with the hashes that join the trees, and without
		{"smaller", 15, 12, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			states(t, func(t *testing.T, open func() *trust.State, dir string) {
				l, other := newLog(10), newLog(11)
				check(t, open().Advance(t.Context(), verified(l, test.seen), proofs(l)))
				// The operator shows a proof of the one or the other history.
				for _, by := range []*prototest.Log{l, other} {
					// It convicts itself by the proof of the later checkpoint's own history.
					proven := test.seen == test.next || (by == l) == (test.seen > test.next)
					err := open().Advance(t.Context(), verified(other, test.next), proofs(by))
					f, ok := errors.AsType[*trust.Fork](err)
					if !ok || f.Origin != origin || (f.Err == nil) != (test.seen == test.next) || f.Proven != proven {
						t.Fatalf("got %v, want a fork", err)
					}
					notes := [][]byte{l.Note(test.seen, 1), other.Note(test.next, 1)}
					if test.next < test.seen {
						notes[0], notes[1] = notes[1], notes[0]
					}
					if diff := cmp.Diff(notes, [][]byte{f.Old, f.New}); diff != "" {
						t.Errorf("notes (-want +got):\n%s", diff)
					}
					wantSeen(t, open(), verified(l, test.seen))
					if dir == "" {
						continue
					}
					b, err := os.ReadFile(f.File)
					check(t, err)
					e, err := evidence.Parse(b)
					check(t, err)
					if v, err := evidence.Judge(e, p); (err == nil) != proven || proven && (!v.Proven || v.Accused != origin) {
						t.Errorf("judged %+v, %v", v, err)
					}
				}
				if dir != "" { // the same evidence twice is one file
					names, err := filepath.Glob(filepath.Join(dir, "evidence", "*"))
					check(t, err)
					if len(names) != test.files {
						t.Errorf("evidence files: %v", names)
					}
				}
			})
		})
	}
}

// What the log does not answer changes nothing.
func TestNoProof(t *testing.T) {
	states(t, func(t *testing.T, open func() *trust.State, _ string) {
		l := newLog(0)
		check(t, open().Advance(t.Context(), verified(l, 5), nil))
		silence := errors.New("no answer")
		for _, size := range []int64{4, 6} {
			err := open().Advance(t.Context(), verified(l, size), func(_ context.Context, from, to trust.Seen) ([]leaf.Hash, error) {
				if from.Size != min(size, 5) || to.Size != max(size, 5) || len(from.Note) == 0 || len(to.Note) == 0 {
					t.Errorf("asked from %d to %d", from.Size, to.Size)
				}
				return nil, silence
			})
			if !errors.Is(err, silence) {
				t.Errorf("got %v", err)
			}
		}
		wantSeen(t, open(), verified(l, 5))
	})
}

func TestRollback(t *testing.T) {
	states(t, func(t *testing.T, open func() *trust.State, dir string) {
		l := newLog(0)
		check(t, open().Advance(t.Context(), verified(l, 9), nil))
		for _, known := range []trust.Seen{{Size: 9}, trust.SeenIn(verified(l, 9))} {
			err := open().RolledBack(known, verified(l, 4))
			r, ok := errors.AsType[*trust.Rollback](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if (r.File == "") != (dir == "") {
				t.Errorf("evidence in %q", r.File)
			}
			want := &trust.Rollback{Origin: origin, Known: 9, Shown: 4, KnownNote: l.Note(9, 1), ShownNote: l.Note(4, 1), File: r.File}
			if diff := cmp.Diff(want, r); diff != "" {
				t.Error(diff)
			}
			if dir != "" {
				b, err := os.ReadFile(r.File)
				check(t, err)
				if e, err := evidence.Parse(b); err != nil || e.Claim != evidence.Rollback {
					t.Errorf("evidence: %v", err)
				}
			}
		}
	})
}

// Any number of processes, each a State of its own, move one directory.
func TestManyProcesses(t *testing.T) {
	dir, l := t.TempDir(), newLog(0)
	var wg sync.WaitGroup
	for i := range 4 {
		s := open(t, dir)
		wg.Go(func() {
			for size := int64(i); size <= 20; size += 2 {
				if err := s.Advance(t.Context(), verified(l, size), proofs(l)); err != nil {
					t.Error(err)
				}
				if seen, ok, err := s.Seen(origin); !ok || err != nil || seen.Size < size {
					t.Errorf("seen %d after %d, %v", seen.Size, size, err)
				}
			}
		})
	}
	wg.Wait()
	wantSeen(t, open(t, dir), verified(l, 20))
}

func TestTickets(t *testing.T) {
	states(t, func(t *testing.T, open func() *trust.State, dir string) {
		a, b := leaf.HashOf([]byte("a")), leaf.HashOf([]byte("b"))
		check(t, open().KeepTickets([]trust.Ticket{{Leaf: a, File: []byte("promise")}}))
		if !open().HoldsTicket(a) || open().HoldsTicket(b) {
			t.Error("it does not hold the ticket that was kept, and no other")
		}
		kept := func() (files []string) {
			for file, err := range open().Tickets() {
				check(t, err)
				files = append(files, string(file))
			}
			return files
		}
		if dir != "" {
			check(t, open().KeepTickets([]trust.Ticket{{Leaf: b, File: []byte("broken")}}))
			check(t, open().BrokenTicket(b))
			if diff := cmp.Diff([]string{"promise"}, kept()); diff != "" {
				t.Errorf("tickets that are followed (-want +got):\n%s", diff)
			}
			if !open().HoldsTicket(b) {
				t.Error("a broken ticket does not vouch for its time")
			}
		}
		check(t, open().RedeemTicket(a))
		check(t, open().RedeemTicket(b))
		check(t, open().BrokenTicket(a))
		if files := kept(); len(files) != 0 {
			t.Errorf("redeemed tickets are followed: %q", files)
		}
		if dir != "" && open().HoldsTicket(a) {
			t.Error("it holds a ticket that was redeemed")
		}
	})
}

func TestNoDirectory(t *testing.T) {
	if _, err := trust.Open(""); err == nil {
		t.Error("a state without a directory was opened")
	}
}

// seenFile returns the file of the only origin and its bytes.
func seenFile(t *testing.T, dir string) (name string, b []byte) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.seen"))
	check(t, err)
	if len(files) != 1 {
		t.Fatalf("state files: %v", files)
	}
	b, err = os.ReadFile(files[0])
	check(t, err)
	return files[0], b
}

func TestDamaged(t *testing.T) {
	dir, l := t.TempDir(), newLog(0)
	check(t, open(t, dir).Advance(t.Context(), verified(l, 2), nil))
	file, good := seenFile(t, dir)
	for name, b := range map[string][]byte{
		"empty":      {},
		"truncated":  good[:len(good)/2],
		"appended":   append(bytes.Clone(good), '\n'),
		"other size": bytes.Replace(good, []byte("size 2"), []byte("size 1"), 1),
		"flipped":    flipped(good),
	} {
		t.Run(name, func(t *testing.T) {
			check(t, os.WriteFile(file, b, 0o600))
			if _, _, err := open(t, dir).Seen(origin); err == nil || !strings.Contains(err.Error(), file) {
				t.Errorf("got %v, want an error that names %s", err, file)
			}
			if err := open(t, dir).Advance(t.Context(), verified(l, 3), proofs(l)); err == nil {
				t.Error("it went on")
			}
			now, err := os.ReadFile(file)
			check(t, err)
			if !bytes.Equal(now, b) {
				t.Error("the damaged file was changed")
			}
		})
	}
}

func flipped(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)-9] ^= 1
	return b
}

// A crash between the temporary file and the rename leaves the old state and
// a file that nobody reads.
func TestCrashBeforeRename(t *testing.T) {
	dir, l := t.TempDir(), newLog(0)
	check(t, open(t, dir).Advance(t.Context(), verified(l, 2), nil))
	file, _ := seenFile(t, dir)
	check(t, os.WriteFile(file+".tmp-1234", []byte("half a sta"), 0o600))
	wantSeen(t, open(t, dir), verified(l, 2))
	check(t, open(t, dir).Advance(t.Context(), verified(l, 3), proofs(l)))
	wantSeen(t, open(t, dir), verified(l, 3))
}

// What a State accepts is what it would write.
func FuzzSeen(f *testing.F) {
	text := origin + "\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
	note := text + "\n— " + origin + " AAAAAAAA\n"
	body := "size 0\nroot 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n" + note
	seen := func(body string) string {
		sum := sha256.Sum256([]byte(body))
		return "idlog-seen/v1 " + base64.StdEncoding.EncodeToString(sum[:]) + "\n" + body
	}
	f.Add([]byte(seen(body)), true)
	f.Add([]byte(body), true)
	f.Add([]byte(body), false)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte, sum bool) {
		if sum { // let the fuzzer past the checksum
			b = []byte(seen(string(b)))
		}
		check(t, os.WriteFile(filepath.Join(dir, "log.example%2Fid%2F1.seen"), b, 0o600))
		s, ok, err := open(t, dir).Seen(origin)
		if err != nil {
			return
		}
		want := fmt.Sprintf("size %d\nroot %s\n\n%s", s.Size, base64.StdEncoding.EncodeToString(s.Root[:]), s.Note)
		if !ok || string(b) != seen(want) {
			t.Errorf("accepted %q", b)
		}
	})
}
