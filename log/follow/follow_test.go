package follow_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"

	ilog "idlog/log"
	"idlog/log/follow"
	"idlog/proto/checkpoint"
	"idlog/proto/prototest"
	"idlog/proto/tile"
)

const origin = "acme.example/id/0"

// published is a log that publishes when it is told.
type published struct {
	mu      sync.Mutex
	log     *prototest.Log
	head    ilog.Published
	files   map[string][]byte
	changed chan struct{}
}

func newPublished() *published {
	return &published{
		log:     prototest.NewLog(origin, prototest.NewKey(origin, checkpoint.Ed25519, checkpoint.LogRole)),
		files:   make(map[string][]byte),
		changed: make(chan struct{}),
	}
}

func (p *published) publish(size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.Fill(size)
	p.head = ilog.Published{Size: size, Root: p.log.Checkpoint(size).Root, Note: p.log.Note(size, 1)}
	maps.Copy(p.files, p.log.Resources(size)) // partial tiles stay, as in a log until the full one is there
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *published) Published() (ilog.Published, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.head, p.head.Note != nil
}

func (p *published) Next(ctx context.Context, after []byte) (ilog.Published, error) {
	for {
		p.mu.Lock()
		head, changed := p.head, p.changed
		p.mu.Unlock()
		if !bytes.Equal(head.Note, after) {
			return head, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return head, ctx.Err()
		}
	}
}

func (p *published) Resource(ctx context.Context, path string) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return prototest.Fetch(p.files)(ctx, path)
}

// Entries come in order, as many at a time as may, up to what is published when they are asked for; what takes several batches
// is read to its end, whatever is published meanwhile.
func TestBatches(t *testing.T) {
	p := newPublished()
	p.publish(600)
	ctx, cancel := context.WithCancel(t.Context())
	var ends []int64
	next := int64(10)
	for b, err := range follow.Batches(ctx, p, origin, next, 400) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			break
		}
		for _, e := range b.Entries {
			if e.Index != next || !bytes.Equal(e.Data, p.log.Leaves[next]) {
				t.Fatalf("entry %d is %q, want %d", e.Index, e.Data, next)
			}
			next++
		}
		if b.End() != next || b.Whole() != (next == b.Head.Size) {
			t.Errorf("a batch up to %d of %d says %d, %v", next, b.Head.Size, b.End(), b.Whole())
		}
		switch ends = append(ends, next); next {
		case 410:
			p.publish(700) // what was begun is read first
		case 700:
			p.publish(701)
		case 701:
			go p.publish(1000) // somebody waits
		case 1000:
			cancel()
		}
	}
	if want := []int64{410, 600, 700, 701, 1000}; !slices.Equal(ends, want) {
		t.Errorf("batches end at %v, want %v", ends, want)
	}
	cancel()
}

// What is on disk and is not what was published is not yielded.
func TestAltered(t *testing.T) {
	p := newPublished()
	p.publish(300)
	for path := range p.files {
		if bytes.HasPrefix([]byte(path), []byte("tile/entries/001")) {
			p.files[path][5] ^= 1
		}
	}
	read := 0
	for b, err := range follow.Batches(t.Context(), p, origin, 0, 256) {
		if err != nil {
			if mismatch := new(tile.MismatchError); !errors.As(err, &mismatch) {
				t.Error(err)
			}
			break
		}
		read += len(b.Entries)
	}
	if read != 256 {
		t.Errorf("%d entries were read", read)
	}
}
