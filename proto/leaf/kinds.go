package leaf

const (
	magicEvent   = "idlog-event/v1"
	magicSubject = "idlog-subject/v1"
	magicKeys    = "idlog-keys/v1"
	magicErasure = "idlog-erasure/v1"
	magicLoss    = "idlog-loss/v1"
	magicShard   = "idlog-shard/v1"
	magicRoot    = "tlog-index-root/v1"
)

// The walks below are the grammar of SPEC 2.1. Each is written once and runs in both directions.

func (e *Event) walk(c *codec) {
	c.word(magicEvent)
	c.text("log", &e.Log, checkName)
	c.text("source", &e.Source, checkSource)
	c.num("received", &e.Received, 0)
	c.text("assurance", (*string)(&e.Assurance), checkAssurance)
	c.num("keys", &e.Keys, 1)
	c.hash("fields", &e.Fields)
	c.tags(&e.Tags, 0)
}

func (s *Subject) walk(c *codec) {
	c.word(magicSubject)
	c.text("log", &s.Log, checkName)
	c.num("received", &s.Received, 0)
	c.num("keys", &s.Keys, 1)
	if c.writing && (s.Commit == nil) == (s.Fields == nil) {
		c.fail("a subject has either a commit or fields")
		return
	}
	if c.has("commit ", s.Commit != nil) {
		if c.writing && len(s.Links)+len(s.Unlinks) > 0 {
			c.fail("an enrolment has no links")
			return
		}
		if !c.writing {
			s.Commit = new(Hash)
		}
		c.hash("commit", s.Commit)
		c.hashes("etag", &s.Etags, 1, 1)
		return
	}
	if c.has("link ", len(s.Links) > 0) {
		if c.writing && len(s.Unlinks) > 0 {
			c.fail("a subject has either links or unlinks")
			return
		}
		c.hashes("link", &s.Links, 2, 16)
	} else {
		c.hashes("unlink", &s.Unlinks, 2, 16)
	}
	if !c.writing {
		s.Fields = new(Hash)
	}
	c.hash("fields", s.Fields)
	c.hashes("etag", &s.Etags, 2, 16)
}

func (k *Keys) walk(c *codec) {
	c.word(magicKeys)
	c.text("log", &k.Log, checkName)
	c.num("received", &k.Received, 0)
	c.num("keys", &k.Epoch, 1)
	c.hash("vrf", &k.VRF)
	c.commits(&k.Commits)
}

func (e *Erasure) walk(c *codec) {
	c.word(magicErasure)
	c.text("log", &e.Log, checkName)
	c.num("received", &e.Received, 0)
	c.hash("fields", &e.Fields)
	if c.has("range ", e.To != 0 || e.From != 0) {
		if c.writing && len(e.Enrolments)+len(e.Tags) > 0 {
			c.fail("an erasure has either enrolments or a range")
			return
		}
		c.span(&e.From, &e.To)
		return
	}
	c.hashes("enrolment", &e.Enrolments, 1, 16)
	c.tags(&e.Tags, 1)
}

func (l *Loss) walk(c *codec) {
	c.word(magicLoss)
	c.text("log", &l.Log, checkName)
	c.num("received", &l.Received, 0)
	c.hash("fields", &l.Fields)
	c.span(&l.From, &l.To)
}

func (s *Shard) walk(c *codec) {
	c.word(magicShard)
	c.text("log", &s.Log, checkName)
	c.num("received", &s.Received, 0)
	if c.writing && (s.Genesis == nil) == (s.Seal == nil) {
		c.fail("a shard leaf is either a genesis or a seal")
		return
	}
	if c.has("genesis\n", s.Genesis != nil) {
		if !c.writing {
			s.Genesis = new(Genesis)
		}
		s.Genesis.walk(c)
		return
	}
	if !c.writing {
		s.Seal = new(Seal)
	}
	c.word("seal")
	c.text("next", &s.Seal.Next, checkName)
	c.keys(&s.Seal.Keys)
}

func (g *Genesis) walk(c *codec) {
	c.word("genesis")
	c.text("mapfn", &g.MapFn, checkName)
	c.num("keys", &g.Keys, 1)
	c.text("ticket", &g.Ticket, checkVKey)
	if c.has("previous ", g.Previous != nil) {
		if !c.writing {
			g.Previous = new(Previous)
		}
		c.previous(g.Previous)
	}
	if c.has("reason ", g.Reason != "") {
		c.text("reason", &g.Reason, checkName)
	}
}

func (r *Root) walk(c *codec) {
	c.word(magicRoot)
	c.text("", &r.Origin, checkName)
	c.num("", &r.N, 0)
	c.hash("", &r.LogRoot)
	c.text("", &r.MapFn, checkMapFn)
	c.num("", &r.Keys, 0)
	c.hash("", &r.MapRoot)
	c.num("", &r.Millis, 0)
}

// Format implements [Leaf].
func (e *Event) Format() ([]byte, error) { return format(e, 256+54*len(e.Tags)) }

// Format implements [Leaf].
func (s *Subject) Format() ([]byte, error) { return format(s, 256) }

// Format implements [Leaf].
func (k *Keys) Format() ([]byte, error) { return format(k, 256) }

// Format implements [Leaf].
func (e *Erasure) Format() ([]byte, error) { return format(e, 256) }

// Format implements [Leaf].
func (l *Loss) Format() ([]byte, error) { return format(l, 256) }

// Format implements [Leaf].
func (s *Shard) Format() ([]byte, error) { return format(s, 256) }

// Format implements [Leaf].
func (r *Root) Format() ([]byte, error) { return format(r, 256) }
