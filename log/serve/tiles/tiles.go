// Package tiles serves a log to anybody who can read files over HTTP:
// c2sp.org/tlog-tiles, and the checkpoint archive beside it.
//
//	GET <prefix>/checkpoint        the newest published checkpoint
//	GET <prefix>/verified/checkpoint
//	                               the newest that the index verifiers cosigned too
//	GET <prefix>/tile/...          tiles and entry bundles of the published tree
//	GET <prefix>/archive/<size>    the published checkpoint of the smallest size
//	                               that is at least <size>
//
// HEAD is answered like GET; nothing else is. It trusts no request: a path is
// parsed into coordinates and never joined to a directory. It keeps no state, a
// crash means nothing to it, and it may be used concurrently.
package tiles

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"strconv"
	"strings"

	"idlog/log"
	"idlog/proto/checkpoint"
	"idlog/proto/tile"
)

// Log is what is served; a *log.Log is one. All methods are called
// concurrently.
type Log interface {
	// Published returns the newest published checkpoint, or false.
	Published() (log.Published, bool)
	// Verified returns the newest one that is cosigned by the index verifiers too,
	// or false.
	Verified() (log.Published, bool)
	// Resource returns the tile or bundle at a path, as far as it is published,
	// or fs.ErrNotExist.
	Resource(ctx context.Context, path string) ([]byte, error)
	// Archived returns the published checkpoint of the smallest size that is at
	// least size, or fs.ErrNotExist.
	Archived(ctx context.Context, size int64) ([]byte, error)
}

// New returns the handler of a log for the URL paths below prefix, which is
// empty or begins with a slash and does not end with one. Paths that are not the
// log's, in the one way of writing them, are 404; other methods 405; what the
// disk fails to give 500, without a reason.
func New(l Log, prefix string) http.Handler {
	return &handler{log: l, prefix: prefix + "/"}
}

type handler struct {
	log    Log
	prefix string
}

const (
	text   = "text/plain; charset=utf-8"
	binary = "application/octet-stream"

	// A checkpoint is served fresh, but a crowd of readers may share one for a
	// second. What a published size contains never changes.
	brief   = "public, max-age=1"
	forever = "public, max-age=31536000, immutable"
)

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	path, ok := strings.CutPrefix(r.URL.Path, h.prefix)
	// SPEC: tlog-tiles paths are plain; an escaped one is another spelling.
	if !ok || r.URL.EscapedPath() != r.URL.Path {
		fail(w, http.StatusNotFound)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		fail(w, http.StatusMethodNotAllowed)
		return
	}
	size, archive := strings.CutPrefix(path, "archive/")
	switch {
	case path == "checkpoint", path == "verified/checkpoint":
		newest := h.log.Published
		if path != "checkpoint" {
			newest = h.log.Verified
		}
		p, ok := newest()
		if !ok {
			fail(w, http.StatusNotFound)
			return
		}
		send(w, r, text, brief, p.Note)
	case archive:
		n, err := checkpoint.ParseSize(size)
		if err != nil {
			fail(w, http.StatusBadRequest)
			return
		}
		note, err := h.log.Archived(r.Context(), n)
		if err != nil {
			failWith(w, err)
			return
		}
		// Thinning may leave a larger size for n, and late cosignatures come.
		send(w, r, text, brief, note)
	case strings.HasPrefix(path, "tile/"):
		h.tile(w, r, path)
	default:
		fail(w, http.StatusNotFound)
	}
}

func (h *handler) tile(w http.ResponseWriter, r *http.Request, path string) {
	c, err := tile.ParsePath(path)
	if err != nil {
		fail(w, http.StatusBadRequest)
		return
	}
	b, err := h.log.Resource(r.Context(), path)
	if err != nil {
		failWith(w, err)
		return
	}
	if c.Level == tile.Entries {
		w.Header().Set("Vary", "Accept-Encoding")
		if accepts(r, "gzip") {
			b = compress(b)
			w.Header().Set("Content-Encoding", "gzip")
		}
	}
	send(w, r, binary, forever, b)
}

func send(w http.ResponseWriter, r *http.Request, media, cache string, b []byte) {
	w.Header().Set("Content-Type", media)
	w.Header().Set("Cache-Control", cache)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	if r.Method != http.MethodHead {
		w.Write(b) // an error is the reader's going away
	}
}

func failWith(w http.ResponseWriter, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		fail(w, http.StatusNotFound)
		return
	}
	fail(w, http.StatusInternalServerError)
}

func fail(w http.ResponseWriter, status int) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, http.StatusText(status), status)
}

// accepts reports whether the request names an encoding without refusing it.
func accepts(r *http.Request, encoding string) bool {
	for _, v := range r.Header.Values("Accept-Encoding") {
		for part := range strings.SplitSeq(v, ",") {
			name, params, _ := strings.Cut(strings.TrimSpace(part), ";")
			q, has := strings.CutPrefix(strings.TrimSpace(params), "q=")
			if strings.TrimSpace(name) != encoding {
				continue
			}
			weight, err := strconv.ParseFloat(q, 64)
			return !has || err == nil && weight > 0
		}
	}
	return false
}

func compress(b []byte) []byte {
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed) // the level is valid
	z.Write(b)                                        // into memory
	z.Close()
	return out.Bytes()
}
