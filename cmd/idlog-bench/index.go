package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"idlog/cmd/internal/serve"
	"idlog/proto/history"
	"idlog/proto/history/pebblekv"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/trie"
)

// indexBench measures the engine of the verifiable index in this process, on one core.
type indexBench struct {
	dir, results, profiles string
	quick                  bool
	keys, preload          int // of the small and the large index
	out, progress          io.Writer

	events int // that are measured
	report IndexReport
}

// IndexReport is the results file of the index.
type IndexReport struct {
	Date    time.Time
	Go      string
	CPU     string
	Kernel  string
	Quick   bool
	Figures []Figure
}

// Figure is one number. Target is what it has to be at least, or at most; 0 where nothing was promised.
type Figure struct {
	What    string
	Unit    string
	Value   *float64 // nil if it was not measured
	Target  float64
	AtLeast bool
	Met     *bool // nil if there is no target or it was not measured
}

func indexCommand(stdout, stderr io.Writer) *cobra.Command {
	b := indexBench{out: stdout, progress: stderr}
	cmd := &cobra.Command{
		Use:     "index",
		Short:   "Measure the engine of the verifiable index, on one core",
		Example: "  idlog-bench index --out index.json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return b.run(cmd.Context()) },
	}
	f := cmd.Flags()
	f.StringVar(&b.dir, "dir", "", "folder to work in, on the disk to be measured; a temporary one unless given")
	f.StringVar(&b.results, "out", "", "results file, JSON")
	f.StringVar(&b.profiles, "profiles", "", "folder to keep CPU profiles in, for go tool pprof")
	f.IntVar(&b.keys, "keys", 1_000_000, "keys of the index that is filled event by event; 0 is none")
	f.IntVar(&b.preload, "preload", 10_000_000, "keys of the index that has them beforehand; 0 is none")
	f.BoolVar(&b.quick, "quick", false, "a fiftieth of everything, to see that it runs: its figures mean nothing")
	return cmd
}

// indexMemory is what the process asks the garbage collector to stay below.
const indexMemory = 280 << 20

func (b *indexBench) run(ctx context.Context) error {
	runtime.GOMAXPROCS(1)
	debug.SetMemoryLimit(indexMemory)
	if b.keys < 0 || b.preload < 0 {
		return serve.Usagef("--keys %d --preload %d: neither is negative", b.keys, b.preload)
	}
	b.events = 300_000
	if b.quick {
		b.keys, b.preload, b.events = b.keys/50, b.preload/50, b.events/50
	}
	if b.dir == "" {
		dir, err := os.MkdirTemp("", "idlog-bench-index")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		b.dir = dir
	}
	b.report = IndexReport{Date: time.Now().UTC(), Go: runtime.Version(), CPU: processor(), Kernel: kernel(), Quick: b.quick}
	// The large one first: the peak of memory is then its own.
	if b.preload > 0 {
		if err := b.large(ctx); err != nil {
			return fmt.Errorf("measuring an index of %d keys: %w", b.preload, err)
		}
	}
	if b.keys > 0 {
		if err := b.small(ctx); err != nil {
			return fmt.Errorf("measuring an index of %d keys: %w", b.keys, err)
		}
	}
	return errors.Join(save(b.results, &b.report), b.report.print(b.out))
}

// small fills an index event by event, and measures what depends on how many come at once; then proofs, and a restart.
func (b *indexBench) small(ctx context.Context) error {
	dir := filepath.Join(b.dir, "small")
	x, err := openIndex(dir)
	if err != nil {
		return err
	}
	g := newIdentities(1)
	if _, err := b.feed(ctx, x, g, 20_000, func() bool { return x.State().Keys >= int64(b.keys) }); err != nil {
		return err
	}
	size := fmt.Sprintf("%s keys", thousands(float64(b.keys)))
	before := x.State()
	if err := x.Close(); err != nil {
		return err
	}
	bytes, err := diskBytes(dir)
	if err != nil {
		return err
	}
	b.atMost("disk for an event, "+size, "bytes", float64(bytes)/float64(before.Size), 130)
	took, err := timed(func() (err error) {
		x, err = openIndex(dir)
		return err
	})
	if err != nil {
		return err
	}
	b.atMost("restart, "+size, "s", took.Seconds(), 2)
	if x.State() != before {
		return errors.New("the index came back as another one")
	}
	for _, load := range []struct {
		revision, events int
		target           float64
	}{{500, b.events / 3, 10_000}, {100, b.events / 3, 10_000}, {10, b.events / 3, 10_000}, {1, b.events / 3, 10_000}, {2_000, b.events / 2, 0}, {20_000, b.events, 40_000}} {
		rate, err := b.rate(ctx, fmt.Sprintf("small-%d", load.revision), x, g, load.revision, load.events)
		if err != nil {
			return err
		}
		b.atLeast(fmt.Sprintf("events/s, %s, revisions of %s", size, thousands(float64(load.revision))), "", rate, load.target)
	}
	grown := x.State()
	b.atMost("new keys of an event", "", float64(grown.Keys-before.Keys)/float64(grown.Size-before.Size), 0)
	if err := b.proofs(x, g, size, 50); err != nil {
		return err
	}
	return x.Close()
}

