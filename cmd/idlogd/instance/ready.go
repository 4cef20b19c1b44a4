package instance

import (
	"context"
	"fmt"
	"strings"
	"time"

	"idlog/log/quorum"
	"idlog/proto/leaf"
)

// Check is one thing that must be so for a log to do all that it is for.
type Check struct {
	Name    string // checkpoint, quorum, writable, backlog, disk, journal, index or verified
	OK      bool
	Warning bool   // if it does not hold, the log is ready all the same
	Detail  string // for people: what is so, and what to do if it is not right
}

// Checks looks at the log now. It does not wait for anybody but the local disk.
func (in *Instance) Checks(ctx context.Context, now time.Time) []Check {
	checks := []Check{in.checkpoint(now), quorumCheck(in.Log.Witnesses(), now), in.writable(), in.backlog(), in.disk(), in.journal(ctx)}
	if in.Index != nil {
		checks = append(checks, in.index())
	}
	if len(in.Log.Verifiers()) > 0 {
		checks = append(checks, in.verified(now))
	}
	return checks
}

// freshFor is how old the newest checkpoint may be: as readers do, it forgives two republications that failed.
func (in *Instance) freshFor() time.Duration {
	return 3*max(in.Conf.Republish, in.Conf.MinInterval) + 30*time.Second
}

func (in *Instance) checkpoint(now time.Time) Check {
	c := Check{Name: "checkpoint"}
	p, ok := in.Log.Published()
	if !ok {
		c.Detail = "none is published yet"
		return c
	}
	age := now.Sub(p.At)
	c.OK = age <= in.freshFor()
	c.Detail = fmt.Sprintf("size %d, %v old, at most %v", p.Size, age.Round(time.Second), in.freshFor())
	return c
}

func quorumCheck(s quorum.Status, now time.Time) Check {
	c := Check{Name: "quorum", OK: s.Margin >= 0}
	if !s.Needed {
		c.Detail = "the policy asks for no witness"
		return c
	}
	if s.Margin < 0 {
		c.Detail = fmt.Sprintf("%d more must answer", -s.Margin)
	} else {
		c.Detail = fmt.Sprintf("%d more may fail", s.Margin)
	}
	for _, w := range s.Witnesses {
		switch {
		case w.Error != "":
			c.Detail += fmt.Sprintf("; %s", strings.Join(strings.Fields(w.Error), " "))
		case w.Last.IsZero():
			c.Detail += fmt.Sprintf("; %s has not answered since the start", w.Name)
		default:
			c.Detail += fmt.Sprintf("; %s cosigned %v ago", w.Name, now.Sub(w.Last).Round(time.Second))
		}
	}
	return c
}

func (in *Instance) writable() Check {
	if err := in.Log.ReadOnly(); err != nil {
		return Check{Name: "writable", Detail: err.Error() + "; find out what happened, then idlogd clear-refusal"}
	}
	return Check{Name: "writable", OK: true, Detail: "the log signs"}
}

// backlog is not right before it is full: then calls are refused already.
func (in *Instance) backlog() Check {
	rows, bytes, maxRows, maxBytes := in.Ingest.Backlog()
	return Check{
		Name: "backlog", OK: rows < maxRows/10*9+1 && bytes < maxBytes/10*9+1,
		Detail: fmt.Sprintf("%d of %d events and %d of %d bytes wait to be published", rows, maxRows, bytes, maxBytes),
	}
}

func (in *Instance) disk() Check {
	c := Check{Name: "disk", OK: true}
	var details []string
	for _, f := range *in.disks.last.Load() {
		details = append(details, fmt.Sprintf("%s has %d MiB free, reserve %d MiB", f.Name, f.Free>>20, f.Reserve>>20))
		c.OK = c.OK && !f.Full()
	}
	c.Detail = strings.Join(details, "; ")
	return c
}

// journal reads: a database that has failed does not answer.
func (in *Instance) journal(ctx context.Context) Check {
	c := Check{Name: "journal"}
	if _, err := in.Journal.Get(ctx, leaf.Hash{}); err != nil {
		c.Detail = err.Error()
		return c
	}
	rows, _ := in.Journal.Queued()
	c.OK = true
	c.Detail = fmt.Sprintf("%d rows wait for a place, all below %d have one", rows, in.Journal.Cursor())
	return c
}

// indexBehind is how long an entry may wait for a root of the index.
const indexBehind = time.Minute

// index is a warning: who writes, and who reads entries, does not need it.
func (in *Instance) index() Check {
	s := in.Index.Status()
	c := Check{Name: "index", Warning: true, OK: s.Stopped == "" && s.Behind <= indexBehind}
	if s.Stopped != "" {
		c.Detail = "it is stopped, and the log goes on: " + strings.Join(strings.Fields(s.Stopped), " ")
	} else {
		c.Detail = fmt.Sprintf("%d entries indexed, root of %d logged, %d entries behind for %v, at most %v", s.Size, s.Root, s.Lag, s.Behind.Round(time.Millisecond), indexBehind)
	}
	return c
}

// verified is a warning too: who writes does not wait for those who verify the index.
func (in *Instance) verified(now time.Time) Check {
	c := Check{Name: "verified", Warning: true, OK: true, Detail: "nothing yet"}
	if p, ok := in.Log.Verified(); ok {
		c.Detail = fmt.Sprintf("size %d", p.Size)
	}
	if since, newer := in.Log.Unverified(); newer {
		c.OK = now.Sub(since) <= in.Conf.MaxVerifiedLag
		c.Detail += fmt.Sprintf(", and more is published for %v, at most %v", now.Sub(since).Round(time.Millisecond), in.Conf.MaxVerifiedLag)
	}
	for _, v := range in.Log.Verifiers() {
		switch {
		case v.Refused:
			c.OK = false
			c.Detail += fmt.Sprintf("; %s refuses this log: %s", v.Name, strings.Join(strings.Fields(v.Error), " "))
		case v.Error != "":
			c.Detail += fmt.Sprintf("; %s", strings.Join(strings.Fields(v.Error), " "))
		case v.Last.IsZero():
			c.Detail += fmt.Sprintf("; %s has not answered since the start", v.Name)
		default:
			c.Detail += fmt.Sprintf("; %s cosigned %v ago", v.Name, now.Sub(v.Last).Round(time.Second))
		}
	}
	return c
}
