package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"idlog/log/journal"
	"idlog/proto/leaf"
)

func create(t testing.TB) (*journal.Journal, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "journal")
	if err := journal.Create(dir); err != nil {
		t.Fatal(err)
	}
	return open(t, dir), dir
}

func open(t testing.TB, dir string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

// crashed opens what a process that dies now would leave.
func crashed(t testing.TB, dir string) *journal.Journal {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "journal")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return open(t, copied)
}

func key(name string) leaf.Hash { return leaf.HashOf([]byte(name)) }

func row(name string, needs ...string) *journal.Row {
	r := &journal.Row{Key: key(name), Leaf: []byte("leaf " + name), Principal: "p", Payload: []byte("payload " + name)}
	for _, n := range needs {
		r.Needs = append(r.Needs, key(n))
	}
	return r
}

func put(t testing.TB, j *journal.Journal, rows ...*journal.Row) []journal.Outcome {
	t.Helper()
	o, err := j.Put(t.Context(), rows)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func take(t testing.TB, j *journal.Journal, limit int) []*journal.Row {
	t.Helper()
	rows, err := j.Take(t.Context(), limit)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func names(rows []*journal.Row) []string {
	var s []string
	for _, r := range rows {
		s = append(s, strings.TrimPrefix(string(r.Leaf), "leaf "))
	}
	return s
}

// nothing asserts that Take would wait.
func nothing(t testing.TB, j *journal.Journal) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if rows, err := j.Take(ctx, 10); !errors.Is(err, context.Canceled) {
		t.Errorf("took %v, %v", names(rows), err)
	}
}

func TestOneKeyOneRow(t *testing.T) {
	j, dir := create(t)
	other := row("a")
	other.Leaf = []byte("another leaf")
	first := put(t, j, row("a"), row("b"), other)
	if !first[0].New || !first[1].New || first[2].New || first[2].Row != first[0].Row {
		t.Errorf("outcomes %+v", first)
	}
	again := put(t, j, row("b"), row("c"))
	if again[0].New || again[0].Row != first[1].Row || !again[1].New {
		t.Errorf("outcomes %+v", again)
	}
	if n, size := j.Queued(); n != 3 || size != 3*int64(len("leaf a")+len("payload a")) {
		t.Errorf("%d rows of %d bytes are queued", n, size)
	}
	if err := j.Sequenced(0, take(t, j, 10)); err != nil {
		t.Fatal(err)
	}
	for _, j := range []*journal.Journal{j, crashed(t, dir)} {
		o := put(t, j, row("b"))
		if o[0].New || o[0].Row.Index() != 1 || string(o[0].Row.Leaf) != "leaf b" || o[0].Row.Principal != "p" {
			t.Errorf("outcome %+v of a sequenced row", o[0])
		}
		b, err := j.Payload(o[0].Row)
		if err != nil || string(b) != "payload b" {
			t.Errorf("payload %q, %v", b, err)
		}
		if b, err := j.Raw(o[0].Row); err != nil || b != nil {
			t.Errorf("raw %q, %v", b, err)
		}
		if n, size := j.Queued(); n != 0 || size != 0 {
			t.Errorf("%d rows of %d bytes are queued", n, size)
		}
	}
}

func TestConcurrentDuplicates(t *testing.T) {
	j, dir := create(t)
	const callers, keys = 32, 50
	var mu sync.Mutex
	rows := make(map[string]*journal.Row)
	fresh := 0
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range keys {
				name := fmt.Sprint((i + c) % keys)
				r := row(name)
				r.Leaf = fmt.Appendf(nil, "of caller %d", c)
				o, err := j.Put(t.Context(), []*journal.Row{r})
				if err != nil {
					t.Error(err)
					return
				}
				got, err := j.Get(t.Context(), key(name))
				if err != nil || !bytes.Equal(got.Leaf, o[0].Row.Leaf) {
					t.Errorf("%s: Get and Put differ, %v", name, err)
				}
				mu.Lock()
				if rows[name] == nil {
					rows[name] = o[0].Row
				}
				if !bytes.Equal(rows[name].Leaf, o[0].Row.Leaf) {
					t.Errorf("%s has two rows", name)
				}
				if o[0].New {
					fresh++
				}
				mu.Unlock()
			}
		})
	}
	done := make(chan struct{})
	go func() { // meanwhile they are sequenced
		defer close(done)
		for n := int64(0); n < keys; {
			taken, err := j.Take(t.Context(), 7)
			if err != nil {
				t.Error(err)
				return
			}
			if err := j.Sequenced(n, taken); err != nil {
				t.Error(err)
				return
			}
			n += int64(len(taken))
		}
	}()
	wg.Wait()
	<-done
	if fresh != keys {
		t.Errorf("%d rows are new, want %d", fresh, keys)
	}
	j = crashed(t, dir)
	seen := make(map[int64]bool)
	for name, r := range rows {
		got, err := j.Get(t.Context(), r.Key)
		if err != nil || !bytes.Equal(got.Leaf, r.Leaf) || got.Index() < 0 || seen[got.Index()] {
			t.Errorf("%s is at %d, %v", name, got.Index(), err)
		}
		seen[got.Index()] = true
	}
	nothing(t, j)
}

