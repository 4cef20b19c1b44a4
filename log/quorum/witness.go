package quorum

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"idlog/log/heads"
	"idlog/proto/checkpoint"
	"idlog/proto/cosign"
	"idlog/proto/leaf"
	"idlog/proto/policy"
)

const (
	timeout    = 2 * time.Second // of one request
	maxReply   = 16 << 10        // bytes read of a reply: five ML-DSA-44 lines
	backoffMin = 50 * time.Millisecond
	backoffMax = 3 * time.Second // so that publishing resumes within seconds
)

// A round asks every witness to cosign one signed checkpoint.
type round struct {
	number int64
	head   *heads.Head
	note   []byte
}

// A witness is the caller of one witness of the policy. Its run goroutine owns
// it; the publisher hands rounds in and reads answers.
type witness struct {
	name     string
	url      string
	verifier note.Verifier
	origin   string
	keys     []note.Verifier // ours
	client   *http.Client
	prove    func(ctx context.Context, from, to int64) ([]leaf.Hash, error)
	rounds   chan *round // holds the newest; the publisher replaces it
	observed observed
	size     int64 // what it cosigned last, as far as we know
}

// newWitness checks a witness of the policy. One without a URL cannot be called:
// its word and its cosignature are missing.
func newWitness(w policy.Witness, c *Config, client *http.Client) (*witness, error) {
	v, err := checkpoint.NewVerifier(w.VKey)
	if err != nil {
		return nil, fmt.Errorf("witness %s: %w", w.Name, err)
	}
	u, err := url.Parse(w.URL)
	if err != nil {
		return nil, fmt.Errorf("witness %s: %w", w.Name, err)
	}
	if w.URL != "" && u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
		return nil, fmt.Errorf("witness %s: %q is not an https URL, nor one of this host", w.Name, w.URL)
	}
	return &witness{
		name: w.Name, url: strings.TrimSuffix(w.URL, "/"), verifier: v, origin: c.Origin, keys: c.Keys,
		client: client, prove: c.Prove, rounds: make(chan *round, 1),
	}, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// callClient takes the caller's transport and lets no redirect lead it
// elsewhere.
func callClient(c *http.Client) *http.Client {
	if c == nil {
		c = &http.Client{Transport: &http.Transport{
			DisableCompression: true, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 2,
			IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: timeout,
		}}
	}
	own := *c
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	own.Jar = nil
	return &own
}

// ask hands the witness a round in place of an older one that it has not begun.
// Only the publisher calls it.
func (w *witness) ask(r *round) {
	select {
	case <-w.rounds:
	default:
	}
	w.rounds <- r
}

