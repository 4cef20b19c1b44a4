package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"idlog/witness"
	"idlog/witness/verify"
)

// status is what a witness says of itself to everybody: /status.json, and the
// page at /.
type status struct {
	Name    string           `json:"name"`
	VKeys   []string         `json:"vkeys"`
	Started time.Time        `json:"started"`
	Answers map[string]int64 `json:"answers"` // to add-checkpoint since the start, by HTTP status
	Logs    []logStatus      `json:"logs"`
}

// logStatus is what a witness knows of one log.
type logStatus struct {
	Origin string   `json:"origin"`
	URL    string   `json:"url,omitempty"`
	VKeys  []string `json:"vkeys"`
	// Listed is false for a log that was taken out of the list: it is remembered
	// and no longer cosigned.
	Listed bool `json:"listed"`
	// Size, Root and Cosigned are missing of a log that was never cosigned.
	Size           *int64          `json:"size,omitempty"`
	Root           string          `json:"root,omitempty"` // base64
	Cosigned       *time.Time      `json:"cosigned,omitempty"`
	Checkpoint     string          `json:"checkpoint,omitempty"` // its path
	Contradictions []contradiction `json:"contradictions"`
	// Index is missing unless the witness verifies it.
	Index *indexStatus `json:"index,omitempty"`
}

// indexStatus is how far the index of a log was verified.
type indexStatus struct {
	Verified int64  `json:"verified"` // entries read and judged: the largest size that may be cosigned
	Known    int64  `json:"known"`    // size of the newest checkpoint that the log showed
	Refused  string `json:"refused,omitempty"`
	Problem  string `json:"problem,omitempty"`
}

// contradiction is one file that is kept against a log.
type contradiction struct {
	Path   string    `json:"path"`   // where to fetch it
	Proven bool      `json:"proven"` // by itself, to whoever has the log's key
	Kept   time.Time `json:"kept"`
}

// pages are the handlers for people and tools.
type pages struct {
	witness  *witness.Witness
	verifier *verify.Verifier // nil: the index is not verified
	store    *witness.Store
	answers  *answers
	started  time.Time
	logger   *slog.Logger
}

func (p *pages) register(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { rw.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /{$}", p.html)
	mux.HandleFunc("GET /status.json", p.json)
	mux.HandleFunc("GET /evidence/{name}", p.evidence)
}

// status reads what is known now. What it tells of two logs may be of two
// moments.
func (p *pages) status() (*status, error) {
	logs := p.witness.Logs()
	kept, err := p.store.Contradictions()
	if err != nil {
		return nil, err
	}
	s := &status{VKeys: p.witness.VKeys(), Started: p.started, Answers: p.answers.snapshot(), Logs: []logStatus{}}
	s.Name, _, _ = strings.Cut(s.VKeys[0], "+")
	origins := logs.Origins()
	for _, o := range p.store.Origins() {
		if !logs.Has(o) {
			origins = append(origins, o)
		}
	}
	for _, o := range origins {
		l := logStatus{Origin: o, URL: logs.URL(o), VKeys: logs.VKeys(o), Listed: logs.Has(o), Contradictions: []contradiction{}}
		if l.VKeys == nil {
			l.VKeys = []string{}
		}
		if latest := p.store.Latest(o); latest != nil {
			t := time.Unix(latest.Time, 0).UTC()
			l.Size, l.Cosigned = &latest.Size, &t
			l.Root = base64.StdEncoding.EncodeToString(latest.Root[:])
			l.Checkpoint = witness.CheckpointPath(o)
		}
		if p.verifier != nil && l.Listed {
			v := p.verifier.Status(o)
			l.Index = &indexStatus{Verified: v.Read, Known: v.Known, Refused: v.Refused, Problem: v.Problem}
		}
		for _, c := range kept {
			if c.Against(o) {
				l.Contradictions = append(l.Contradictions, contradiction{Path: "/evidence/" + c.Name, Proven: c.Proven, Kept: c.Time.UTC().Truncate(time.Second)})
			}
		}
		s.Logs = append(s.Logs, l)
	}
	return s, nil
}

func (p *pages) json(rw http.ResponseWriter, _ *http.Request) {
	s, err := p.status()
	if err != nil {
		p.fail(rw, err)
		return
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		p.fail(rw, err)
		return
	}
	harmless(rw.Header())
	rw.Header().Set("Content-Type", "application/json")
	rw.Write(append(b, '\n'))
}

func (p *pages) html(rw http.ResponseWriter, _ *http.Request) {
	s, err := p.status()
	if err != nil {
		p.fail(rw, err)
		return
	}
	var b bytes.Buffer
	if err := page.Execute(&b, s); err != nil {
		p.fail(rw, err)
		return
	}
	harmless(rw.Header())
	rw.Header().Set("Content-Type", "text/html; charset=utf-8")
	rw.Write(b.Bytes())
}

// evidence hands out what is kept: the log's readers are to see it.
func (p *pages) evidence(rw http.ResponseWriter, r *http.Request) {
	b, err := p.store.Evidence(r.PathValue("name"))
	if errors.Is(err, fs.ErrNotExist) {
		http.Error(rw, "no such evidence is kept here", http.StatusNotFound)
		return
	}
	if err != nil {
		p.fail(rw, err)
		return
	}
	harmless(rw.Header())
	rw.Header().Set("Content-Type", "application/octet-stream")
	rw.Header().Set("Content-Disposition", "attachment")
	rw.Write(b)
}

func (p *pages) fail(rw http.ResponseWriter, err error) {
	p.logger.Error("not showing the status", "err", err)
	http.Error(rw, "the witness failed", http.StatusInternalServerError)
}

// harmless lets a browser do nothing with an answer but show it: what is in it
// was written by logs.
func harmless(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+styleHash+"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache")
}