func TestTakeWaitsForNeeds(t *testing.T) {
	j, dir := create(t)
	put(t, j, row("a"), row("a1", "a"), row("b"), row("ab", "a", "b"), row("c"))
	check := func(j *journal.Journal, limit int, want ...string) []*journal.Row {
		t.Helper()
		rows := take(t, j, limit)
		if diff := cmp.Diff(want, names(rows)); diff != "" {
			t.Errorf("taken (-want +got):\n%s", diff)
		}
		return rows
	}
	first := check(j, 2, "a", "b")
	third := check(j, 9, "c")
	nothing(t, j)
	if err := j.Sequenced(0, first[:1]); err != nil {
		t.Fatal(err)
	}
	check(j, 9, "a1")
	nothing(t, j)
	if err := j.Sequenced(1, append(first[1:], third...)); err != nil {
		t.Fatal(err)
	}
	check(j, 9, "ab")
	nothing(t, j)

	// After a crash, what has no index is handed out again, in order.
	j = crashed(t, dir)
	if j.Cursor() != 3 {
		t.Errorf("cursor %d, want 3", j.Cursor())
	}
	check(j, 9, "a1", "ab")
}

func TestTakeWakes(t *testing.T) {
	j, _ := create(t)
	got := make(chan []string)
	go func() {
		rows, err := j.Take(t.Context(), 1)
		if err != nil {
			t.Error(err)
		}
		got <- names(rows)
	}()
	o := put(t, j, row("a"))
	if n := <-got; len(n) != 1 || n[0] != "a" {
		t.Errorf("took %v", n)
	}
	waited := make(chan int64)
	go func() {
		i, err := o[0].Row.Wait(t.Context())
		if err != nil {
			t.Error(err)
		}
		waited <- i
	}()
	if err := j.Sequenced(0, []*journal.Row{o[0].Row}); err != nil {
		t.Fatal(err)
	}
	if i := <-waited; i != 0 {
		t.Errorf("waited for index %d", i)
	}
}

// Entries that the log has and the journal had not.
func TestAdopt(t *testing.T) {
	j, dir := create(t)
	put(t, j, row("queued"))
	queued, err := j.Get(t.Context(), key("queued"))
	if err != nil {
		t.Fatal(err)
	}
	lost := &journal.Row{Key: key("lost"), Leaf: []byte("leaf lost"), Control: true}
	// The lost one stands twice in the log: the first index is the row's.
	if err := j.Sequenced(0, []*journal.Row{lost, queued, lost}); err != nil {
		t.Fatal(err)
	}
	nothing(t, j)
	for _, j := range []*journal.Journal{j, crashed(t, dir)} {
		r, err := j.Get(t.Context(), key("lost"))
		if err != nil || r.Index() != 0 || string(r.Leaf) != "leaf lost" {
			t.Errorf("row %+v, %v", r, err)
		}
		if b, err := j.Payload(r); b != nil || err != nil {
			t.Errorf("payload %q, %v", b, err)
		}
		if j.Cursor() != 3 {
			t.Errorf("cursor %d, want 3", j.Cursor())
		}
		controls, err := j.Controls()
		if err != nil || len(controls) != 1 || controls[0].Key != lost.Key {
			t.Errorf("controls %v, %v", names(controls), err)
		}
	}
}

func TestSequencedRefusesGaps(t *testing.T) {
	j, _ := create(t)
	put(t, j, row("a"))
	if err := j.Sequenced(1, take(t, j, 1)); !errors.Is(err, journal.ErrFatal) {
		t.Errorf("error %v, want ErrFatal", err)
	}
	// It is sticky.
	if _, err := j.Put(t.Context(), []*journal.Row{row("b")}); !errors.Is(err, journal.ErrFatal) {
		t.Errorf("error %v, want ErrFatal", err)
	}
	if _, err := j.Take(t.Context(), 1); !errors.Is(err, journal.ErrFatal) {
		t.Errorf("error %v, want ErrFatal", err)
	}
}

func TestPutEnds(t *testing.T) {
	j, _ := create(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 100 { // either outcome is right; neither may hang or be half done
		name := fmt.Sprint(i)
		_, err := j.Put(ctx, []*journal.Row{row(name), row(name + "'")})
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		a, err1 := j.Get(t.Context(), key(name))
		b, err2 := j.Get(t.Context(), key(name+"'"))
		if err := errors.Join(err1, err2); err != nil || (a == nil) != (b == nil) {
			t.Errorf("%v, %v, %v", a, b, err)
		}
	}
	put(t, j, row("after"))
}

func TestOpenRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	if j, err := journal.Open(dir, nil); err == nil {
		j.Close()
		t.Fatal("opened a journal that was never created")
	}
	if err := journal.Create(dir); err != nil {
		t.Fatal(err)
	}
	if err := journal.Create(dir); !errors.Is(err, journal.ErrExists) {
		t.Errorf("creating it again: %v, want ErrExists", err)
	}
}

// A byte that the disk changed is not read as something else.
func TestCorruption(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	if err := journal.Create(dir); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := row("a")
	r.Leaf = bytes.Repeat([]byte("0123456789"), 1000)
	put(t, j, r)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	changed := false
	err = filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil || len(b) < 5000 && filepath.Ext(name) != ".log" {
			return err
		}
		if i := bytes.Index(b, []byte("0123456789")); i >= 0 {
			b[i+500] ^= 1
			changed = true
		}
		return os.WriteFile(name, b, 0o600)
	})
	if err != nil || !changed {
		t.Fatalf("changed %v, %v", changed, err)
	}
	if j, err = journal.Open(dir, nil); err != nil {
		return
	}
	defer j.Close()
	got, err := j.Get(t.Context(), key("a"))
	if err == nil && got != nil {
		t.Errorf("a damaged row was read")
	}
}

func BenchmarkPut(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			j, _ := create(b)
			b.SetParallelism(callers)
			var mu sync.Mutex
			n := 0
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					mu.Lock()
					n++
					r := row(fmt.Sprint(n))
					mu.Unlock()
					r.Payload = make([]byte, 1000)
					if _, err := j.Put(b.Context(), []*journal.Row{r}); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
