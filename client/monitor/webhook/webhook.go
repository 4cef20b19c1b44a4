// Package webhook hands messages to a URL in the way of standardwebhooks.com:
// a POST whose id, time and signature stand in its headers.
//
// It trusts the URL and the secret that its caller was configured with, and
// nothing that the receiver answers but the status. Neither the URL, which may
// be a secret of its own, nor the secret is ever in an error. Nothing is kept: a
// message that was not answered with 2xx is the caller's to send again, under
// the same id, and the receiver's to tell from the one before. A Hook may be
// used by any number of goroutines.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"idlog/client/remote"
)

const (
	timeout = 15 * time.Second
	// A key has 24 to 64 bytes, says the specification.
	minSecret, maxSecret = 24, 64
	secretPrefix         = "whsec_"
)

// Hook is one receiver.
type Hook struct {
	url    string
	secret []byte
	http   *http.Client
}

// New returns the hook of a URL, https or else on loopback, and of a secret as
// receivers give it: whsec_ and the base64 of 24 to 64 bytes. Space around the
// secret is passed over. An empty secret signs nothing.
func New(target, secret string) (*Hook, error) {
	u, err := url.Parse(target)
	if err == nil {
		// A query is a receiver's own, and may be its key.
		bare := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, User: u.User}
		_, err = remote.Parse(bare.String())
	} else {
		err = errors.New("it is not a URL") // the error has the URL in it
	}
	if err != nil {
		return nil, fmt.Errorf("reading the webhook's URL: %w", err)
	}
	h := &Hook{url: target, http: remote.Client(nil)}
	if secret = strings.TrimSpace(secret); secret != "" {
		b64, ok := strings.CutPrefix(secret, secretPrefix)
		key, err := base64.StdEncoding.DecodeString(b64)
		if !ok || err != nil || len(key) < minSecret || len(key) > maxSecret {
			return nil, fmt.Errorf("reading the webhook's secret: it is not %s and the base64 of %d to %d bytes", secretPrefix, minSecret, maxSecret)
		}
		h.secret = key
	}
	return h, nil
}

// Post sends one message, once, and returns nil if it was answered with 2xx. The
// id is the message's own, the same at each attempt.
func (h *Hook) Post(ctx context.Context, id string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return errors.New("calling the webhook: its URL makes no request")
	}
	now := strconv.FormatInt(time.Now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "idlog-monitor")
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", now)
	if h.secret != nil {
		req.Header.Set("webhook-signature", h.sign(id, now, body))
	}
	res, err := h.http.Do(req)
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the URL
	}
	if err != nil {
		return fmt.Errorf("calling the webhook: %w", err)
	}
	defer res.Body.Close()
	// What it says is drained, a little, so that the connection serves again.
	io.CopyN(io.Discard, res.Body, 4<<10)
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("calling the webhook: status %d", res.StatusCode)
	}
	return nil
}

func (h *Hook) sign(id, now string, body []byte) string {
	mac := hmac.New(sha256.New, h.secret)
	fmt.Fprintf(mac, "%s.%s.%s", id, now, body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