// run answers rounds until ctx ends. A round that failed is tried again, later
// and later, until a newer one takes its place.
func (w *witness) run(ctx context.Context, answers chan<- Answer) error {
	var r *round
	backoff := backoffMin
	for {
		if r == nil {
			select {
			case r = <-w.rounds:
			case <-ctx.Done():
				return nil
			}
		}
		began := time.Now()
		a := w.cosign(ctx, r)
		a.took = time.Since(began)
		select {
		case answers <- a:
		case <-ctx.Done():
			return nil
		}
		if a.err == nil {
			r, backoff = nil, backoffMin
			continue
		}
		wait := backoff
		if refused, ok := errors.AsType[*statusError](a.err); ok && refused.after > 0 {
			wait, backoff = min(refused.after, backoffMax), backoffMin
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
		backoff = min(2*backoff, backoffMax)
		select {
		case r = <-w.rounds:
		default:
		}
	}
}

// cosign makes one attempt: one request, and a second one if the witness names
// another size than we thought it has.
func (w *witness) cosign(ctx context.Context, r *round) Answer {
	a := Answer{Witness: w.name, round: r.number, Size: r.head.Size}
	if w.url == "" {
		a.err = fmt.Errorf("witness %s has no URL in the policy", w.name)
		return a
	}
	old := min(w.size, r.head.Size)
	for attempt := 0; ; attempt++ {
		sigs, size, err := w.add(ctx, r, old)
		switch {
		case err != nil:
			a.err = fmt.Errorf("witness %s: %w", w.name, err)
			return a
		case sigs != nil:
			w.size = r.head.Size
			a.sigs, a.answered = sigs, true
			return a
		case size > r.head.Size || size == old:
			// It has a larger tree of ours, or another one of this size.
			w.size = size
			a.claims, a.claimed = true, size
			a.Proof, a.Shown, err = w.latest(ctx, &r.head.Checkpoint)
			a.err = fmt.Errorf("witness %s says that it cosigned another tree of size %d: %w", w.name, size, err)
			return a
		}
		a.answered = true
		w.size, old = size, size
		if attempt > 0 {
			a.err = fmt.Errorf("witness %s named two sizes, now %d", w.name, size)
			return a
		}
	}
}

// add sends one add-checkpoint request. It returns cosignatures, or nil and the
// size of a 409.
func (w *witness) add(ctx context.Context, r *round, old int64) ([]checkpoint.Signature, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	proof, err := w.prove(ctx, old, r.head.Size)
	if err != nil {
		return nil, 0, fmt.Errorf("proving consistency: %w", err)
	}
	body, err := cosign.Request{Old: old, Proof: proof, Checkpoint: r.note}.Format()
	if err != nil {
		return nil, 0, err
	}
	status, header, reply, err := w.do(ctx, http.MethodPost, w.url+"/add-checkpoint", body)
	if err != nil {
		return nil, 0, err
	}
	switch status {
	case http.StatusOK:
		sigs, err := cosign.ParseCosignatures(reply)
		if err != nil {
			return nil, 0, err
		}
		sigs, err = w.own(sigs, r.head.Text)
		return sigs, 0, err
	case http.StatusConflict:
		if t, _, err := mime.ParseMediaType(header.Get("Content-Type")); err != nil || t != cosign.SizeType {
			return nil, 0, errors.New("409 without a size")
		}
		size, err := cosign.ParseSize(reply)
		return nil, size, err
	default:
		return nil, 0, refusal(status, header, reply)
	}
}

// A statusError is an answer that is neither a cosignature nor a size.
type statusError struct {
	code  int
	after time.Duration // when to ask again; 0 if the witness does not say
	says  string        // the first line of what it says, at most 200 bytes, for people
}

func (e *statusError) Error() string {
	if e.says == "" {
		return fmt.Sprintf("status %d", e.code)
	}
	return fmt.Sprintf("status %d: %q", e.code, e.says)
}

func refusal(code int, header http.Header, reply []byte) *statusError {
	e := &statusError{code: code}
	if s, err := strconv.Atoi(header.Get("Retry-After")); err == nil && s > 0 && s < 3600 {
		e.after = time.Duration(s) * time.Second
	}
	line, _, _ := bytes.Cut(reply, []byte("\n"))
	e.says = string(line[:min(len(line), 200)])
	return e
}

// own returns the lines of the witness's key. They must verify; lines of keys
// that we do not know are ignored.
func (w *witness) own(sigs []checkpoint.Signature, text []byte) ([]checkpoint.Signature, error) {
	for _, s := range sigs {
		if s.Name != w.verifier.Name() || s.ID != w.verifier.KeyHash() {
			continue
		}
		if _, ok := s.Time(); !ok || !w.verifier.Verify(text, s.Bytes) {
			return nil, errors.New("its cosignature does not verify")
		}
		return []checkpoint.Signature{s}, nil
	}
	return nil, errors.New("its reply has no cosignature of its key")
}

// latest fetches what the witness shows to monitors and returns it if it proves
// that our keys signed a tree that is not under c.
//
// SPEC: tlog-witness: <monitoring prefix>/<hex SHA-256 of origin>/checkpoint. A
// policy has only the submission prefix, which the two usually share.
func (w *witness) latest(ctx context.Context, c *checkpoint.Checkpoint) ([]byte, checkpoint.Checkpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	none := checkpoint.Checkpoint{}
	status, _, signed, err := w.do(ctx, http.MethodGet, fmt.Sprintf("%s/%x/checkpoint", w.url, sha256.Sum256([]byte(w.origin))), nil)
	if err != nil {
		return nil, none, err
	}
	if status != http.StatusOK {
		return nil, none, fmt.Errorf("asking for proof: status %d", status)
	}
	seen, by, err := checkpoint.Open(signed, w.origin, w.keys...)
	switch {
	case err != nil:
		return nil, none, fmt.Errorf("asking for proof: %w", err)
	case by == 0:
		return nil, none, errors.New("asking for proof: what it shows is not signed by the log's keys")
	case seen.Size < c.Size || seen.Size == c.Size && seen.Root == c.Root:
		return nil, none, fmt.Errorf("asking for proof: it shows size %d, which proves nothing", seen.Size)
	}
	return signed, seen, errors.New("it has the proof")
}

func (w *witness) do(ctx context.Context, method, target string, body []byte) (int, http.Header, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := w.client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err != nil {
		return 0, nil, nil, err
	}
	if len(reply) > maxReply {
		return 0, nil, nil, fmt.Errorf("its reply is larger than %d bytes", maxReply)
	}
	return resp.StatusCode, resp.Header, reply, nil
}
