package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"idlog/client/audit"
	"idlog/client/trust"
	"idlog/proto/checkpoint"
	"idlog/proto/evidence"
	"idlog/proto/leaf"
	"idlog/proto/policy"
)

// run audits the folder of a log.
func (b *built) run(change ...func(*audit.Config)) *audit.Report {
	b.t.Helper()
	d, err := audit.Open(b.dir, "")
	b.check(err)
	cfg := audit.Config{Log: d, Policy: b.policy, Memory: 1} // so that ids go to a file
	for _, c := range change {
		c(&cfg)
	}
	r, err := audit.Run(b.t.Context(), cfg)
	b.check(err)
	return r
}

func found(r *audit.Report) (list []string) {
	for _, f := range r.Findings {
		list = append(list, f.String())
	}
	return list
}

// TestWhole audits logs in which nothing is wrong, from disk and over HTTP.
func TestWhole(t *testing.T) {
	for _, size := range []int{2, 255, 256, 257, 600, 70_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			b := build(t)
			b.fill(size)
			sizes := []int64{2, int64(size)/2 + 1, int64(size) - 1}
			b.publish(sizes...)
			// Partial files of earlier days, which nobody has taken away.
			if size > 200 {
				b.write("tile/0/000.p/5", b.read("tile/0/000" + map[bool]string{true: ".p/255"}[size == 255])[:5*32])
			}
			state := trust.NewMemory()
			r := b.run(func(c *audit.Config) { c.State = state })
			if got := found(r); got != nil || len(r.Notes) > 0 {
				t.Error(got, r.Notes)
			}
			seen, ok, err := state.Seen(origin)
			if err != nil || !ok || seen.Size != int64(size) {
				t.Errorf("remembered %v, %v, %v", seen.Size, ok, err)
			}
			over := b.run(func(c *audit.Config) { c.Log, c.State, c.Workers = site(t, b.serve()), state, 8 })
			if got := found(over); got != nil {
				t.Error(got)
			}
			over.Took, over.Tiles, over.Newest = r.Took, r.Tiles, r.Newest // partial files are seen on disk alone
			if diff := cmp.Diff(r, over, cmp.AllowUnexported(policy.Verified{})); diff != "" {
				t.Error(diff)
			}
			if want := int64(size); r.Entries != want || r.Kinds["event"]+r.Kinds["subject"]+2 != want {
				t.Errorf("entries %d: %v", r.Entries, r.Kinds)
			}
		})
	}
}

