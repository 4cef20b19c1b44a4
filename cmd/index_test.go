package cmd_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"idlog/proto/history"
	"idlog/proto/history/pebblekv"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/tile"
)

// rootsAreRight holds every root leaf of a log, all of whose entries are given, against an index made here: SPEC 2.12.
func rootsAreRight(entries []tile.Entry) (err error) {
	store, err := pebblekv.Memory()
	if err != nil {
		return err
	}
	x, err := history.Open(store, history.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	roots := 0
	for _, e := range entries {
		root := asRoot(e)
		if root == nil {
			continue
		}
		roots++
		size := x.Size()
		if root.N > e.Index || root.N <= size {
			return fmt.Errorf("the root leaf at %d is of %d entries, after one of %d", e.Index, root.N, size)
		}
		var batch []history.Entry
		content := false
		for _, e := range entries[size:root.N] {
			batch = append(batch, history.Entry{Leaf: e.Hash, Keys: mapfn.OfEntry(e.Data)})
			content = content || asRoot(e) == nil
		}
		if err := x.Append(batch); err != nil {
			return err
		}
		if s := x.State(); root.LogRoot != s.LogRoot || root.MapRoot != s.MapRoot || root.Keys != s.Keys || !content {
			return fmt.Errorf("the root leaf at %d says %+v, and it is %+v; more than roots in between: %v", e.Index, root, s, content)
		}
	}
	if roots == 0 {
		return fmt.Errorf("no root leaf in %d entries", len(entries))
	}
	return nil
}

// asRoot is an entry that is a root leaf, else nil.
func asRoot(e tile.Entry) *leaf.Root {
	l, _ := leaf.Parse(e.Data) // whoever read it has said if it is no leaf
	r, _ := l.(*leaf.Root)
	return r
}

// indexRuns is an error if the served log's index is stopped.
func (s *site) indexRuns() error {
	res, err := http.Get("http://" + s.server.addresses["admin"] + "/metrics")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), `idlog_index_stopped{log="`+family+`"} 0`) {
		return fmt.Errorf("the index is stopped, or nobody says whether it is; idlogd said: %s", s.server.said())
	}
	return nil
}
