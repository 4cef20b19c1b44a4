package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"
)

// Report is the results file. Every figure of idlog stands beside the same load's figure of a bare gRPC server that
// was driven in the same run on the same machine: only the ratio may be compared across machines.
type Report struct {
	Date    time.Time
	Go      string
	Cores   int
	CPU     string
	Kernel  string
	Witness int // witnesses on loopback, each with a store of its own
	Runs    int // of each load, of which the one in the middle is told
	Window  time.Duration
	Shapes  []ShapeReport
}

// ShapeReport is one server's life: one shape of event under each load.
type ShapeReport struct {
	Shape       string
	EventBytes  int // of the protobuf, raw included
	EventFields int
	Lines       []Line
	Read        *ReadReport
	Audit       *AuditReport
	// Of the server, over all events of this shape and every load; the population was enrolled before.
	Events         int64
	PeakBytes      int64
	DiskPerEvent   float64
	MicrosPerEvent []StageCost
}

// Line is one load.
type Line struct {
	Callers, Batch int
	Offered        float64 // events a second; 0 where each caller sends when it has its answer
	Seconds        float64
	Events         int64 // with a receipt
	Tickets        int64 // answered by a ticket: they do not count
	PerSecond      float64
	P50, P99, P999 Millis
	// Callers / P50: what this many unary callers can reach at that acknowledgement.
	CallersPerP50 float64
	// Server processor seconds for 100,000 events.
	CPUPer100k float64
	// The bare gRPC server under the same load, and our share of it; 0 where a rate was offered.
	EchoPerSecond float64
	Ratio         float64
	// Receipts verified in full after the clock had stopped, and how long one took.
	Verified       int64
	MicrosToVerify float64
}

// ReadReport is what a client sees that has nothing but the policy and reads one entry, connecting included.
type ReadReport struct {
	Reads    int64
	P50, P99 Millis
}

// AuditReport is an audit of the whole log on disk: every entry, tile and checkpoint.
type AuditReport struct {
	Entries, Checkpoints int64
	Seconds, PerSecond   float64
}

// StageCost is a stage's processor time per event.
type StageCost struct {
	Stage  string
	Micros float64
}

// Millis prints as milliseconds with one decimal.
type Millis float64

func millis(d time.Duration) Millis { return Millis(float64(d) / 1e6) }

func (m Millis) String() string { return fmt.Sprintf("%.1f", float64(m)) }

// save writes a report to the results file, if one was asked for.
func save(file string, report any) error {
	if file == "" {
		return nil
	}
	b, err := json.MarshalIndent(report, "", "  ")
	if err == nil {
		err = os.WriteFile(file, append(b, '\n'), 0o666)
	}
	if err != nil {
		return fmt.Errorf("writing the results: %w", err)
	}
	return nil
}

// print writes the report as Markdown: the targets first, then each shape.
func (r *Report) print(w io.Writer) error {
	out := &printer{w: w}
	out.f("`bin/idlog-bench --out results.json` on %s: %d cores of %s, shared by the server, %d witnesses and the client; kernel %s; %s; windows of %v, the one in the middle of %d.\n",
		r.Date.Format(time.DateOnly), r.Cores, r.CPU, r.Witness, r.Kernel, r.Go, r.Window, r.Runs)
	out.f("\n| what | first | then | measured |\n|---|---|---|---|\n")
	for _, t := range targets {
		out.f("| %s | %s | %s | %s |\n", t.what, t.first, t.then, t.measured(r))
	}
	for i := range r.Shapes {
		r.Shapes[i].print(out)
	}
	return out.err
}

