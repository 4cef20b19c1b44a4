package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
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
	Shapes  []ShapeReport
}

// ShapeReport is one server's life: one shape of event under each load.
type ShapeReport struct {
	Shape       string
	EventBytes  int // of the protobuf, raw included
	EventFields int
	Lines       []Line
	// Of the server, over all events of this shape, the population's enrolment included.
	Events         int64
	PeakBytes      int64
	DiskPerEvent   float64
	MicrosPerEvent []StageCost
}

// Line is one load.
type Line struct {
	Callers, Batch int
	Seconds        float64
	Events         int64 // with a receipt
	Tickets        int64 // answered by a ticket: they do not count
	PerSecond      float64
	P50, P99, P999 Millis
	// Callers / P50: what this many unary callers can reach at that acknowledgement.
	CallersPerP50 float64
	// Server processor seconds for 100,000 events.
	CPUPer100k float64
	// The bare gRPC server under the same load, and our share of it.
	EchoPerSecond float64
	Ratio         float64
	// Receipts verified in full after the clock had stopped, and how long one took.
	Verified       int64
	MicrosToVerify float64
}

// StageCost is a stage's processor time per event.
type StageCost struct {
	Stage  string
	Micros float64
}

// Millis prints as milliseconds with two decimals.
type Millis float64

func millis(d time.Duration) Millis { return Millis(float64(d) / 1e6) }

func (m Millis) String() string { return fmt.Sprintf("%.2f", float64(m)) }

func (r *Report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func (r *Report) print(w io.Writer) error {
	fmt.Fprintf(w, "%s, %d cores of %s, %s, %d witnesses on loopback\n", r.Date.Format(time.DateOnly), r.Cores, r.CPU, r.Go, r.Witness)
	for _, s := range r.Shapes {
		fmt.Fprintf(w, "\n%s: events of %d bytes, %d fields\n", s.Shape, s.EventBytes, s.EventFields)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "callers\tbatch\tevents/s\tp50 ms\tp99 ms\tp99.9 ms\tcallers/p50\tserver CPU s/100k\techo/s\tratio\tverified\tµs each\t")
		for _, l := range s.Lines {
			fmt.Fprintf(t, "%d\t%d\t%.0f\t%s\t%s\t%s\t%.0f\t%.2f\t%.0f\t%.1f %%\t%d\t%.0f\t\n",
				l.Callers, l.Batch, l.PerSecond, l.P50, l.P99, l.P999, l.CallersPerP50, l.CPUPer100k, l.EchoPerSecond, 100*l.Ratio, l.Verified, l.MicrosToVerify)
		}
		if err := t.Flush(); err != nil {
			return err
		}
		fmt.Fprintf(w, "%d events in all, %.0f bytes on disk each, peak memory %d MiB\nserver µs per event:", s.Events, s.DiskPerEvent, s.PeakBytes>>20)
		for _, c := range s.MicrosPerEvent {
			fmt.Fprintf(w, "  %s %.1f", c.Stage, c.Micros)
		}
		fmt.Fprintln(w)
	}
	return nil
}
