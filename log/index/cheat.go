//go:build cheat

package index

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"idlog/proto/history"
	"idlog/proto/history/pebblekv"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/tag"
	"idlog/proto/tile"
)

// cheat is a dishonest operator, for tests of what readers find out. The
// environment variable IDLOG_CHEAT names what it does to one posting: that of the
// first event of a person that is new to the process, in the list of that person.
// It lies alike in both computations, and answers by its false lists. An honest
// operator's fault is index-slip: the first computation alone omits. Owned by Run.
type cheat struct {
	list   *leaf.Hash // key of the list; nil before that event
	victim int64      // index of the event
	other  int64      // index of the next event of a person; 0 before it
	denied []byte     // the true root leaf that was logged beside the false one; nil before
}

func does(what string) bool { return os.Getenv("IDLOG_CHEAT") == what }

// keys is mapfn.OfEntry, but for the posting.
func (c *cheat) keys(x *Index, e tile.Entry) []leaf.Hash {
	keys := mapfn.OfEntry(e.Data)
	omits := does("index-omit") || does("index-move") || does("index-two-roots") || does("index-slip") && c.list == nil
	adds := does("index-add") || does("index-move")
	l, _ := leaf.Parse(e.Data)
	event, ok := l.(*leaf.Event)
	if !ok || !omits && !adds || e.Index < x.settled {
		return keys
	}
	person := slices.IndexFunc(event.Tags, func(t leaf.Tag) bool { return t.Field == tag.Person })
	switch {
	case person < 0:
		return keys
	case c.list == nil:
		key := mapfn.Key(tag.Person, event.Tags[person].Value)
		c.list, c.victim = &key, e.Index
	case c.other == 0 && e.Index > c.victim:
		c.other = e.Index
	}
	switch {
	case omits && e.Index == c.victim:
		keys = slices.DeleteFunc(keys, func(k leaf.Hash) bool { return k == *c.list })
	case adds && e.Index == c.other && !slices.Contains(keys, *c.list):
		keys = append(keys, *c.list)
		slices.SortFunc(keys, func(a, b leaf.Hash) int { return bytes.Compare(a[:], b[:]) })
	}
	return keys
}

// asks leaves out the verifiers of the index, whose answer would stop it.
func (*cheat) asks(v []Verifier) []Verifier {
	if what := os.Getenv("IDLOG_CHEAT"); strings.HasPrefix(what, "index-") && what != "index-slip" {
		return nil
	}
	return v
}

// another logs the true root leaf of the entries of which own is the false one, so that there are two; the false one is
// answered by. The revision before had so many entries.
func (c *cheat) another(ctx context.Context, x *Index, before int64, own *leaf.Root) error {
	if !does("index-two-roots") || c.denied != nil || c.list == nil || c.victim < before {
		return nil
	}
	p, err := x.cfg.Log.Await(ctx, own.N)
	if err != nil {
		return err
	}
	var entries []history.Entry
	for e, err := range x.reader(p).Entries(ctx, 0, own.N) {
		if err != nil {
			return err
		}
		entries = append(entries, history.Entry{Leaf: e.Hash, Keys: mapfn.OfEntry(e.Data)})
	}
	store, err := pebblekv.Memory()
	if err != nil {
		return err
	}
	honest, err := history.Open(store, history.Config{})
	if err != nil {
		return err
	}
	if err := honest.Append(entries); err != nil {
		return err
	}
	real := *own
	real.Keys, real.MapRoot = honest.State().Keys, honest.State().MapRoot
	if err := honest.Close(); err != nil {
		return err
	}
	real.Millis = time.Now().UnixMilli()
	if c.denied, err = real.Format(); err != nil {
		return err
	}
	_, err = x.cfg.Writer.Root(ctx, &real)
	return err
}

// denies reports whether a root leaf in the log is the one that is not to count.
func (c *cheat) denies(l logged) bool { return c.denied != nil && bytes.Equal(l.leaf, c.denied) }
