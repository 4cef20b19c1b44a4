package verify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"crypto/sha256"

	"idlog/proto/checkpoint"
	"idlog/proto/cosign"
	"idlog/proto/evidence"
	"idlog/proto/history/pebblekv"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/prototest"
	"idlog/witness"
	"idlog/witness/verify"
)

const origin = "acme.example/id/0"

var (
	logKey      = prototest.NewKey(origin, checkpoint.Ed25519, checkpoint.LogRole)
	verifierKey = prototest.NewKey("verifier.example", checkpoint.Ed25519, checkpoint.WitnessRole)
)

// A published is a log of ours behind a real HTTP server.
type published struct {
	*prototest.Log
	url string

	mu    sync.Mutex // guards what follows
	files map[string][]byte
	down  bool
	tiles int // requests for tiles and bundles
}

func newPublished(t *testing.T) *published {
	p := &published{Log: prototest.NewLog(origin, logKey), files: make(map[string][]byte)}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	p.url = s.URL + "/acme"
	return p
}

func (p *published) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if strings.Contains(r.URL.Path, "/tile/") {
		p.tiles++
	}
	if p.down {
		http.Error(rw, "down", http.StatusServiceUnavailable)
		return
	}
	b, ok := p.files[strings.TrimPrefix(r.URL.Path, "/acme/")]
	if !ok {
		http.NotFound(rw, r)
		return
	}
	rw.Write(b)
}

// publish publishes all that was appended, and returns the size.
func (p *published) publish() int64 {
	size := int64(len(p.Leaves))
	files := p.Resources(size)
	files["checkpoint"] = p.Note(size, 0)
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.Copy(p.files, files)
	return size
}

