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
	w      io.Writer
	now    func() time.Time
	remark string

	shown bool
	step  string
	begun time.Time // when the step was first shown since the line was clear
	first int64     // what was done of it then
	next  time.Time
}

// New returns the line on w, nil if that is no terminal.
func New(w io.Writer) *Line {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return On(w, time.Now)
	}
	return nil
}

// On returns the line on a terminal, by this clock.
func On(w io.Writer, now func() time.Time) *Line { return &Line{w: w, now: now} }

// Remark sets what stands at the end of the line from the next Show on.
func (l *Line) Remark(text string) {
	if l != nil {
		l.remark = text
	}
}

// Show says how much of a step is done, how fast it goes and how long it will
// take. A total of 0 is not known.
func (l *Line) Show(step string, done, total int64) {
	if l == nil {
		return
	}
	now := l.now()
	switch {
	case !l.shown || step != l.step:
		l.step, l.begun, l.first = step, now, done
	case done != total && now.Before(l.next):
		return
	}
	l.next = now.Add(interval)
	const cells = 24
	text := fmt.Sprintf("%s %d", step, done)
	if total > 0 {
		part := float64(min(done, total)) / float64(total)
		filled := int(part * cells)
		text = fmt.Sprintf("[%s%s] %3.0f %%  %s %d of %d", strings.Repeat("=", filled), strings.Repeat(" ", cells-filled), 100*part, step, done, total)
	}
	if rate := float64(done-l.first) / now.Sub(l.begun).Seconds(); done > l.first && now.After(l.begun) {
		text += fmt.Sprintf("  %.0f/s", rate)
		if total > 0 {
			left := time.Duration(float64(max(total-done, 0)) / rate * float64(time.Second))
			text += fmt.Sprintf("  %s left", left.Round(time.Second))
		}
	}
	if l.remark != "" {
		text += "  " + l.remark
	}
	l.Say(text)
}

// Say shows a text.
func (l *Line) Say(text string) {
	if l != nil {
		// What is wider than the terminal is cut off by it: a second line would stay.
		fmt.Fprintf(l.w, "\r\x1b[K\x1b[?7l%s\x1b[?7h", text)
		l.shown = true
	}
}

// Clear takes the line away.
func (l *Line) Clear() {
	if l != nil && l.shown {
		fmt.Fprint(l.w, "\r\x1b[K")
		l.shown = false
	}
}
