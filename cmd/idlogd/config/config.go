// Package config is the configuration of idlogd: the file, its defaults and
// checks, what the environment and flags say in place of it, and the key and
// policy files that it names.
//
// It trusts whoever may write the file, and believes nothing in it: what is
// wrong is refused with file, line and remedy before anything is opened. It
// only reads, so a crash changes nothing. Its functions may be called from any
// goroutine; a Config is its caller's.
package config

import (
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"
)

// Name is what init calls the file.
const Name = "idlogd.yaml"

// Config is the file of `idlogd serve`, and its comments are the manual: what
// `idlogd config manual` and `idlogd config schema` print is made of this very
// file. A key that is not here is refused. Names of files and folders are relative
// to the folder of the file. Durations are written 250ms, 10s, 1h30m; sizes 64KiB,
// 8MiB, 1GiB. What is tagged `reload` takes effect at SIGHUP, all else at the next
// start.
type Config struct {
	// Listen is the addresses, each host:port; port 0 takes a free one.
	Listen Listen `yaml:"listen"`
	// TLS of the listeners. Without it they are plaintext, and then only on a loopback address.
	TLS TLS `yaml:"tls,omitempty"`
	// Reflection lets tools such as grpcurl ask for the schema.
	Reflection *bool `yaml:"reflection,omitempty"`
	// ShutdownTimeout bounds how long SIGTERM waits for calls in flight. A second signal ends at once.
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout,omitempty"`
	// LogLevel is the least level of log lines: debug, info, warn or error. SIGUSR1 turns debug on and off.
	LogLevel string `yaml:"log_level,omitempty" reload:"sighup"`
	// LogFormat of log lines: json, text, or auto, which is text on a terminal.
	LogFormat string `yaml:"log_format,omitempty"`
	// Limits of what callers may hold and send.
	Limits Limits `yaml:"limits,omitempty"`
	// Logs this process serves, one per tenant. Requests that name no family mean the first.
	Logs []Log `yaml:"logs"`

	// File is the name under which it was read.
	File string `yaml:"-"`

	root   *yaml.Node        // where each value stands in the file, for errors
	origin map[string]string // by path: where a value comes from that is not a default
}

// Listen is the addresses.
type Listen struct {
	// GRPC is where the API is served.
	GRPC string `yaml:"grpc"`
	// HTTP is where tiles, checkpoint and archive are served.
	HTTP string `yaml:"http"`
	// Admin is where metrics, health and profiles are served: loopback, or with TLS and a client CA.
	Admin string `yaml:"admin,omitempty"`
}

// TLS names PEM files. They are read again at SIGHUP.
type TLS struct {
	// Cert is the certificate chain of the server.
	Cert string `yaml:"cert" reload:"sighup"`
	// Key is the key of the server.
	Key string `yaml:"key" reload:"sighup"`
	// ClientCA are the authorities that clients must have a certificate of.
	ClientCA string `yaml:"client_ca" reload:"sighup"`
}

// Limits bound what callers hold at once, in total and each. What is over a bound is refused at once and never queued.
type Limits struct {
	// Calls being answered, streams apart.
	Calls int64 `yaml:"calls,omitempty" reload:"sighup"`
	// CallsEach is that of one principal.
	CallsEach int64 `yaml:"calls_each,omitempty" reload:"sighup"`
	// Streams that are open.
	Streams int64 `yaml:"streams,omitempty" reload:"sighup"`
	// StreamsEach is that of one principal.
	StreamsEach int64 `yaml:"streams_each,omitempty" reload:"sighup"`
	// Bytes of requests being answered.
	Bytes Size `yaml:"bytes,omitempty" reload:"sighup"`
	// BytesEach is that of one principal.
	BytesEach Size `yaml:"bytes_each,omitempty" reload:"sighup"`
	// EventsPerSecond is how many events one principal may submit a second, in the long run; 0 sets no limit. A call of
	// 500 events is always let in when nothing came before it.
	EventsPerSecond int64 `yaml:"events_per_second,omitempty" reload:"sighup"`
}

