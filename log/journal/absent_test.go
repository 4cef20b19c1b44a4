package journal_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"idlog/log/journal"
)

// looked returns a row as a caller puts it who looked for its key before, and reports what was found.
func looked(t testing.TB, j *journal.Journal, name string) (r, found *journal.Row) {
	t.Helper()
	r = row(name)
	r.Absent = j.Mark()
	found, err := j.Get(t.Context(), r.Key)
	if err != nil {
		t.Fatal(err)
	}
	return r, found
}

// TestAbsent puts a key that somebody else put between the look and the put, a moment ago and long ago.
func TestAbsent(t *testing.T) {
	j, dir := create(t)
	put(t, j, row("before"))
	for _, between := range []int{0, 1, 1<<13 + 1, 1<<14 + 1} {
		name := fmt.Sprint("key ", between)
		late, found := looked(t, j, name)
		if found != nil {
			t.Fatalf("%s is there already", name)
		}
		first := put(t, j, row(name))[0]
		for n := 0; n < between; n += 2048 {
			var rows []*journal.Row
			for i := range min(2048, between-n) {
				rows = append(rows, row(fmt.Sprint(name, " ", n+i)))
			}
			put(t, j, rows...)
		}
		if o := put(t, j, late)[0]; o.New || o.Row != first.Row {
			t.Errorf("with %d rows between, the key has a second row", between)
		}
	}
	// What is absent goes in, and a restart remembers nothing of marks.
	fresh, _ := looked(t, j, "fresh")
	if o := put(t, j, fresh)[0]; !o.New {
		t.Error("a key that nobody put was found")
	}
	j = crashed(t, dir)
	again, found := looked(t, j, "fresh")
	if found == nil {
		t.Fatal("the restart lost a row")
	}
	if o := put(t, j, again)[0]; o.New {
		t.Error("the restart made a second row")
	}
}

// TestAbsentTogether lets many callers look for the same keys and put them at the same time.
func TestAbsentTogether(t *testing.T) {
	j, _ := create(t)
	const keys, callers = 300, 8
	var made [keys]atomic.Int32
	var callersDone sync.WaitGroup
	for range callers {
		callersDone.Go(func() {
			for k := range keys {
				r, found := looked(t, j, fmt.Sprint(k))
				if found != nil {
					continue
				}
				if put(t, j, r)[0].New {
					made[k].Add(1)
				}
			}
		})
	}
	callersDone.Wait()
	for k := range made {
		if n := made[k].Load(); n != 1 {
			t.Errorf("key %d has %d rows", k, n)
		}
	}
}
