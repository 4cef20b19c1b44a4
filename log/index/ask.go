package index

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"idlog/proto/leaf"
)

// Verifier is a cosigner that verifies the index, SPEC 2.14.
type Verifier struct {
	Name string
	// URL is its monitoring prefix, without a slash at the end.
	URL string
}

// again is how long a verifier is left alone that has not read so far yet.
const again = 50 * time.Millisecond

// ask asks every verifier what root leaf it would make, and reports whether one agrees. One that does not answer in time counts
// for nothing, and one that disagrees is a fault.
func (x *Index) ask(ctx context.Context, root *leaf.Root) (agreed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, x.cfg.Patience)
	defer cancel()
	verifiers := x.cheat.asks(x.cfg.Verifiers)
	answers := make(chan answer, len(verifiers))
	for _, v := range verifiers {
		go func() { answers <- x.preview(ctx, v, root.N) }()
	}
	for range verifiers {
		a := <-answers
		switch {
		case a.err != nil:
			x.cfg.Logger.Debug("a verifier of the index did not say what it has", "origin", x.cfg.Origin, "verifier", a.from.Name, "error", a.err.Error())
		case a.root.Agrees(root):
			agreed = true
		default:
			return false, x.fault(fmt.Sprintf("verifier %s has other roots of the first %d entries than the index", a.from.Name, root.N), a.leaf)
		}
	}
	return agreed, nil
}

// answer is what a verifier said.
type answer struct {
	from Verifier
	root *leaf.Root
	leaf []byte
	err  error
}

// preview asks one verifier until it answers or ctx ends.
func (x *Index) preview(ctx context.Context, v Verifier, n int64) answer {
	origin := sha256.Sum256([]byte(x.cfg.Origin))
	url := strings.TrimSuffix(v.URL, "/") + "/" + hex.EncodeToString(origin[:]) + "/index-root/" + strconv.FormatInt(n, 10)
	for {
		b, err := x.get(ctx, url)
		if err == nil {
			root := rootOf(b)
			if root == nil {
				return answer{from: v, err: fmt.Errorf("asking for %s: what came is no root leaf", url)}
			}
			return answer{from: v, root: root, leaf: b}
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return answer{from: v, err: err}
		}
	}
}

func (x *Index) get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("asking for a root of the index: %w", err)
	}
	res, err := x.cfg.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking for a root of the index: %w", err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, leaf.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("asking for a root of the index: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking for a root of the index: %s: %s", url, res.Status)
	}
	return b, nil
}
