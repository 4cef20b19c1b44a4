package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idlog/cmd/idlogd/config"
)

const goodConfig = `listen:
  grpc: 127.0.0.1:0
  http: 127.0.0.1:0
logs:
  - family: acme.example/id
    origin: acme.example/id/0
    dir: log
    heads: heads
    journal: journal
    subjects: subjects
    policy: policy.tlog-policy
    keys:
      log: [keys/log.key]
      ticket: keys/ticket.key
      master: keys/master.key
    sources:
      - name: okta
        issuer: https://acme.okta.com
        principals: [local]
`

func TestConfigIsRead(t *testing.T) {
	c, err := config.Parse("/srv/idlogd.yaml", []byte(goodConfig))
	if err != nil {
		t.Fatal(err)
	}
	want := []config.Log{{
		Family: "acme.example/id", Origin: "acme.example/id/0",
		Dir: "/srv/log", Heads: "/srv/heads", Journal: "/srv/journal", Subjects: "/srv/subjects",
		Policy:     "/srv/policy.tlog-policy",
		Keys:       config.Keys{Log: []string{"/srv/keys/log.key"}, Ticket: "/srv/keys/ticket.key", Master: "/srv/keys/master.key"},
		Sources:    []config.Source{{Name: "okta", Issuer: "https://acme.okta.com", Principals: []string{"local"}, Readers: []string{}}},
		AckTimeout: 10 * time.Second, TicketDeadline: 24 * time.Hour, MaxBacklog: 65536, Republish: time.Minute, MaxVerifiedLag: time.Minute,
		Index: config.Index{Enabled: new(true), Interval: time.Second},
	}}
	if diff := cmp.Diff(want, c.Logs); diff != "" {
		t.Errorf("logs differ (-want +got):\n%s", diff)
	}
	if !*c.Reflection {
		t.Error("reflection is not on by default")
	}
}

// Every refusal names the file, the line and the setting.
func TestConfigIsRefused(t *testing.T) {
	for _, tt := range []struct{ name, old, new, want string }{
		{"empty", goodConfig, "", "f.yaml: the file is empty"},
		{"not yaml", "listen:", "listen: [", "f.yaml:"},
		{"unknown key", "    dir: log\n", "    dri: log\n", "f.yaml:7: logs.0.dri: no such setting; did you mean dir?"},
		{"two documents", goodConfig, goodConfig + "---\n" + goodConfig, "more than one document"},
		{"wrong type", "grpc: 127.0.0.1:0", "grpc: [1]", "f.yaml:2: "},
		{"no grpc", "  grpc: 127.0.0.1:0\n", "", "f.yaml:1: listen.grpc: missing"},
		{"no http", "  http: 127.0.0.1:0\n", "", "f.yaml:1: listen.http: missing"},
		{"cert alone", "logs:\n", "tls:\n  cert: c.pem\nlogs:\n", "f.yaml:4: tls: cert, key and client_ca belong together"},
		{"family", "family: acme.example/id", "family: acme example", "f.yaml:5: logs.0.family: "},
		{"origin", "origin: acme.example/id/0", "origin: other.example/0", "f.yaml:6: logs.0.origin: "},
		{"origin without shard", "origin: acme.example/id/0", "origin: acme.example/id/", "f.yaml:6: logs.0.origin: "},
		{"heads in the log", "heads: heads", "heads: log/heads", "f.yaml:8: logs.0.heads: "},
		{"one folder twice", "journal: journal", "journal: ./heads", "f.yaml:9: logs.0.journal: "},
		{"no subjects", "    subjects: subjects\n", "", "logs.0.subjects: missing"},
		{"no policy", "    policy: policy.tlog-policy\n", "", "logs.0.policy: missing"},
		{"no log key", "log: [keys/log.key]", "log: []", "f.yaml:13: logs.0.keys.log: missing"},
		{"ack timeout", "    heads: heads\n", "    heads: heads\n    ack_timeout: 2h\n", "f.yaml:9: logs.0.ack_timeout: 2h0m0s is out of range"},
		{"duration", "    heads: heads\n", "    heads: heads\n    ack_timeout: soon\n", "f.yaml:9: "},
		{"ticket deadline", "    heads: heads\n", "    heads: heads\n    ticket_deadline: 25h\n", "f.yaml:9: logs.0.ticket_deadline: 25h0m0s is out of range"},
		{"parts of seconds", "    heads: heads\n", "    heads: heads\n    ticket_deadline: 1500ms\n", "f.yaml:9: logs.0.ticket_deadline: 1.5s is out of range"},
		{"backlog", "    heads: heads\n", "    heads: heads\n    max_backlog: -1\n", "f.yaml:9: logs.0.max_backlog: "},
		{"index in another folder", "    heads: heads\n", "    heads: heads\n    index: {dir: journal/index}\n", "f.yaml:9: logs.0.index.dir: "},
		{"index interval", "    heads: heads\n", "    heads: heads\n    index: {interval: 2h}\n", "f.yaml:9: logs.0.index.interval: "},
		{"verified lag", "    heads: heads\n", "    heads: heads\n    max_verified_lag: 25h\n", "f.yaml:9: logs.0.max_verified_lag: 25h0m0s is out of range"},
		{"source name", "name: okta", "name: Okta", "f.yaml:17: logs.0.sources.0.name: "},
		{"source twice", "        principals: [local]\n", "        principals: [local]\n      - name: okta\n", "f.yaml:20: logs.0.sources.1.name: \"okta\" is listed twice"},
		{"empty principal", "principals: [local]", "principals: [\"\"]", "f.yaml:19: logs.0.sources.0.principals.0: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(goodConfig, tt.old) {
				t.Fatalf("the test replaces %q, which is not there", tt.old)
			}
			_, err := config.Parse("f.yaml", []byte(strings.Replace(goodConfig, tt.old, tt.new, 1)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestFamilyTwiceIsRefused(t *testing.T) {
	second := strings.NewReplacer("dir: log", "dir: b/log", "heads: heads", "heads: b/heads", "journal: journal", "journal: b/journal", "subjects: subjects", "subjects: b/subjects").
		Replace(goodConfig[strings.Index(goodConfig, "  - family"):])
	_, err := config.Parse("f.yaml", []byte(goodConfig+second))
	if err == nil || !strings.Contains(err.Error(), "f.yaml:20: logs.1.family: already used by logs.0.family") {
		t.Errorf("error %v", err)
	}
}