func (p *published) fall(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// event is a leaf of a few tags: those of a person, of a session and of a class, all of which come again.
func event(i int) []byte {
	h := func(what string, n int) leaf.Hash {
		return leaf.Hash(sha256.Sum256(fmt.Appendf(nil, "%s %d", what, n)))
	}
	b, err := (&leaf.Event{
		Log: "acme.example/id", Source: []string{"okta", "auth0"}[i%2], Received: 1790000000 + int64(i), Assurance: leaf.AssuranceSigned, Keys: 1,
		Fields: h("fields", i),
		Tags:   []leaf.Tag{{Field: 1, Value: h("id", i)}, {Field: 2, Value: h("person", i*i%17)}, {Field: 6, Value: h("class", i%3)}},
	}).Format()
	if err != nil {
		panic(err)
	}
	return b
}

// fill appends events until the log has that size.
func (p *published) fill(size int) {
	for i := len(p.Leaves); i < size; i++ {
		p.Append(event(i))
	}
}

// root appends a root leaf of a size, altered by change if it is not nil.
func (p *published) root(n int, change func(*leaf.Root)) {
	r := prototest.IndexOf(p.Leaves[:n]).Root(origin, 1790000000000)
	if change != nil {
		change(r)
	}
	b, err := r.Format()
	if err != nil {
		panic(err)
	}
	p.Append(b)
}

// A cosigner is a witness that verifies the index, over HTTP.
type cosigner struct {
	dir      string
	url      string
	store    *witness.Store
	verifier *verify.Verifier
	old      int64
	end      func()
	found    chan struct{}
}

func logsOf(t *testing.T, urls ...string) *witness.Logs {
	t.Helper()
	l, err := witness.ParseLogs([]byte("log " + logKey.VKey + " " + strings.Join(urls, " ") + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// start starts a cosigner, or starts it again, with what an earlier one has left in its folder.
func start(t *testing.T, dir, url string, tune func(*verify.Verifier)) *cosigner {
	t.Helper()
	state := filepath.Join(dir, "state")
	if _, err := os.Stat(state); errors.Is(err, fs.ErrNotExist) {
		if err := witness.CreateStore(state); err != nil {
			t.Fatal(err)
		}
	}
	store, err := witness.OpenStore(state)
	if err != nil {
		t.Fatal(err)
	}
	c := &cosigner{dir: dir, store: store, found: make(chan struct{}, 100)}
	logs := logsOf(t, url)
	c.verifier = verify.New(verify.Config{
		Dir: filepath.Join(dir, "index"), Open: pebblekv.Open, Store: store, Logs: logs, Poll: 20 * time.Millisecond,
		Found: func() { c.found <- struct{}{} },
	})
	if tune != nil {
		tune(c.verifier)
	}
	w, err := witness.New(witness.Config{PrivateKeys: []string{verifierKey.SKey}, Store: store, Logs: logs, Verify: c.verifier.Verify})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", w.Handler())
	mux.Handle("GET /{origin}/index-root/{size}", c.verifier.Handler())
	server := httptest.NewServer(mux)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.verifier.Run(ctx) })
	c.url = server.URL
	c.end = sync.OnceFunc(func() {
		server.Close()
		cancel()
		running.Wait()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(c.end)
	if latest := store.Latest(origin); latest != nil {
		c.old = latest.Size
	}
	return c
}

// add asks once for a cosignature.
func (c *cosigner) add(t *testing.T, p *published, size int64) (*http.Response, []byte) {
	t.Helper()
	body, err := cosign.Request{Old: c.old, Proof: p.Consistency(c.old, size), Checkpoint: p.Note(size, 0)}.Format()
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(c.url+"/add-checkpoint", "", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return res, reply(t, res)
}

func reply(t *testing.T, res *http.Response) []byte {
	t.Helper()
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// settle asks until the answer is not 503, and returns its status. A cosignature is verified.
func (c *cosigner) settle(t *testing.T, p *published, size int64) (int, string) {
	t.Helper()
	for began := time.Now(); ; {
		res, b := c.add(t, p, size)
		switch res.StatusCode {
		case http.StatusServiceUnavailable:
			if time.Since(began) > time.Minute/2 {
				t.Fatalf("still behind: %s", b)
			}
			if res.Header.Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
			continue
		case http.StatusOK:
			c.old = size
			note := append(p.Note(size, 0), b...)
			pol, err := policy.Parse([]byte("log " + logKey.VKey + "\nwitness v " + verifierKey.VKey + "\nquorum v\n"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := pol.Verify(note); err != nil {
				t.Errorf("size %d: %v", size, err)
			}
		}
		return res.StatusCode, string(b)
	}
}

// preview asks for the root of a size until the answer is not 503.
func (c *cosigner) preview(t *testing.T, n int) (int, string) {
	t.Helper()
	for {
		res, err := http.Get(fmt.Sprintf("%s/%x/index-root/%d", c.url, sha256.Sum256([]byte(origin)), n))
		if err != nil {
			t.Fatal(err)
		}
		if b := reply(t, res); res.StatusCode != http.StatusServiceUnavailable {
			return res.StatusCode, string(b)
		}
	}
}

// TestTrueRoots: a log whose root leaves are true is cosigned at every size, also those that it skipped, and over starts
// with the index that is there, and without it.
func TestTrueRoots(t *testing.T) {
	p, dir := newPublished(t), t.TempDir()
	p.fill(3)
	p.root(0, nil)
	p.fill(300)
	p.root(300, nil)
	p.root(300, nil)
	p.fill(700)
	p.Append([]byte("no leaf of ours"), []byte("tlog-index-root/v1\nnor is this\n"))
	p.root(511, nil)
	p.fill(900)
	small := int64(len(p.Leaves))
	p.publish()
	c := start(t, dir, p.url, nil)
	if code, says := c.settle(t, p, small-10); code != 200 {
		t.Fatalf("an older size: %d %s", code, says)
	}
	if code, says := c.settle(t, p, small); code != 200 {
		t.Fatalf("%d %s", code, says)
	}
	p.root(int(small), nil)
	p.fill(1500)
	c.end()

	c = start(t, dir, p.url, nil)
	if code, says := c.settle(t, p, p.publish()); code != 200 {
		t.Fatalf("after a start: %d %s", code, says)
	}
	c.end()
	if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
		t.Fatal(err)
	}
	p.root(1400, nil)
	p.fill(1600)
	c = start(t, dir, p.url, nil)
	if code, says := c.settle(t, p, p.publish()); code != 200 {
		t.Fatalf("without the index that was there: %d %s", code, says)
	}
	if s := c.verifier.Status(origin); s.Read != 1600 || s.Known != 1600 || s.Indexed != 1400 || s.Refused+s.Problem != "" {
		t.Errorf("%+v", s)
	}
}

// TestFalseRoots: after the first root leaf that is false nothing is cosigned any more, whatever its size, also after a
// start, and what shows it is kept and judged.
func TestFalseRoots(t *testing.T) {
	other := func(change func(entries [][]byte) [][]byte) func(*published) func(*leaf.Root) {
		return func(p *published) func(*leaf.Root) {
			return func(r *leaf.Root) {
				lie := prototest.IndexOf(change(append([][]byte(nil), p.Leaves[:r.N]...))).Root(origin, 0)
				r.Keys, r.MapRoot = lie.Keys, lie.MapRoot
			}
		}
	}
	plain := func(change func(*leaf.Root)) func(*published) func(*leaf.Root) {
		return func(*published) func(*leaf.Root) { return change }
	}
	for name, tc := range map[string]struct {
		before []int // true root leaves of these sizes come before it
		n      int
		lie    func(*published) func(*leaf.Root)
		says   string
		proven bool
		parts  []evidence.Type
	}{
		"an entry is left out": {n: 500, lie: other(func(e [][]byte) [][]byte { return append(e[:200], e[201:]...) }),
			says: "it names 513 keys and the map root", parts: []evidence.Type{evidence.Proof, evidence.Leaf}},
		"an entry is there twice": {n: 500, lie: other(func(e [][]byte) [][]byte { return append(e, e[3]) }),
			says: "it names", parts: []evidence.Type{evidence.Proof, evidence.Leaf}},
		"a posting is moved": {n: 500, lie: other(func(e [][]byte) [][]byte { e[10], e[11] = e[11], e[10]; return e }),
			says: "it names", parts: []evidence.Type{evidence.Proof, evidence.Leaf}},
		"the number of keys": {before: []int{100}, n: 500, lie: plain(func(r *leaf.Root) { r.Keys++ }),
			says: "it names", parts: []evidence.Type{evidence.Proof, evidence.Leaf}},
		"the root of the log": {n: 500, lie: plain(func(r *leaf.Root) { r.LogRoot[0]++ }),
			says: "another root of the first 500 entries", proven: true, parts: []evidence.Type{evidence.Proof, evidence.Consistency}},
		"two roots of one size": {before: []int{400}, n: 400, lie: plain(func(r *leaf.Root) { r.MapRoot[0]++ }),
			says: "names the same size, 400, with other hashes", proven: true, parts: []evidence.Type{evidence.Proof, evidence.Proof}},
		"sizes descend": {before: []int{300, 400}, n: 399, lie: plain(nil),
			says: "speaks of 399 entries, and the root leaf before it of 400", proven: true, parts: []evidence.Type{evidence.Proof, evidence.Proof}},
		"roots of nothing": {n: 0, lie: plain(func(r *leaf.Root) { r.Keys = 1 }),
			says: "it names 1 keys", proven: true, parts: []evidence.Type{evidence.Proof}},
		"a size above it": {n: 500, lie: plain(func(r *leaf.Root) { r.N = 600 }),
			says: "it speaks of 600 entries", proven: true, parts: []evidence.Type{evidence.Proof}},
		"another log": {n: 500, lie: plain(func(r *leaf.Root) { r.Origin = "acme.example/id/1" }),
			says: "it names another log", proven: true, parts: []evidence.Type{evidence.Proof}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, dir := newPublished(t), t.TempDir()
			p.fill(500)
			for _, n := range tc.before {
				p.root(n, nil)
			}
			p.fill(520)
			c := start(t, dir, p.url, nil)
			if code, says := c.settle(t, p, p.publish()); code != 200 {
				t.Fatalf("before it: %d %s", code, says)
			}
			p.root(tc.n, tc.lie(p))
			p.fill(700)
			bad := p.publish()
			for range 2 {
				code, says := c.settle(t, p, bad)
				if code != 422 || !strings.Contains(says, "the root leaf at 52") || !strings.Contains(says, tc.says) {
					t.Errorf("%d %s", code, says)
				}
				if code, _ := c.settle(t, p, c.old); code != 422 {
					t.Errorf("what was cosigned before: %d", code)
				}
				if code, _ := c.preview(t, 100); code != 422 {
					t.Errorf("a preview: %d", code)
				}
				c.end()
				c = start(t, dir, p.url, nil)
			}
			kept, err := c.store.Contradictions()
			if err != nil || len(kept) != 1 || kept[0].Proven != tc.proven || !kept[0].Against(origin) {
				t.Fatalf("kept %+v, %v", kept, err)
			}
			b, err := c.store.Evidence(kept[0].Name)
			if err != nil {
				t.Fatal(err)
			}
			e, err := evidence.Parse(b)
			if err != nil || e.Claim != evidence.BadRoot || len(e.Parts) != len(tc.parts) {
				t.Fatalf("%+v, %v", e, err)
			}
			for i, part := range e.Parts {
				if part.Type != tc.parts[i] {
					t.Errorf("part %d is a %s", i, part.Type)
				}
			}
			if last := e.Parts[len(e.Parts)-1]; last.Type == evidence.Leaf {
				if want, _ := prototest.IndexOf(p.Leaves[:tc.n]).Root(origin, 0).Format(); !bytes.Equal(last.Data, want) {
					t.Errorf("the true root leaf is\n%swant\n%s", last.Data, want)
				}
			}
			pol, err := policy.Parse([]byte("log " + logKey.VKey + "\nquorum none\n"))
			if err != nil {
				t.Fatal(err)
			}
			v, err := evidence.Judge(e, pol)
			if err != nil || v.Proven != tc.proven || v.Accused != origin {
				t.Errorf("%+v, %v", v, err)
			}
		})
	}
}

// TestBehind: while the log cannot be read the answer is 503, and afterwards the cosignature.
func TestBehind(t *testing.T) {
	p := newPublished(t)
	p.fill(600)
	size := p.publish()
	p.fall(true)
	c := start(t, t.TempDir(), p.url, nil)
	res, says := c.add(t, p, size)
	if res.StatusCode != 503 || res.Header.Get("Retry-After") != "1" || !strings.Contains(string(says), "0 of 600 entries are verified") {
		t.Errorf("%d %s", res.StatusCode, says)
	}
	p.fall(false)
	if code, says := c.settle(t, p, size); code != 200 {
		t.Errorf("%d %s", code, says)
	}
	// What is published without being brought is found by asking.
	p.fill(800)
	p.publish()
	for c.verifier.Status(origin).Read < 800 {
		time.Sleep(time.Millisecond)
	}
}

// TestReadsOnce: what a log has is fetched once, but for the few tiles at the edges.
func TestReadsOnce(t *testing.T) {
	p := newPublished(t)
	p.fill(12000)
	size := p.publish()
	c := start(t, t.TempDir(), p.url, nil)
	if code, says := c.settle(t, p, size); code != 200 {
		t.Fatalf("%d %s", code, says)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if all := 2 * 12000 / 256; p.tiles < all || p.tiles > all+12 {
		t.Errorf("%d requests for %d resources", p.tiles, all)
	}
}

// TestFork: a checkpoint of another tree than the published one is refused, and kept as evidence; so is a log whose
// published tree does not continue what was read.
func TestFork(t *testing.T) {
	p, dir := newPublished(t), t.TempDir()
	p.fill(600)
	size := p.publish()
	c := start(t, dir, p.url, nil)
	other := &published{Log: prototest.NewLog(origin, logKey)}
	other.fill(500)
	other.Append([]byte("another entry"))
	for c.verifier.Status(origin).Read < size {
		time.Sleep(time.Millisecond)
	}
	if code, says := c.settle(t, other, 501); code != 422 || !strings.Contains(says, "not of the tree that the log has published") {
		t.Errorf("%d %s", code, says)
	}
	<-c.found
	if code, says := c.settle(t, p, size); code != 200 {
		t.Errorf("%d %s", code, says)
	}
	c.end()

	// The other tree grows and is the published one now.
	for i := range 300 {
		other.Append(event(i + 5000))
	}
	other.url, other.files = p.url, make(map[string][]byte)
	other.publish()
	p.mu.Lock()
	p.files = other.files
	p.mu.Unlock()
	c = start(t, dir, p.url, nil)
	<-c.found
	kept, err := c.store.Contradictions()
	if err != nil || len(kept) != 2 {
		t.Fatalf("%+v, %v", kept, err)
	}
	pol, err := policy.Parse([]byte("log " + logKey.VKey + "\nquorum none\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kept {
		b, err := c.store.Evidence(k.Name)
		if err != nil {
			t.Fatal(err)
		}
		e, err := evidence.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := evidence.Judge(e, pol); err != nil || !v.Proven || v.Claim != evidence.Fork {
			t.Errorf("%s: %+v, %v", k.Name, v, err)
		}
	}
}

// TestPreview: the root of any size that was read, also of one before another that was asked for; what has no answer says so.
func TestPreview(t *testing.T) {
	p := newPublished(t)
	p.fill(900)
	p.publish()
	c := start(t, t.TempDir(), p.url, nil)
	for _, n := range []int{0, 700, 1, 256, 255, 699, 900, 700, 650, 2} {
		want, err := prototest.IndexOf(p.Leaves[:n]).Root(origin, 0).Format()
		if err != nil {
			t.Fatal(err)
		}
		if code, says := c.preview(t, n); code != 200 || says != string(want) {
			t.Errorf("size %d: %d\n%swant\n%s", n, code, says, want)
		}
	}
	for path, want := range map[string]int{
		"/" + strings.Repeat("0", 64) + "/index-root/1":                        404,
		fmt.Sprintf("/%x/index-root/01", sha256.Sum256([]byte(origin))):        400,
		fmt.Sprintf("/%x/index-root/123456", sha256.Sum256([]byte(origin))):    503,
		fmt.Sprintf("/%x/index-root/900/extra", sha256.Sum256([]byte(origin))): 404,
	} {
		res, err := http.Get(c.url + path)
		if err != nil {
			t.Fatal(err)
		}
		if reply(t, res); res.StatusCode != want {
			t.Errorf("%s: status %d", path, res.StatusCode)
		}
	}
}

// TestPassedSize: a root leaf may speak of a size that the index has passed: it goes back, or is built again if it would
// have to go back too far; the verdict is the same.
func TestPassedSize(t *testing.T) {
	for name, rewind := range map[string]int64{"goes back": 1 << 20, "is built again": 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPublished(t)
			p.fill(6000)
			p.publish()
			c := start(t, t.TempDir(), p.url, func(v *verify.Verifier) { v.SetHold(100, rewind) })
			if code, says := c.preview(t, 6000); code != 200 {
				t.Fatalf("%d %s", code, says)
			}
			p.root(4321, nil)
			p.fill(6100)
			if code, says := c.settle(t, p, p.publish()); code != 200 {
				t.Errorf("a true one: %d %s", code, says)
			}
			p.root(5000, func(r *leaf.Root) { r.MapRoot[0]++ })
			p.fill(6200)
			if code, says := c.settle(t, p, p.publish()); code != 422 {
				t.Errorf("a false one: %d %s", code, says)
			}
		})
	}
}

// TestLogs: a log without a URL is never verified; one that is taken out, given another URL or put back is followed as
// the list says.
func TestLogs(t *testing.T) {
	p := newPublished(t)
	p.fill(100)
	size := p.publish()
	c := start(t, t.TempDir(), "", nil)
	if res, says := c.add(t, p, size); res.StatusCode != 503 || !strings.Contains(string(says), "no URL") {
		t.Errorf("without a URL: %d %s", res.StatusCode, says)
	}
	c.verifier.SetLogs(logsOf(t, "http://log.example/acme"))
	if res, says := c.add(t, p, size); res.StatusCode != 503 || !strings.Contains(string(says), "https") {
		t.Errorf("with a URL that is not secure: %d %s", res.StatusCode, says)
	}
	none, err := witness.ParseLogs(nil)
	if err != nil {
		t.Fatal(err)
	}
	c.verifier.SetLogs(none)
	if res, says := c.add(t, p, size); res.StatusCode != 503 || !strings.Contains(string(says), "not followed") {
		t.Errorf("without the log: %d %s", res.StatusCode, says)
	}
	c.verifier.SetLogs(logsOf(t, p.url))
	if code, says := c.settle(t, p, size); code != 200 {
		t.Errorf("with it: %d %s", code, says)
	}
	if asked := c.verifier.Status(origin); asked.Read != size {
		t.Errorf("%+v", asked)
	}
}
