package report

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// A Bar shows on a terminal how far something is, in place, at most ten times a
// second. A nil Bar shows nothing. It is for one goroutine.
type Bar struct {
	w            io.Writer
	unit         string
	now          func() time.Time
	begun, shown time.Time
	width        int // of what is on the screen
}

// Bar returns the bar of things called unit, on standard error if that is a
// terminal; else it is nil.
func (p *Printer) Bar(unit string) *Bar {
	if f, ok := p.Stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return NewBar(p.Stderr, unit, time.Now)
	}
	return nil
}

// NewBar returns a bar on w, by this clock.
func NewBar(w io.Writer, unit string, now func() time.Time) *Bar {
	return &Bar{w: w, unit: unit, now: now, begun: now()}
}

// Show shows that done things of total are done, and a remark.
func (b *Bar) Show(done, total int64, remark string) {
	if b == nil {
		return
	}
	now := b.now()
	if now.Sub(b.shown) < 100*time.Millisecond && done < total {
		return
	}
	b.shown = now
	const cells = 24
	part, took := 1.0, now.Sub(b.begun).Seconds()
	if total > 0 {
		part = float64(done) / float64(total)
	}
	line := fmt.Sprintf("[%s%s] %3.0f %%  %d of %d %s", strings.Repeat("=", int(part*cells)), strings.Repeat(" ", cells-int(part*cells)), 100*part, done, total, b.unit)
	if took > 0 && done > 0 {
		left := time.Duration(float64(total-done) * took / float64(done) * float64(time.Second))
		line += fmt.Sprintf("  %.0f/s  %s left", float64(done)/took, left.Round(time.Second))
	}
	if remark != "" {
		line += "  " + remark
	}
	b.put(line)
}

// Clear takes the bar away, so that something else can be written.
func (b *Bar) Clear() {
	if b != nil && b.width > 0 {
		b.put("")
		fmt.Fprint(b.w, "\r")
	}
}

// put writes a line over the one that is there.
func (b *Bar) put(line string) {
	fmt.Fprintf(b.w, "\r%s%s", line, strings.Repeat(" ", max(b.width-len(line), 0)))
	b.width = len(line)
}
