package pin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"idlog/client/remote"
	"idlog/client/trust"
	"idlog/cmd/internal/serve"
	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/tile"
)

// enough is how many witnesses must be heard: one alone could be the operator's other hand.
const enough = 2

// compare asks the witnesses of a trust file what they have cosigned of its newest shard, and that all of it is one history.
func (a *adding) compare(ctx context.Context, t *policy.Trust) error {
	origin := t.Origins[len(t.Origins)-1]
	seen, err := a.heard(ctx, t, origin)
	if err != nil {
		return err
	}
	state, err := a.s.Trust()
	if err != nil {
		return err
	}
	slices.SortFunc(seen, func(a, b trust.Seen) int { return cmp.Compare(a.Size, b.Size) })
	newest := seen[len(seen)-1]
	for _, old := range seen[:len(seen)-1] {
		if err := state.Connect(ctx, origin, old, newest, a.prover(t, origin, newest)); err != nil {
			return fmt.Errorf("comparing what the witnesses have seen of %s: %w", origin, err)
		}
	}
	a.s.Note("%d witnesses have seen one history of %s, up to size %d", len(seen), origin, newest.Size)
	return nil
}

// heard returns the checkpoints of an origin that its witnesses show, each signed by the log and cosigned by who shows it.
func (a *adding) heard(ctx context.Context, t *policy.Trust, origin string) ([]trust.Seen, error) {
	var keys []note.Verifier
	for _, l := range t.Policy.Logs {
		if l.Origin == origin {
			v, err := checkpoint.NewVerifier(l.VKey)
			if err != nil {
				return nil, err // which Parse accepted
			}
			keys = append(keys, v)
		}
	}
	var seen []trust.Seen
	operators := make(map[string]bool)
	var silent []error
	for _, w := range t.Policy.Witnesses {
		s, err := ask(ctx, w, origin, keys)
		if err != nil {
			silent = append(silent, fmt.Errorf("witness %s: %w", w.Name, err))
			continue
		}
		seen = append(seen, s)
		key, _ := checkpoint.ParseVKey(w.VKey)
		operators[key.Name] = true
	}
	if len(operators) < enough {
		return nil, &serve.ExitError{Code: serve.CodeQuorum,
			Err:    errors.Join(append([]error{fmt.Errorf("%d witnesses that know %s were heard, and %d are needed to compare", len(operators), origin, enough)}, silent...)...),
			Remedy: "a policy whose witnesses have URLs; or --unchecked, if whoever gave you the policy is all that you need to trust"}
	}
	return seen, nil
}

// ask fetches what one witness has cosigned.
//
// SPEC: tlog-witness: <monitoring prefix>/<hex SHA-256 of origin>/checkpoint. A policy has only the submission prefix,
// which the two usually share.
func ask(ctx context.Context, w policy.Witness, origin string, keys []note.Verifier) (trust.Seen, error) {
	if w.URL == "" {
		return trust.Seen{}, errors.New("the policy has no URL of it")
	}
	site, err := remote.New(w.URL, remote.Config{})
	if err != nil {
		return trust.Seen{}, err
	}
	b, err := site.Note(ctx, fmt.Sprintf("%x/checkpoint", sha256.Sum256([]byte(origin))))
	if err != nil {
		return trust.Seen{}, err
	}
	own, err := checkpoint.NewVerifier(w.VKey)
	if err != nil {
		return trust.Seen{}, err
	}
	c, by, err := checkpoint.Open(b, origin, keys...)
	if err != nil {
		return trust.Seen{}, err
	}
	if by == 0 {
		return trust.Seen{}, policy.ErrNotSigned
	}
	if _, cosigned, err := checkpoint.Open(b, origin, own); err != nil || cosigned == 0 {
		return trust.Seen{}, errors.Join(errors.New("it did not cosign what it shows"), err)
	}
	return trust.Seen{Size: c.Size, Root: c.Root, Note: b}, nil
}

// prover proves by the log's published tiles that the newest of the trees continues another.
func (a *adding) prover(t *policy.Trust, origin string, newest trust.Seen) trust.Prove {
	return func(ctx context.Context, from, _ trust.Seen) ([]leaf.Hash, error) {
		url := a.url
		for _, l := range t.Policy.Logs {
			if url == "" && l.Origin == origin {
				url = l.URL
			}
		}
		if url == "" {
			return nil, &serve.ExitError{Code: serve.CodeUsage,
				Err:    fmt.Errorf("the witnesses have seen trees of two sizes, %d and %d, and the policy does not say where the log is", from.Size, newest.Size),
				Remedy: "--url URL, where the log is published"}
		}
		site, err := remote.New(url, remote.Config{Attempts: 3})
		if err != nil {
			return nil, err
		}
		return tile.NewReader(checkpoint.Checkpoint{Origin: origin, Size: newest.Size, Root: newest.Root}, site.Tile).Consistency(ctx, from.Size)
	}
}