// large gives an index its keys beforehand, all of them with one list in common, and then events.
func (b *indexBench) large(ctx context.Context) error {
	dir := filepath.Join(b.dir, "large")
	x, err := openIndex(dir)
	if err != nil {
		return err
	}
	size := fmt.Sprintf("%s keys", thousands(float64(b.preload)))
	took, err := timed(func() error {
		_, err := b.feed(ctx, x, strangers{}, 20_000, func() bool { return x.State().Keys >= int64(b.preload) })
		return err
	})
	if err != nil {
		return err
	}
	b.atLeast("new keys/s until then, "+size, "", float64(x.State().Keys)/took.Seconds(), 0)
	g := newIdentities(2)
	rate, err := b.rate(ctx, "large-20000", x, g, 20_000, b.events)
	if err != nil {
		return err
	}
	b.atLeast("events/s, "+size+", revisions of 20,000", "", rate, 25_000)
	if rate, err = b.rate(ctx, "large-500", x, g, 500, b.events/10); err != nil {
		return err
	}
	b.atLeast("events/s, "+size+", revisions of 500", "", rate, 0)
	if err := b.proofs(x, g, size, 0); err != nil {
		return err
	}
	peak, err := peakOf(os.Getpid())
	if err != nil {
		return err
	}
	b.atMost("memory of the process at its peak, "+size, "MiB", float64(peak)/(1<<20), 400)
	if err := x.Close(); err != nil {
		return err
	}
	x = nil // a restart does not have two
	took, err = timed(func() (err error) {
		x, err = openIndex(dir)
		return err
	})
	if err != nil {
		return err
	}
	b.atMost("restart, "+size, "s", took.Seconds(), 0)
	return x.Close()
}

func openIndex(dir string) (*history.Index, error) {
	s, err := pebblekv.Open(dir)
	if err != nil {
		return nil, err
	}
	x, err := history.Open(s, history.Config{})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return x, nil
}

// feed appends revisions until done, and returns how many events.
func (b *indexBench) feed(ctx context.Context, x *history.Index, g entries, revision int, done func() bool) (int, error) {
	events := 0
	said := time.Now()
	for batch := make([]history.Entry, revision); !done(); events += revision {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		for i := range batch {
			g.next(x.Size()+int64(i), &batch[i])
		}
		if err := x.Append(batch); err != nil {
			return 0, err
		}
		if time.Since(said) > 5*time.Second {
			said = time.Now()
			fmt.Fprintf(b.progress, "index: %s entries, %s keys\n", thousands(float64(x.Size())), thousands(float64(x.State().Keys)))
		}
	}
	return events, nil
}

// rate measures events for each second of processor time, the making of the events and what the store does
// in the background included.
func (b *indexBench) rate(ctx context.Context, name string, x *history.Index, g entries, revision, events int) (float64, error) {
	stop, err := b.profile(name)
	if err != nil {
		return 0, err
	}
	defer stop()
	end := x.Size() + int64(events)
	n := 0
	took, err := timed(func() (err error) {
		n, err = b.feed(ctx, x, g, revision, func() bool { return x.Size() >= end })
		return err
	})
	return float64(n) / took.Seconds(), err
}

// profile begins a CPU profile, if they are kept, and returns what ends it.
func (b *indexBench) profile(name string) (stop func(), err error) {
	if b.profiles == "" {
		return func() {}, nil
	}
	if err := os.MkdirAll(b.profiles, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(filepath.Join(b.profiles, name+".pprof"))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close()
	}, nil
}