func (s *ShapeReport) print(out *printer) {
	out.f("\n### %s: events of %d bytes, %d fields\n\n", s.Shape, s.EventBytes, s.EventFields)
	out.f("| callers | batch | events/s | p50 ms | p99 ms | p99.9 ms | callers/p50 | server CPU s/100k | echo/s | ratio | verified | µs each |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, l := range s.Lines {
		rate := thousands(l.PerSecond)
		if l.Offered > 0 {
			rate += " of " + thousands(l.Offered) + " offered"
		}
		echo, ratio := "-", "-"
		if l.EchoPerSecond > 0 {
			echo, ratio = thousands(l.EchoPerSecond), l.ratio()
		}
		out.f("| %s | %d | %s | %s | %s | %s | %s | %.1f | %s | %s | %s | %.0f |\n", thousands(float64(l.Callers)), l.Batch, rate, l.P50, l.P99, l.P999,
			thousands(l.CallersPerP50), l.CPUPer100k, echo, ratio, thousands(float64(l.Verified)), l.MicrosToVerify)
	}
	out.f("\n%s events in all; an event takes %s bytes on disk; the server's peak memory was %d MiB.", thousands(float64(s.Events)), thousands(s.DiskPerEvent), s.PeakBytes>>20)
	if s.Read != nil {
		out.f(" A verified read by a cold client: p50 %s ms, p99 %s ms.", s.Read.P50, s.Read.P99)
	}
	if s.Audit != nil {
		out.f(" A full audit on disk: %s entries and %d checkpoints in %.2f s, %s entries/s.", thousands(float64(s.Audit.Entries)), s.Audit.Checkpoints, s.Audit.Seconds, thousands(s.Audit.PerSecond))
	}
	out.f("\n\nServer microseconds per event:")
	total := 0.0
	for _, c := range s.MicrosPerEvent {
		out.f(" %s %.1f,", c.Stage, c.Micros)
		total += c.Micros
	}
	out.f(" together %.1f.\n", total)
}

// target is a line of the project's targets, and how a report answers it: by the shape fields.
type target struct {
	what, first, then string
	measured          func(*Report) string
}

var targets = []target{
	{"acknowledgement as published and cosigned, p50, 1 unary caller", "25 ms", "10 ms", ofLine(1, 1, false, func(l *Line) string { return l.P50.String() + " ms" })},
	{"the same, 64 unary callers", "25 ms", "10 ms", ofLine(64, 1, false, func(l *Line) string { return l.P50.String() + " ms" })},
	{"unary calls/s against the bare echo server, 64 callers", "10 %", "20 %", ofLine(64, 1, false, (*Line).ratio)},
	{"the same, 1,024 callers", "30 %", "70 %", ofLine(1024, 1, false, (*Line).ratio)},
	{"events/s in batches of 100, 64 in flight, each published and cosigned", "12k", "25k", ofLine(64, batchSize, false, func(l *Line) string { return thousands(l.PerSecond) })},
	{"p99 acknowledgement at half of that load", "250 ms", "100 ms", ofLine(64, batchSize, true, func(l *Line) string { return l.P99.String() + " ms" })},
	{"server CPU for 100k events, batches", "9 s", "4 s", ofLine(64, batchSize, false, func(l *Line) string { return fmt.Sprintf("%.1f s", l.CPUPer100k) })},
	{"disk bytes for an event of 1 KiB, everything", "2,500", "1,600", ofShape(func(s *ShapeReport) string { return thousands(s.DiskPerEvent) })},
	{"verified read of one event, cold client, p50", "5 ms", "2 ms", ofShape(func(s *ShapeReport) string {
		if s.Read == nil {
			return ""
		}
		return s.Read.P50.String() + " ms"
	})},
	{"full audit of a log (every leaf, tile, checkpoint), entries/s", "200k", "1 M", ofShape(func(s *ShapeReport) string {
		if s.Audit == nil {
			return ""
		}
		return thousands(s.Audit.PerSecond)
	})},
}

// ofShape answers from the shape fields; what was not measured is a dash.
func ofShape(answer func(*ShapeReport) string) func(*Report) string {
	return func(r *Report) string {
		i := slices.IndexFunc(r.Shapes, func(s ShapeReport) bool { return s.Shape == shapes[0].Name })
		if i < 0 || answer(&r.Shapes[i]) == "" {
			return "-"
		}
		return answer(&r.Shapes[i])
	}
}

func ofLine(callers, batch int, half bool, answer func(*Line) string) func(*Report) string {
	return ofShape(func(s *ShapeReport) string {
		for i := range s.Lines {
			if l := &s.Lines[i]; l.Callers == callers && l.Batch == batch && (l.Offered > 0) == half {
				return answer(l)
			}
		}
		return ""
	})
}

func (l *Line) ratio() string { return fmt.Sprintf("%.1f %%", 100*l.Ratio) }

// thousands is a whole number with commas.
func thousands(f float64) string {
	s := strconv.FormatInt(int64(f+0.5), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) f(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}
