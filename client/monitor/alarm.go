package monitor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"idlog/proto/policy"
	"idlog/proto/tile"
)

// remind is how often an alarm is repeated while it lasts.
const remind = time.Hour

// alarm is a state of affairs that is not as it must be.
type alarm struct {
	kind  string
	since time.Time
	last  time.Time // when it was raised; zero while it is not
}

// raise says that something has been so since a time. Once that is longer than
// delay ago there is a finding, and every hour another.
func (m *Monitor) raise(kind, about string, since time.Time, delay time.Duration, format string, args ...any) []Finding {
	now := time.Now()
	a := m.alarms[kind+" "+about]
	if a == nil {
		a = &alarm{kind: kind, since: since}
		m.alarms[kind+" "+about] = a
	}
	if now.Sub(a.since) < delay || !a.last.IsZero() && now.Sub(a.last) < remind {
		return nil
	}
	a.last = now
	return []Finding{m.finding(Alarm, kind, fmt.Sprintf("%s %d", about, now.UnixNano()), format, args...)}
}

// over takes an alarm back.
func (m *Monitor) over(kind, about string) []Finding {
	key := kind + " " + about
	a := m.alarms[key]
	delete(m.alarms, key)
	if a == nil || a.last.IsZero() {
		return nil
	}
	f := m.finding(Info, "over", fmt.Sprintf("%s %d", key, a.last.UnixNano()), "over: %s, since %s", kind, a.since.UTC().Format(time.RFC3339))
	return []Finding{f}
}

// when raises or takes back.
func (m *Monitor) when(is bool, kind, about string, since time.Time, delay time.Duration, format string, args ...any) []Finding {
	if !is {
		return m.over(kind, about)
	}
	return m.raise(kind, about, since, delay, format, args...)
}

// The kinds of a look that failed.
const (
	silent     = "silent"     // nothing came
	damaged    = "damaged"    // what came is not what the checkpoint commits to
	unverified = "unverified" // the checkpoint is not one that the policy knows
	noQuorum   = "quorum"     // it lacks witnesses
	behind     = "behind"     // a contradiction was acknowledged, and lasts
)

// failure names the kind of a look's error; empty if it ends the monitor.
func failure(err error) string {
	switch {
	case is[*Stopped](err), is[*StateError](err), is[*Undelivered](err):
		return ""
	case is[*tile.MismatchError](err):
		return damaged
	case is[*Unverified](err):
		return unverified
	case is[*policy.QuorumError](err):
		return noQuorum
	case is[*Behind](err):
		return behind
	}
	return silent
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// Failed reports whether an error of Once is of the network or the server: what
// was asked for did not come, and nothing of it was wrong.
func Failed(err error) bool { return failure(err) == silent }

// passing reports whether trying again may help.
func (m *Monitor) passing(err error) bool {
	k := failure(err)
	return k != "" && k != behind
}

// weigh makes of the outcome of a look, and of what is known by now, the
// findings that are to be settled. It returns the errors that end the monitor.
func (m *Monitor) weigh(err error) ([]Finding, error) {
	var found []Finding
	kind := ""
	if err != nil {
		if kind = failure(err); kind == "" {
			return nil, err
		}
		if !errors.Is(err, context.Canceled) {
			m.logger.Warn("the log was not read to its end", "log", m.origin, "kind", kind, "err", err)
		}
	}
	since := m.heard
	if a := m.alarms[silent+" "]; a != nil {
		since = a.since
	} else if since.IsZero() {
		since = m.started
	}
	// Who comes nearer to the end each time is not silent.
	found = append(found, m.when(kind == silent && !m.moved, silent, "", since, m.cfg.MaxAge, "nothing could be read since %s: %v", since.UTC().Format(time.RFC3339), err)...)
	m.moved = false
	now := time.Now()
	for _, k := range []string{damaged, unverified, noQuorum, behind} {
		found = append(found, m.when(kind == k, k, "", now, 0, "%v", err)...)
	}
	found = append(found, m.when(m.age() > m.cfg.MaxAge, "stale", "", m.fresh, 0,
		"the newest checkpoint was cosigned at %s, longer ago than %s", m.fresh.UTC().Format(time.RFC3339), m.cfg.MaxAge)...)
	found = append(found, m.when(m.waiting > 0, noQuorum, "own", now, m.cfg.MaxAge,
		"no checkpoint of size %d or more has the %d witnesses that this monitor asks for", m.waiting, m.cfg.Witnesses)...)
	found = append(found, m.when(m.noArchive != nil, "archive", "", now, 0,
		"the archive does not bound when entries were logged: %v", m.noArchive)...)
	found = append(found, m.weighIndex()...)
	found = append(found, m.when(m.unread != nil, "unread", "", now, 0, "%v", m.unread)...)
	for _, w := range m.others {
		last, ever := m.newest[w.name]
		if !ever {
			last = m.started
		}
		found = append(found, m.when(now.Sub(last) > m.cfg.MaxAge, "witness", w.name, last, 0,
			"witness %s has not cosigned since %s", w.name, last.UTC().Format(time.RFC3339))...)
		found = append(found, m.when(last.Sub(now) > skew, "clock", w.name, now, 0,
			"witness %s cosigned at %s, which is yet to come: its clock or this one is wrong", w.name, last.UTC().Format(time.RFC3339))...)
		found = append(found, m.withheld("witness "+w.name)...)
	}
	return append(append(found, m.withheld(thisMachine)...), m.withheld(keptReceipt)...), nil
}

// withheld is the alarm of a checkpoint that somebody has and the log does not
// show us.
func (m *Monitor) withheld(who string) []Finding {
	v, is := m.ahead[who]
	return m.when(is, "withheld", who, time.Now(), m.cfg.MaxAge, "%s has seen size %d, and here the log shows %d", who, v.head.Size, m.size)
}

// age is that of the newest checkpoint with a quorum; 0 if nothing says.
func (m *Monitor) age() time.Duration {
	if m.fresh.IsZero() {
		return 0
	}
	return time.Since(m.fresh)
}