// proofs measures paths of keys, half of which are absent, and pages of the longest list, each verified.
func (b *indexBench) proofs(x *history.Index, g *identities, size string, p50 float64) error {
	stop, err := b.profile("proofs-" + strings.Fields(size)[0])
	if err != nil {
		return err
	}
	defer stop()
	v := x.View()
	defer v.Close()
	state := v.State()
	var find, absent, page []time.Duration
	r := rand.New(rand.NewPCG(7, 7))
	for i := range b.events / 15 {
		var e history.Entry
		e.Keys = e.Keys[:0]
		key := mapfn.Key(1, number(r.Uint64())) // of nobody
		if i%2 == 0 {
			g.key(r, &e)
			key = e.Keys[0]
		}
		var p trie.Path
		var h trie.Head
		took, err := lone(func() (err error) {
			p, h, err = v.Find(key)
			return err
		})
		if err != nil {
			return err
		}
		if present, err := p.Verify(key, state.MapRoot); err != nil || present != (h.N > 0) {
			return fmt.Errorf("a path does not hold: %w", err)
		}
		if h.N > 0 {
			find = append(find, took)
		} else {
			absent = append(absent, took)
		}
	}
	var longest leaf.Hash
	var head trie.Head
	for _, key := range append(g.common(), strangersKey) {
		if _, h, err := v.Find(key); err != nil {
			return err
		} else if h.N > head.N {
			longest, head = key, h
		}
	}
	for range 1000 {
		took, err := lone(func() error {
			p, err := v.Page(longest, r.Int64N(max(head.N-100, 1)), 100)
			if err != nil {
				return err
			}
			return p.Verify(head, state.Size)
		})
		if err != nil {
			return err
		}
		page = append(page, took)
	}
	b.atMost("proof of a key, p50, "+size, "µs", at(find, 0.5), p50)
	b.atMost("proof of a key, p99, "+size, "µs", at(find, 0.99), 2000)
	b.atMost("proof of absence, p50, "+size, "µs", at(absent, 0.5), p50)
	b.atMost("proof of absence, p99, "+size, "µs", at(absent, 0.99), 2000)
	list := thousands(float64(head.N))
	b.atMost("page of 100 of "+list+", proven and verified, p50", "µs", at(page, 0.5), 3000)
	b.atMost("page of 100 of "+list+", proven and verified, p99", "µs", at(page, 0.99), 3000)
	return nil
}

// at is a quantile in microseconds.
func at(took []time.Duration, q float64) float64 {
	if len(took) == 0 {
		return 0
	}
	slices.SortFunc(took, cmp.Compare[time.Duration])
	return float64(took[int(q*float64(len(took)-1))].Nanoseconds()) / 1e3
}

func (b *indexBench) atLeast(what, unit string, value, target float64) {
	b.add(what, unit, value, target, true)
}
func (b *indexBench) atMost(what, unit string, value, target float64) {
	b.add(what, unit, value, target, false)
}

func (b *indexBench) add(what, unit string, value, target float64, least bool) {
	f := Figure{What: what, Unit: unit, Value: &value, Target: target, AtLeast: least}
	if target != 0 {
		met := value <= target
		if least {
			met = value >= target
		}
		f.Met = &met
	}
	b.report.Figures = append(b.report.Figures, f)
	fmt.Fprintf(b.progress, "index: %s: %s\n", what, f.measured())
}

func (f *Figure) measured() string {
	switch {
	case f.Value == nil:
		return "-"
	case *f.Value >= 1000:
		return unit(thousands(*f.Value), f.Unit)
	}
	return unit(fmt.Sprintf("%.3g", *f.Value), f.Unit)
}

func (f *Figure) target() string {
	switch {
	case f.Target == 0:
		return ""
	case f.AtLeast:
		return "at least " + unit(thousands(f.Target), f.Unit)
	case f.Target == float64(int(f.Target)):
		return "at most " + unit(thousands(f.Target), f.Unit)
	}
	return "at most " + unit(fmt.Sprint(f.Target), f.Unit)
}

func unit(number, unit string) string {
	if unit == "" {
		return number
	}
	return number + " " + unit
}