// Log is one log.
type Log struct {
	// Family is the name that leaves carry and requests may name, such as acme.example/id.
	Family string `yaml:"family"`
	// Origin is the name of this shard in its checkpoints and vkeys: family, "/" and a shard.
	Origin string `yaml:"origin"`
	// Dir is the folder of the log itself: tiles and what is published.
	Dir string `yaml:"dir"`
	// Heads is the folder of the signed tree heads, which guard dir. It must not lie in dir, better not on its disk, and
	// never go into the same backup.
	Heads string `yaml:"heads"`
	// Journal is the folder of pending leaves and encrypted payloads.
	Journal string `yaml:"journal"`
	// Subjects is the folder of the persons' secrets.
	Subjects string `yaml:"subjects"`
	// Keys are the files of the private keys.
	Keys Keys `yaml:"keys"`
	// Policy is the tlog-policy file with this log's keys, its witnesses and their quorum.
	Policy string `yaml:"policy"`
	// Verifiers is a tlog-policy file with the cosigners that verify the index and their quorum, apart from the witnesses in
	// policy: nothing that is published waits for them, and the index asks them before it logs a root.
	Verifiers string `yaml:"verifiers,omitempty"`
	// MaxVerifiedLag is how long something may be published that the verifiers have not cosigned before that is a warning.
	MaxVerifiedLag time.Duration `yaml:"max_verified_lag,omitempty"`
	// Sources that may write. A source that is new here gets its tag keys at the next start.
	Sources []Source `yaml:"sources"`
	// AckTimeout is how long a call waits for the witness quorum before it is given a ticket.
	AckTimeout time.Duration `yaml:"ack_timeout,omitempty"`
	// TicketDeadline is how long after it was received a ticket promises an event; whole seconds, at most 24h.
	TicketDeadline time.Duration `yaml:"ticket_deadline,omitempty"`
	// MaxBacklog is how many events may wait for the quorum; beyond it calls are refused.
	MaxBacklog int64 `yaml:"max_backlog,omitempty"`
	// MinInterval between two checkpoints; 0s publishes each batch at once. Seconds where public witnesses ask for it.
	MinInterval time.Duration `yaml:"min_interval,omitempty"`
	// Republish an idle log this often, with fresh cosignatures. Keep it below a third of what readers accept as fresh.
	Republish time.Duration `yaml:"republish,omitempty"`
	// Index is where entries are found by, with proof that none is left out.
	Index Index `yaml:"index,omitempty"`
	// DiskReserve is the free space of each of the log's disks below which nothing more is taken in; reading goes on.
	// Unless set it is 1GiB, or 5% of a disk of less than 20GiB.
	DiskReserve Size `yaml:"disk_reserve,omitempty"`
	// Staging keeps the state of this log out of /readyz.
	Staging bool `yaml:"staging,omitempty"`
}

// Index is the verifiable index of a log. What it holds is made again from the log if it is lost.
type Index struct {
	// Enabled keeps the index, and logs its roots.
	Enabled *bool `yaml:"enabled,omitempty"`
	// Dir is its folder. Unless set it is the folder index in dir.
	Dir string `yaml:"dir,omitempty"`
	// Interval is the least time between two roots in the log. One follows an event at once, so this bounds how many there are, and
	// how far the index may be behind under load.
	Interval time.Duration `yaml:"interval,omitempty"`
}

// IndexDir is the folder of the index.
func (l *Log) IndexDir() string {
	if l.Index.Dir != "" {
		return l.Index.Dir
	}
	return filepath.Join(l.Dir, "index")
}

// Keys names key files. Each is refused if others than its owner can read it.
type Keys struct {
	// Log keys, one per file: an Ed25519 key and, when wanted, an ML-DSA-44 key. Every checkpoint carries a line of each.
	Log []string `yaml:"log"`
	// Ticket signs promises to log and nothing else.
	Ticket string `yaml:"ticket"`
	// Master encrypts payloads and persons' secrets. Lost, everything stays closed for ever.
	Master string `yaml:"master"`
}

// Source is one source of a log.
type Source struct {
	// Name of the source instance: 1 to 64 of a-z, 0-9, ".", "_" and "-".
	Name string `yaml:"name"`
	// Issuer of the identifiers in its events, for connectors of this process whose events do not name it. Callers
	// name it themselves.
	Issuer string `yaml:"issuer,omitempty"`
	// Principals that may write: the URI, DNS name or common name of a client certificate, or "local" for plaintext
	// callers on this machine. Nobody else is let in.
	Principals []string `yaml:"principals" reload:"sighup"`
	// Readers are principals that may ask for histories as those above may, and write nothing: auditors. Answers show them tag
	// keys of this source and handles of persons, which cannot be taken back.
	Readers []string `yaml:"readers,omitempty" reload:"sighup"`
}

// withDefaults fills what may be left out.
func (c *Config) withDefaults() {
	if c.Reflection == nil {
		yes := true
		c.Reflection = &yes
	}
	def(&c.Listen.Admin, "127.0.0.1:7490")
	def(&c.ShutdownTimeout, 30*time.Second)
	def(&c.LogLevel, "info")
	def(&c.LogFormat, "auto")
	l := &c.Limits
	def(&l.Calls, 4096)
	def(&l.CallsEach, min(2048, l.Calls))
	def(&l.Streams, 1024)
	def(&l.StreamsEach, min(256, l.Streams))
	def(&l.Bytes, 256<<20)
	def(&l.BytesEach, min(128<<20, l.Bytes))
	for i := range c.Logs {
		l := &c.Logs[i]
		for j := range l.Sources {
			if s := &l.Sources[j]; s.Readers == nil {
				s.Readers = []string{} // nobody, as it is printed
			}
		}
		def(&l.AckTimeout, 10*time.Second)
		def(&l.TicketDeadline, 24*time.Hour)
		def(&l.MaxBacklog, 65536)
		def(&l.Republish, time.Minute)
		def(&l.MaxVerifiedLag, time.Minute)
		if l.Index.Enabled == nil {
			yes := true
			l.Index.Enabled = &yes
		}
		def(&l.Index.Interval, time.Second)
	}
}

// def sets what was left out.
func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}
