package witness

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/time/rate"

	"idlog/proto/checkpoint"
	"idlog/proto/cosign"
)

// Config is what New needs. Keys, Store and Logs must be set.
type Config struct {
	// PrivateKeys are the witness's own, type 4 (Ed25519) or 6 (ML-DSA-44), of
	// one name. Every reply has a line of each, in this order.
	PrivateKeys []string
	// Store is the caller's to close, after the last request.
	Store *Store
	// Logs are those the witness cosigns for; SetLogs replaces them.
	Logs *Logs
	// Logger gets refusals that tell of a log's or our own misbehaviour. Nil
	// discards them.
	Logger *slog.Logger
	// LogRate is how many checkpoints of one log are cosigned in a second, on
	// average, and LogBurst how many at once; a request beyond that is answered
	// 429 and changes nothing. Only what would be cosigned counts, so that nobody
	// but those who hold a log's checkpoints can use up its share. LogRate 0 is no
	// limit.
	LogRate  float64
	LogBurst int
	// Found, if not nil, is called after a contradiction was kept, by the
	// goroutine of the request; it must not block.
	Found func()
	// Verify, if not nil, is asked about each checkpoint that would be cosigned:
	// signed is its note with the signatures of its log. It may wait for moments.
	// A Decision of another status than 200 is the answer, and nothing was done;
	// 503 is for what another time may be otherwise.
	Verify func(ctx context.Context, c checkpoint.Checkpoint, signed []byte) Decision
}

// A Witness answers requests. It owns no goroutine.
type Witness struct {
	keys    []checkpoint.Key
	signers []note.Signer
	store   *Store
	logs    atomic.Pointer[Logs]
	logger  *slog.Logger
	// slots bounds the requests that are judged at once. Anyone may send one, and
	// each may cost many signature checks and a sync. Reading a body takes none,
	// so that slow clients hold up nobody.
	slots chan struct{}
	rate  rate.Limit
	burst int
	found func()
	check func(ctx context.Context, c checkpoint.Checkpoint, signed []byte) Decision

	mu       sync.Mutex               // guards limiters
	limiters map[string]*rate.Limiter // by origin; only of logs in the list
}

// errClock says that our clock stands before our own last cosignature.
var errClock = errors.New("the clock is before the last cosignature")

// New returns a witness. It refuses keys that are not a witness's, that have
// different names, or that are also keys of a log.
func New(c Config) (*Witness, error) {
	w := &Witness{
		store: c.Store, logger: c.Logger, slots: make(chan struct{}, 64), found: c.Found, check: c.Verify,
		rate: rate.Limit(c.LogRate), burst: max(1, c.LogBurst), limiters: make(map[string]*rate.Limiter),
	}
	if c.LogRate == 0 {
		w.rate = rate.Inf
	}
	if w.logger == nil {
		w.logger = slog.New(slog.DiscardHandler)
	}
	if len(c.PrivateKeys) == 0 {
		return nil, errors.New("starting witness: no key")
	}
	for _, skey := range c.PrivateKeys {
		vkey, err := checkpoint.VKey(skey)
		if err != nil {
			return nil, fmt.Errorf("starting witness: %w", err)
		}
		k, err := checkpoint.ParseVKey(vkey)
		if err != nil {
			return nil, fmt.Errorf("starting witness: %w", err)
		}
		if !k.Serves(checkpoint.WitnessRole) {
			return nil, fmt.Errorf("starting witness: the key of %s is a log's", k.Name)
		}
		if len(w.keys) > 0 && w.keys[0].Name != k.Name {
			return nil, fmt.Errorf("starting witness: keys of two names, %s and %s", w.keys[0].Name, k.Name)
		}
		if slices.ContainsFunc(w.keys, func(o checkpoint.Key) bool { return o.ID == k.ID || o.Alg == k.Alg }) {
			return nil, errors.New("starting witness: two keys of one algorithm")
		}
		s, err := checkpoint.NewSigner(skey)
		if err != nil {
			return nil, fmt.Errorf("starting witness: %w", err)
		}
		w.keys, w.signers = append(w.keys, k), append(w.signers, s)
	}
	if err := w.SetLogs(c.Logs); err != nil {
		return nil, fmt.Errorf("starting witness: %w", err)
	}
	return w, nil
}

// VKeys returns the public keys, in the order of Config.PrivateKeys.
func (w *Witness) VKeys() []string {
	var vkeys []string
	for _, k := range w.keys {
		vkeys = append(vkeys, k.VKey())
	}
	return vkeys
}

// SetLogs replaces the logs from the next request on. What is remembered of a
// log that is no longer in the list stays. With an error nothing changes.
func (w *Witness) SetLogs(l *Logs) error {
	for _, k := range w.keys {
		// Our name is not an origin either: a line under it would be of two roles.
		if origin, ok := l.public[string(k.Public)]; ok || len(l.keys[k.Name]) > 0 {
			return fmt.Errorf("setting logs: the witness %s is itself a log of the list, %s", k.Name, origin)
		}
	}
	w.logs.Store(l)
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.limiters, func(origin string, _ *rate.Limiter) bool { return !l.Has(origin) })
	return nil
}

// Logs returns the list in force.
func (w *Witness) Logs() *Logs { return w.logs.Load() }

// allow takes one of what an origin of the list may have cosigned.
func (w *Witness) allow(origin string) bool {
	if w.rate == rate.Inf {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.limiters[origin]
	if l == nil {
		l = rate.NewLimiter(w.rate, w.burst)
		w.limiters[origin] = l
	}
	return l.Allow()
}

// Handler serves POST /add-checkpoint and, for monitors, GET
// /<hex SHA-256 of origin>/checkpoint. Submission and monitoring prefix of the
// specification are the same; a caller that wants another strips it. Limits on
// the body are set here, those on headers and time are the server's.
func (w *Witness) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", w.addCheckpoint)
	mux.HandleFunc("GET /{origin}/checkpoint", w.latest)
	return mux
}