func (r *IndexReport) print(w io.Writer) error {
	out := &printer{w: w}
	out.f("`bin/idlog-bench index` on %s: one core of %s; kernel %s; %s; all times are processor time: of the process, but for proofs, which are of their thread.\n", r.Date.Format(time.DateOnly), r.CPU, r.Kernel, r.Go)
	if r.Quick {
		out.f("\nThis was a quick run: its figures mean nothing.\n")
	}
	out.f("\n| what | target | measured | met |\n|---|---|---|---|\n")
	for i := range r.Figures {
		f := &r.Figures[i]
		met := ""
		if f.Met != nil {
			met = map[bool]string{true: "yes", false: "**no**"}[*f.Met]
		}
		out.f("| %s | %s | %s | %s |\n", f.What, f.target(), f.measured(), met)
	}
	return out.err
}

// timed returns the processor time that the process uses while f runs, what goes on in the background included.
func timed(f func() error) (time.Duration, error) { return clocked(unix.CLOCK_PROCESS_CPUTIME_ID, f) }

// lone returns the processor time that f uses, which stays in its thread.
func lone(f func() error) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return clocked(unix.CLOCK_THREAD_CPUTIME_ID, f)
}

func clocked(clock int32, f func() error) (time.Duration, error) {
	var start, end unix.Timespec
	if err := unix.ClockGettime(clock, &start); err != nil {
		return 0, fmt.Errorf("reading the processor time: %w", err)
	}
	if err := f(); err != nil {
		return 0, err
	}
	if err := unix.ClockGettime(clock, &end); err != nil {
		return 0, fmt.Errorf("reading the processor time: %w", err)
	}
	return time.Duration(end.Nano() - start.Nano()), nil
}

// entries makes the entry of an index.
type entries interface {
	next(index int64, e *history.Entry)
}

// identities makes events of four keys: a subject of ten million, some of whom come much more often than others, an actor of
// 5,000, of whom that is truer, one of 64 kinds, and a correlation that no other event has, which is the worst case.
type identities struct {
	r                     *rand.Rand
	subject, actor, kinds *rand.Zipf
	correlations          uint64
}

func newIdentities(seed uint64) *identities {
	r := rand.New(rand.NewPCG(seed, seed))
	return &identities{
		r: r, subject: rand.NewZipf(r, 1.2, 1, 10_000_000-1), actor: rand.NewZipf(r, 1.5, 1, 5000-1), kinds: rand.NewZipf(r, 1.2, 1, 64-1),
		correlations: seed << 40,
	}
}

func (g *identities) next(index int64, e *history.Entry) {
	g.correlations++
	e.Leaf = leafOf(index)
	e.Keys = append(e.Keys[:0],
		mapfn.Key(1, number(g.subject.Uint64())),
		mapfn.Key(2, number(g.actor.Uint64())),
		mapfn.Key(3, number(g.kinds.Uint64())),
		mapfn.Key(4, number(g.correlations)))
}

// key gives a key of an event that was.
func (g *identities) key(r *rand.Rand, e *history.Entry) {
	first := g.correlations >> 40 << 40
	switch r.IntN(3) {
	case 0:
		e.Keys = append(e.Keys[:0], mapfn.Key(4, number(first+1+r.Uint64N(g.correlations-first))))
	case 1:
		e.Keys = append(e.Keys[:0], mapfn.Key(1, number(r.Uint64N(1000))))
	default:
		e.Keys = append(e.Keys[:0], mapfn.Key(2, number(r.Uint64N(100))))
	}
}

// common returns keys whose lists are long.
func (g *identities) common() []leaf.Hash {
	return []leaf.Hash{mapfn.Key(1, number(0)), mapfn.Key(2, number(0)), mapfn.Key(3, number(0))}
}

// strangers makes entries of three keys that come once and one that comes always.
type strangers struct{}

var strangersKey = mapfn.Key(mapfn.Source, number(0))

func (strangers) next(index int64, e *history.Entry) {
	e.Leaf = leafOf(index)
	e.Keys = append(e.Keys[:0], strangersKey)
	for i := range uint64(3) {
		e.Keys = append(e.Keys, mapfn.Key(7, number(uint64(index)*3+i)))
	}
}

func number(n uint64) (h leaf.Hash) {
	binary.BigEndian.PutUint64(h[:], n)
	return h
}

func leafOf(index int64) leaf.Hash {
	return leaf.HashOf(binary.BigEndian.AppendUint64(nil, uint64(index)))
}