const style = `
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color-scheme: light dark }
code { font: 13px ui-monospace, monospace; overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .35rem .8rem .35rem 0; border-top: 1px solid #8884 }
.bad { color: #c00; font-weight: 600 }
.quiet { opacity: .65 }
`

var styleHash = func() string {
	h := sha256.Sum256([]byte(style))
	return base64.StdEncoding.EncodeToString(h[:])
}()

// page escapes all that it is given: origins and URLs are the list's, and what
// is in a list may be a log's.
var page = template.Must(template.New("status").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{.Name}}</title>
<style>` + style + `</style>
<h1>{{.Name}}</h1>
<p>A witness of transparency logs, <a href="https://c2sp.org/tlog-witness">c2sp.org/tlog-witness</a>. It cosigns what continues
the latest checkpoint it has cosigned, and keeps what does not. The same as <a href="/status.json">JSON</a>.</p>
<h2>Keys</h2>
<ul>{{range .VKeys}}<li><code>{{.}}</code></li>{{end}}</ul>
<h2>Logs</h2>
<table>
<tr><th>Log</th><th>Size</th><th>Root</th><th>Last cosigned</th><th>Contradictions</th></tr>
{{range .Logs}}<tr>
<td>{{.Origin}}{{if .URL}}<br><span class="quiet">{{.URL}}</span>{{end}}{{if not .Listed}}<br><span class="quiet">no longer cosigned</span>{{end}}{{with .Index}}<br>{{if .Refused}}<span class="bad">refused for ever: {{.Refused}}</span>{{else}}<span class="quiet">index verified for {{.Verified}} of {{.Known}} entries{{if .Problem}}; {{.Problem}}{{end}}</span>{{end}}{{end}}</td>
{{if .Cosigned}}<td>{{.Size}}</td><td><a href="{{.Checkpoint}}"><code>{{.Root}}</code></a></td><td>{{.Cosigned.Format "2006-01-02 15:04:05 UTC"}}</td>
{{else}}<td colspan="3" class="quiet">never</td>
{{end}}<td>{{range .Contradictions}}<a href="{{.Path}}">{{if .Proven}}<span class="bad">proven</span>{{else}}not proven{{end}}</a> {{.Kept.Format "2006-01-02 15:04:05 UTC"}}<br>
{{else}}<span class="quiet">none</span>{{end}}</td>
</tr>
{{else}}<tr><td colspan="5" class="quiet">no logs yet</td></tr>
{{end}}</table>
<h2>Answers</h2>
<p>To <code>add-checkpoint</code> since {{.Started.Format "2006-01-02 15:04:05 UTC"}}:
{{range $code, $n := .Answers}}<code>{{$code}}</code> {{$n}} &nbsp; {{else}}none{{end}}</p>
</html>
`))