// TestFindings changes one thing each in a log of 600 entries, or in its leaves.
func TestFindings(t *testing.T) {
	event := func(b *built, n int, change func(*leaf.Event)) {
		e := b.event(n)
		change(e)
		b.add(e)
	}
	for name, tc := range map[string]struct {
		log   func(b *built) // adds leaves
		files func(b *built) // after publication
		want  []string
		notes []string
		prove []evidence.Claim
	}{
		"an entry": {
			files: func(b *built) { b.flip("tile/entries/001", -1) },
			want: []string{
				"checkpoint 600: root: the entries do not give its root; they give that of every tree head up to size 300, and not that of size 599",
				"tile/0/001: tile: hash 255 is not that of the entry",
				"tile/1/000.p/2: tile: hash 1 is not that of the tile below it",
				"entry 511: grammar: is no leaf of ours: parsing leaf: line 11: line is missing or has no line feed"},
		},
		"a hash": {
			files: func(b *built) { b.flip("tile/0/001", 40) },
			want:  []string{"tile/0/001: tile: hash 1 is not that of the entry"},
		},
		"a hash of a higher level": {
			files: func(b *built) { b.flip("tile/1/000.p/2", 32) },
			want:  []string{"tile/1/000.p/2: tile: hash 1 is not that of the tile below it"},
		},
		"a tile cut short": {
			files: func(b *built) { b.write("tile/0/001", b.read("tile/0/001")[:32]) },
			want:  []string{"tile/0/001: tile: has 32 bytes, not 8192"},
		},
		"an old partial tile": {
			files: func(b *built) { b.write("tile/entries/000.p/3", b.read("tile/entries/001")[:300]) },
			want:  []string{"tile/entries/000.p/3: tile: has 300 bytes, not ..."},
		},
		"entries that are gone": {
			files: func(b *built) { b.check(os.Remove(filepath.Join(b.dir, "tile/entries/001"))) },
			want:  []string{"tile/entries/001: missing: is not there"},
			notes: []string{"entries are missing, so keys and enrolments were not judged: from 256 on"},
		},
		"entries and hashes that are gone": {
			files: func(b *built) {
				b.check(os.Remove(filepath.Join(b.dir, "tile/entries/001")))
				b.check(os.Remove(filepath.Join(b.dir, "tile/0/001")))
			},
			want:  []string{"tile/entries/001: missing: is not there", "tile/0/001: missing: is not there"},
			notes: []string{"entries are missing, so keys and enrolments were not judged: from 256 on", "roots that were not computed, because hashes are missing: all above 2"},
		},
		"files that do not belong": {
			files: func(b *built) { b.write("tile/0/000.tmp", nil); b.write("tile/0/002.p/250", make([]byte, 250*32)) },
			notes: []string{"files beyond the newest checkpoint, not judged: tile/0/002.p/250", "files that are no tile: tile/0/000.tmp"},
		},
		"a fork": {
			files: func(b *built) { b.write("archive/300", b.sign(300, 1)) },
			want:  []string{"checkpoint 300: fork: is signed, and the newest checkpoint, 600, does not continue it"},
			prove: []evidence.Claim{evidence.Fork},
		},
		"a fork of one size": {
			files: func(b *built) { b.write("archive/600", b.sign(600, 1)) },
			want:  []string{"checkpoint 600: fork: is signed with another root than the newest checkpoint, which has the same size"},
			prove: []evidence.Claim{evidence.WitnessFork, evidence.Fork},
		},
		"a signature": {
			files: func(b *built) {
				b.write("archive/300", bytes.Replace(b.read("archive/300"), []byte("\n300\n"), []byte("\n301\n"), 1))
			},
			want: []string{"checkpoint 301: signature: verifying checkpoint log.example/id/0 301: false signature by log.example/id/0"},
		},
		"a checkpoint that nobody cosigned": {
			files: func(b *built) {
				c, _ := bytes.CutSuffix(b.read("archive/300"), []byte("\n"))
				b.write("archive/300", append(c[:bytes.LastIndexByte(c, '\n')], '\n'))
			},
			want: []string{"checkpoint 300: quorum: checkpoint log.example/id/0 300 lacks quorum all: it is cosigned by w0"},
		},
		"no checkpoint": {
			files: func(b *built) { b.write("archive/300", []byte("x")) },
			want:  []string{"archive/300: archive: splitting note: note has no empty line"},
		},
		"another log's checkpoint": {
			files: func(b *built) {
				b.write("archive/300", bytes.ReplaceAll(b.read("archive/300"), []byte(origin), []byte(family+"/1")))
			},
			want: []string{"checkpoint 300: archive: is of log log.example/id/1"},
		},
		"one event in two leaves": {
			log: func(b *built) {
				event(b, 5, func(e *leaf.Event) { e.Fields = leaf.Hash{1} })
				event(b, 6, func(e *leaf.Event) { e.Tags[0].Value = leaf.Hash{1} })
				event(b, 7, func(*leaf.Event) {})
			},
			want: []string{"entry 597: duplicate: is the event of entry 9 in another leaf: they have one event id of source okta",
				"entry 598: duplicate: is the event of entry 10 in another leaf: they have one digest of all fields"},
			prove: []evidence.Claim{evidence.Duplicate, evidence.Duplicate},
		},
		"dated forward": {
			log: func(b *built) {
				event(b, 1e6, func(e *leaf.Event) {
					e.Received += 3600
					e.Tags = e.Tags[:1:1]
					e.Tags = append(e.Tags, leaf.Tag{Field: 6})
				})
			},
			want: []string{"entry 597: received: received at ..."},
		},
		"dated back": {
			log: func(b *built) {
				event(b, 1e6, func(e *leaf.Event) {
					e.Received -= 25 * 3600
					e.Tags = e.Tags[:1:1]
					e.Tags = append(e.Tags, leaf.Tag{Field: 6})
				})
			},
			want: []string{"entry 597: received: received at ..."},
		},
		"a person whom nobody enrolled": {
			log:  func(b *built) { event(b, 1e6, func(*leaf.Event) {}) },
			want: []string{"entry 597: enrolment: names person number 120, and there are 119 enrolments before it"},
		},
		"an erasure of nobody": {
			log: func(b *built) {
				b.add(&leaf.Erasure{Log: family, Received: now(), Enrolments: []leaf.Hash{leaf.HashOf(b.leaves[2]), {0xff}}, Tags: []leaf.Tag{{Field: 2}}})
			},
			want: []string{"entry 597: enrolment: enrolment 2 that it names is no entry before it"},
		},
		"keys of nobody": {
			log: func(b *built) {
				event(b, 1e6, func(e *leaf.Event) {
					e.Source, e.Tags[1], e.Tags[2] = "auth0", e.Tags[3], e.Tags[3]
					e.Tags = e.Tags[:2]
				})
			},
			want: []string{"entry 597: keys: has a tag of field 1 under a key of source auth0 that no earlier entry announces"},
		},
		"no leaf": {
			log:  func(b *built) { b.addBytes([]byte("hello")) },
			want: []string{"entry 597: grammar: is no leaf of ours: parsing leaf: line 1: unknown kind of leaf"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := build(t)
			b.fill(597)
			if tc.log != nil {
				tc.log(b)
			}
			for n := 5000; len(b.leaves) < 600; n++ {
				e := b.event(n)
				e.Tags = []leaf.Tag{e.Tags[0], e.Tags[3]}
				b.add(e)
			}
			b.publish(2, 300, 599)
			if tc.files != nil {
				tc.files(b)
			}
			r := b.run()
			got := found(r)
			for i := range got {
				got[i] = strings.TrimPrefix(got[i], b.dir+"/")
				if i < len(tc.want) && strings.HasSuffix(tc.want[i], "...") && strings.HasPrefix(got[i], strings.TrimSuffix(tc.want[i], "...")) {
					got[i] = tc.want[i] // times and lengths differ
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tc.notes, r.Notes); diff != "" {
				t.Error(diff)
			}
			var claims []evidence.Claim
			for _, e := range r.Evidence {
				parsed, err := evidence.Parse(e.Data)
				b.check(err)
				v, err := evidence.Judge(parsed, b.policy)
				if err != nil || !v.Proven || v != e.Verdict {
					t.Errorf("evidence of %s is judged %v, %v", parsed.Claim, v, err)
				}
				claims = append(claims, parsed.Claim)
			}
			if diff := cmp.Diff(tc.prove, claims); diff != "" {
				t.Error(diff)
			}
			for _, f := range r.Findings {
				if audit.Meaning(f.Rule) == "" {
					t.Errorf("rule %s has no meaning", f.Rule)
				}
			}
		})
	}
}

// TestKnown holds a log to what its reader has seen before.
func TestKnown(t *testing.T) {
	b := build(t)
	b.fill(600)
	larger := b.sign(600)
	other := b.sign(300, 1)
	b.leaves, b.hashes = b.leaves[:500], nil
	leaves := b.leaves
	b.leaves = nil
	for _, l := range leaves {
		b.addBytes(l)
	}
	b.publish()
	r := b.run(func(c *audit.Config) { c.Known = [][]byte{larger, other, b.sign(400)} })
	want := []string{"checkpoint 300: fork: was known here, and the newest checkpoint, 500, does not continue it",
		"checkpoint 600: rollback: was known here, and the newest one has size 500"}
	if diff := cmp.Diff(want, found(r)); diff != "" {
		t.Error(diff)
	}
	if len(r.Evidence) != 2 || r.Evidence[0].Verdict.Proven || !r.Evidence[1].Verdict.Proven {
		t.Errorf("evidence: %+v", r.Evidence)
	}
}

// TestHeads reads the archive as an operator keeps it.
func TestHeads(t *testing.T) {
	b := build(t)
	b.fill(600)
	b.publish()
	b.heads("h", 2, 255, 300, 599, 600)
	heads := func(c *audit.Config) {
		d, err := audit.Open(b.dir, filepath.Join(b.dir, "h"))
		b.check(err)
		c.Log = d
	}
	r := b.run(heads)
	if got := found(r); got != nil || r.Checkpoints != 3 || r.Heads != 2 {
		t.Errorf("%v; %d checkpoints, %d heads", got, r.Checkpoints, r.Heads)
	}
	whole := b.read("h/00000001.heads")
	// The end of the last segment may be torn, and nothing else may.
	b.write("h/00000001.heads", append(bytes.Clone(whole[:len(whole)-9]), 0, 0))
	if got := found(b.run(heads)); got != nil {
		t.Error(got)
	}
	b.write("h/00000001.heads", whole)
	b.flip("h/00000001.heads", len(whole)/2)
	if got := b.run(heads); len(got.Findings) != 1 || got.Findings[0].Rule != audit.Archive {
		t.Error(found(got))
	}
	b.write("h/00000003.heads", whole)
	b.write("h/00000001.heads", whole)
	if got := b.run(heads); len(got.Findings) != 1 || got.Findings[0].Rule != audit.Archive {
		t.Error(found(got))
	}
}

// TestOlderPolicy audits a log that had another key and other witnesses before.
func TestOlderPolicy(t *testing.T) {
	b := build(t)
	b.fill(300)
	b.publish(100)
	before := b.policy
	text, witnesses := "", b.witnesses
	b.log, b.witnesses = nil, nil
	for _, name := range []string{origin, "w9.example"} {
		role := map[bool]checkpoint.Role{true: checkpoint.LogRole, false: checkpoint.WitnessRole}[name == origin]
		skey, vkey, err := checkpoint.GenerateKey(name, checkpoint.Ed25519, role)
		b.check(err)
		s, err := checkpoint.NewSigner(skey)
		b.check(err)
		if name == origin {
			b.log, text = s, "log "+vkey+"\n"
		} else {
			b.witnesses, text = append(b.witnesses, s), text+"witness w9 "+vkey+"\nquorum w9\n"
		}
	}
	var err error
	b.policy, err = policy.Parse([]byte(text))
	b.check(err)
	b.write("checkpoint", b.sign(300))
	b.write("archive/300", b.sign(300))
	if r := b.run(); len(r.Findings) != 1 || r.Findings[0].Rule != audit.Signature {
		t.Error(found(r))
	}
	r := b.run(func(c *audit.Config) { c.Older = []*policy.Policy{before} })
	if !r.Holds() || r.Checkpoints != 2 {
		t.Errorf("%v, %d checkpoints", found(r), r.Checkpoints)
	}
	// Another policy's witnesses are no excuse for a newest checkpoint.
	b.witnesses = witnesses
	b.write("checkpoint", b.sign(300))
	d, err := audit.Open(b.dir, "")
	b.check(err)
	_, err = audit.Run(t.Context(), audit.Config{Log: d, Policy: b.policy, Older: []*policy.Policy{before}})
	if _, ok := errors.AsType[*policy.QuorumError](err); !ok {
		t.Error(err)
	}
}

// TestNoArchive audits a copy that came without one.
func TestNoArchive(t *testing.T) {
	b := build(t)
	b.fill(300)
	b.publish()
	b.check(os.RemoveAll(filepath.Join(b.dir, "archive")))
	r := b.run()
	want := []string{"no archive of checkpoints was read: when entries were logged is known by the newest checkpoint alone"}
	if diff := cmp.Diff(want, r.Notes); diff != "" || !r.Holds() {
		t.Error(diff, found(r))
	}
}

// TestNothingToAudit has errors where there is no log to find anything in.
func TestNothingToAudit(t *testing.T) {
	b := build(t)
	if _, err := audit.Open(b.dir, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := audit.Open(filepath.Join(b.dir, "none"), ""); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	b.publish()
	if _, err := audit.Open(b.dir, filepath.Join(b.dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	d, err := audit.Open(b.dir, "")
	b.check(err)
	if _, err := audit.Run(t.Context(), audit.Config{Log: d, Policy: build(t).policy}); !errors.Is(err, policy.ErrNotSigned) {
		t.Error(err)
	}
}