func (w *Witness) addCheckpoint(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, cosign.MaxRequest))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		http.Error(rw, fmt.Sprintf("more than %d bytes", tooLarge.Limit), http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		http.Error(rw, "the body ended early", http.StatusBadRequest)
		return
	}
	req, err := ParseRequest(body)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	case <-r.Context().Done():
		http.Error(rw, "the client has gone", http.StatusServiceUnavailable)
		return
	}
	d, cosignatures, err := w.update(r.Context(), req)
	switch {
	case errors.Is(err, errClock):
		w.logger.Error("not cosigning", "log", req.Checkpoint.Origin, "err", err)
		rw.Header().Set("Retry-After", "1")
		http.Error(rw, err.Error(), http.StatusServiceUnavailable)
	case errors.Is(err, context.Canceled):
		// The client went away while another request of its log was stored.
		http.Error(rw, "the client has gone", http.StatusServiceUnavailable)
	case err != nil:
		w.logger.Error("not cosigning", "log", req.Checkpoint.Origin, "size", req.Checkpoint.Size, "err", err)
		http.Error(rw, "the witness failed", http.StatusInternalServerError)
	case d.Status == http.StatusOK:
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		rw.Write(cosign.FormatCosignatures(cosignatures))
	case d.Status == http.StatusTooManyRequests, d.Status == http.StatusServiceUnavailable:
		rw.Header().Set("Retry-After", "1")
		http.Error(rw, d.Reason, d.Status)
	case d.Status == http.StatusConflict:
		// SPEC: tlog-witness: "The response body MUST consist of the tree size of
		// the latest cosigned checkpoint in decimal, followed by a newline".
		rw.Header().Set("Content-Type", cosign.SizeType)
		rw.WriteHeader(d.Status)
		rw.Write(cosign.FormatSize(d.Size))
	default:
		http.Error(rw, d.Reason, d.Status)
	}
}

// update decides on a request and, with status 200, returns our cosignatures
// once the state that they speak of is synced.
func (w *Witness) update(ctx context.Context, req *Request) (Decision, []checkpoint.Signature, error) {
	for attempt := 0; ; attempt++ {
		// 1. Decide on what is known now.
		latest := w.store.Latest(req.Checkpoint.Origin)
		d := Decide(req, w.logs.Load(), latest)
		if d.Fork || d.Unproven {
			w.accuse(latest, req, d)
		}
		if d.Status != http.StatusOK {
			return d, nil, nil
		}
		if w.check != nil {
			if checked := w.check(ctx, req.Checkpoint, d.Signed); checked.Status != http.StatusOK {
				return checked, nil, nil
			}
		}
		if attempt == 0 && !w.allow(req.Checkpoint.Origin) {
			return Decision{Status: http.StatusTooManyRequests, Reason: "too many checkpoints of this log"}, nil, nil
		}
		// 2. Sign, in memory: no one has the signatures before step 4. If we die
		// here, nothing has happened.
		cosignatures, newest, err := w.cosign(req, latest)
		if err != nil {
			return d, nil, err
		}
		next := &Latest{
			Origin: req.Checkpoint.Origin,
			Size:   req.Checkpoint.Size,
			Root:   req.Checkpoint.Root,
			Time:   newest,
			Note:   append(d.Signed, cosign.FormatCosignatures(cosignatures)...),
		}
		// 3. Remember, if the latest checkpoint is still the one decided on.
		//
		// SPEC: tlog-witness: "The witness MUST persist the new checkpoint before
		// responding [...] performed atomically".
		err = w.store.Swap(ctx, latest, next)
		if errors.Is(err, ErrConflict) {
			continue // another request has moved the log on
		}
		if err != nil {
			return d, nil, err
		}
		// 4. Release. If we die here, the log asks again, is told the size with
		// 409, and gets a cosignature of the same checkpoint.
		return d, cosignatures, nil
	}
}

// cosign makes a line with every key and returns the newest of their times.
//
// SPEC: tlog-cosignature: a cosignature states the largest tree "as of the
// specified time", so a time before an earlier one would contradict it.
func (w *Witness) cosign(req *Request, latest *Latest) (lines []checkpoint.Signature, newest int64, err error) {
	for _, s := range w.signers {
		b, err := s.Sign(req.text)
		if err != nil {
			return nil, 0, fmt.Errorf("cosigning: %w", err)
		}
		line := checkpoint.Signature{Name: s.Name(), ID: s.KeyHash(), Bytes: b}
		t, ok := line.Time()
		if !ok || latest != nil && t.Unix() < latest.Time {
			return nil, 0, fmt.Errorf("cosigning: %w", errClock)
		}
		lines, newest = append(lines, line), max(newest, t.Unix())
	}
	return lines, newest, nil
}

// latest is the monitor's endpoint.
//
// SPEC: tlog-witness: the origin hash is "hex encoded, in lowercase"; the
// checkpoint "MUST include the cosignature(s) from the witness's key(s) that
// were returned from add-checkpoint and the cosignature from the log key(s)
// that the witness verified"; 404 if the log was never cosigned.
func (w *Witness) latest(rw http.ResponseWriter, r *http.Request) {
	name := r.PathValue("origin")
	var l *Latest
	if h, err := hex.DecodeString(name); err == nil && hex.EncodeToString(h) == name {
		l = w.store.named(name)
	}
	if l == nil {
		http.Error(rw, "no checkpoint of that log was cosigned here", http.StatusNotFound)
		return
	}
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	rw.Header().Set("Cache-Control", "no-cache")
	rw.Write(l.Note)
}
