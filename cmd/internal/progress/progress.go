// Package progress shows on a terminal how far a long command is: one line,
// written over again and again, and gone when the command says something. Where
// there is no terminal there is nothing.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// interval is how often the line changes within a step.
const interval = 100 * time.Millisecond

// Line is the line of one command. It belongs to one goroutine. Nil shows nothing.
type Line struct {
	w     io.Writer
	step  string
	next  time.Time
	shown bool
}

// New returns the line on w, nil if that is no terminal.
func New(w io.Writer) *Line {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return On(w)
	}
	return nil
}

// On returns the line on a terminal.
func On(w io.Writer) *Line { return &Line{w: w} }

// Show says how much of a step is done. A total of 0 is not known.
func (l *Line) Show(step string, done, total int64) {
	if l == nil || step == l.step && done != total && time.Now().Before(l.next) {
		return
	}
	l.step, l.next = step, time.Now().Add(interval)
	const width = 24
	text := fmt.Sprintf("%s %d", step, done)
	if total > 0 {
		filled := int(min(done, total) * width / total)
		text = fmt.Sprintf("[%s%s] %s %d of %d", strings.Repeat("=", filled), strings.Repeat(" ", width-filled), step, done, total)
	}
	fmt.Fprintf(l.w, "\r\x1b[K%s", text)
	l.shown = true
}

// Clear takes the line away.
func (l *Line) Clear() {
	if l != nil && l.shown {
		fmt.Fprint(l.w, "\r\x1b[K")
		l.shown = false
	}
}
