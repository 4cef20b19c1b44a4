package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"crypto/sha256"

	"idlog/proto/checkpoint"
	"idlog/proto/cosign"
	"idlog/proto/leaf"
	"idlog/proto/prototest"
)

// TestVerifyIndex is a witness that verifies the index: behind, then well, killed at any time, and at the end refusing for
// ever; its pages say so.
func TestVerifyIndex(t *testing.T) {
	key := prototest.NewKey("acme.example/id/0", checkpoint.Ed25519, checkpoint.LogRole)
	log := prototest.NewLog("acme.example/id/0", key)
	var files atomic.Pointer[map[string][]byte]
	site := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		b, ok := (*files.Load())[strings.TrimPrefix(r.URL.Path, "/")]
		if !ok {
			http.NotFound(rw, r)
			return
		}
		rw.Write(b)
	}))
	t.Cleanup(site.Close)
	none := make(map[string][]byte)
	files.Store(&none)
	publish := func() int64 {
		size := int64(len(log.Leaves))
		now := log.Resources(size)
		now["checkpoint"] = log.Note(size, 0)
		files.Store(&now)
		return size
	}
	root := func(n int64, change func(*leaf.Root)) {
		r := prototest.IndexOf(log.Leaves[:n]).Root(log.Origin, 1)
		if change != nil {
			change(r)
		}
		b, err := r.Format()
		if err != nil {
			t.Fatal(err)
		}
		log.Append(b)
	}
	dir, _ := newWitness(t)
	mustRun(t, "add-log", "--dir", dir, key.VKey, site.URL)
	d := startDaemon(t, dir, "--verify-index", "--admin", "127.0.0.1:0")
	old := int64(0)
	add := func(size int64) reply {
		b, err := cosign.Request{Old: old, Proof: log.Consistency(old, size), Checkpoint: log.Note(size, 0)}.Format()
		if err != nil {
			t.Fatal(err)
		}
		return d.do("POST", "/add-checkpoint", string(b))
	}
	settle := func(size int64, want int) (got reply) {
		t.Helper()
		d.await("an answer", func() bool { got = add(size); return got.Status != 503 })
		if got.Status != want {
			t.Errorf("size %d: %+v", size, got)
		}
		if got.Status == 200 {
			old = size
		}
		return got
	}
	log.Fill(700)
	root(500, nil)
	log.Fill(900)
	if got := add(900); got.Status != 503 || !strings.Contains(got.Body, "0 of 900 entries are verified") {
		t.Errorf("before anything is published: %+v", got)
	}
	settle(publish(), 200)

	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL} {
		d.end(sig)
		d = startDaemon(t, dir, "--verify-index", "--admin", "127.0.0.1:0")
		n := int64(len(log.Leaves))
		log.Fill(n + 200)
		root(n+100, nil)
		settle(publish(), 200)
	}
	path := fmt.Sprintf("/%x/index-root/1000", sha256.Sum256([]byte(log.Origin)))
	want, err := prototest.IndexOf(log.Leaves[:1000]).Root(log.Origin, 0).Format()
	if got := d.do("GET", path, ""); err != nil || got.Status != 200 || got.Body != string(want) {
		t.Errorf("preview: %+v, want\n%s", got, want)
	}
	state := func() logStatus {
		t.Helper()
		var s status
		if err := json.Unmarshal([]byte(d.do("GET", "/status.json", "").Body), &s); err != nil || len(s.Logs) != 1 || s.Logs[0].Index == nil {
			t.Fatalf("%+v, %v", s, err)
		}
		return s.Logs[0]
	}
	if i := state().Index; *i != (indexStatus{Verified: old, Known: old}) {
		t.Errorf("%+v", i)
	}

	before := old
	root(1450, func(r *leaf.Root) { r.MapRoot[0]++ })
	bad := publish()
	says := settle(bad, 422).Body
	d.end(syscall.SIGKILL)
	d = startDaemon(t, dir, "--verify-index", "--admin", "127.0.0.1:0")
	if again := settle(before, 422).Body; again != says || !strings.Contains(says, fmt.Sprintf("the root leaf at %d is false", before)) {
		t.Errorf("%q, then %q", says, again)
	}
	if l := state(); l.Index.Refused == "" || len(l.Contradictions) != 1 || l.Contradictions[0].Proven {
		t.Errorf("%+v", l)
	}
	if page := d.do("GET", "/", "").Body; !strings.Contains(page, "refused for ever: the root leaf at") {
		t.Errorf("the page does not say so:\n%s", page)
	}
	if metrics := d.ask("GET", d.admin+"/metrics", "").Body; !strings.Contains(metrics, `idlog_witness_index_refused{log="acme.example/id/0"} 1`) {
		t.Errorf("the metrics do not say so:\n%s", metrics)
	}
	if code := d.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d\n%s", code, d.stderr)
	}
}
