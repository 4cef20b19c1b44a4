package serve

import (
	"crypto/tls"
	"sync/atomic"
)

// TLS is the TLS of listeners, the files of which can be read again while they serve.
type TLS struct {
	current atomic.Pointer[tls.Config]
	outer   *tls.Config // asks current for each connection; nil without TLS
}

// Open reads the files for the first time, as Config does.
func (f TLSFiles) Open() (*TLS, error) {
	conf, err := f.Config()
	if err != nil || conf == nil {
		return &TLS{}, err
	}
	t := &TLS{}
	t.current.Store(conf)
	t.outer = conf.Clone()
	t.outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return t.current.Load(), nil }
	return t, nil
}

// Config is the configuration of a listener, which follows Replace; nil without TLS.
func (t *TLS) Config() *tls.Config { return t.outer }

// Replace takes what another Open has read for all connections to come; those that are open stay as they are. Whether there
// is TLS at all, and whether clients need a certificate, cannot change: that is an error and changes nothing.
func (t *TLS) Replace(by *TLS) error {
	if (t.outer == nil) != (by.outer == nil) || t.outer != nil && t.outer.ClientAuth != by.outer.ClientAuth {
		return Usagef("turning TLS or client certificates on or off needs a restart")
	}
	if by.outer != nil {
		t.current.Store(by.current.Load())
	}
	return nil
}
