package answer

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// String returns the verdict for people, as SPEC 2.15 words it: one sentence, and a line for each identifier where there are
// several. Nothing in it moves a cursor, whatever the file says.
func (v *Verdict) String() string {
	var b strings.Builder
	switch {
	case !v.Complete:
		b.WriteString("not complete: " + v.pages() + ": ")
	case !v.Proven:
		b.WriteString("operator-attested: ")
	default:
		b.WriteString("complete: ")
	}
	fmt.Fprintf(&b, "%s among entries [%s, %s)", count(len(v.Events), "event"), group(v.From), group(v.To))
	switch {
	case v.By.IsZero():
	case v.From > 0:
		fmt.Fprintf(&b, ", which contain everything published after %s and by %s", clock(v.After), clock(v.By))
	default:
		fmt.Fprintf(&b, ", which contain everything published by %s", clock(v.By))
	}
	if v.Since > 0 {
		fmt.Fprintf(&b, ", together with the earlier answer on the entries [0, %s)", group(v.Since))
	}
	if n := len(v.Erased); n > 0 {
		at := make([]string, n)
		for i, e := range v.Erased {
			at[i] = group(e.ErasedAt)
		}
		where, whose := "entry ", "whose events are no longer attributable"
		if n > 1 {
			where = "entries "
		}
		fmt.Fprintf(&b, ", and %s erased at %s%s %s", count(n, "enrolment"), where, list(at), whose)
	}
	switch {
	case !v.Proven && len(v.Verifiers) == 0:
		b.WriteString("; that none is missing is the word of the log's operator alone")
	case !v.Proven:
		b.WriteString("; that none is missing fewer say than the trust file asks for")
	}
	var cosigned []string
	for _, c := range v.Checkpoint.Cosignatures {
		cosigned = append(cosigned, c.Witness)
	}
	fmt.Fprintf(&b, "; cosigned by %s; index verified by %s", who(cosigned), who(v.Verifiers))
	if len(v.Others) > 0 {
		fmt.Fprintf(&b, "; it is of %s, and says nothing of %s", v.Origin, list(v.Others))
	}
	if len(v.Identifiers) > 1 || len(v.Links) > 0 {
		for _, i := range v.Identifiers {
			b.WriteString("\n" + v.of(i))
		}
	}
	return b.String()
}

// of is the verdict on one identifier.
func (v *Verdict) of(i Identified) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, %s", i.Identifier, count(i.Events, "event"), count(len(i.Enrolments), "enrolment"))
	erased := 0
	own := make(map[[32]byte]bool)
	for _, e := range i.Enrolments {
		own[e.Leaf] = true
		if e.Erased {
			erased++
		}
	}
	if erased > 0 {
		fmt.Fprintf(&b, ", %d of them erased", erased)
	}
	var links []string
	for _, l := range v.Links {
		for _, h := range l.Leaf.Links {
			if own[h] {
				links = append(links, group(l.Index))
				break
			}
		}
	}
	if len(links) > 0 {
		fmt.Fprintf(&b, ", linked at entry %s", list(links))
	}
	return b.String()
}

// pages says which numbers of their lists the pages are, where they are not all.
func (v *Verdict) pages() string {
	var parts []string
	for _, l := range v.Lists {
		n := int64(len(l.Page.Postings))
		switch {
		case l.Head.N == 0 || l.Page.Covers(l.Head, v.From, v.To):
		case n == 0:
			parts = append(parts, fmt.Sprintf("none of %s", group(l.Head.N)))
		default:
			parts = append(parts, fmt.Sprintf("numbers %s to %s of %s", group(l.Page.Start+1), group(l.Page.Start+n), group(l.Head.N)))
		}
	}
	if !v.Proven {
		parts = append(parts, "operator-attested")
	}
	return strings.Join(parts, ", ")
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// group writes a number with commas between thousands.
func group(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func count(n int, what string) string {
	switch n {
	case 0:
		return "no " + what + "s"
	case 1:
		return "1 " + what
	}
	return group(int64(n)) + " " + what + "s"
}

// who names witnesses of a policy, whose names are any bytes.
func who(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	var all []string
	for _, n := range names {
		if q := strconv.QuoteToASCII(n); q != `"`+n+`"` {
			n = q
		}
		all = append(all, n)
	}
	return strings.Join(all, ", ")
}

func list(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}
