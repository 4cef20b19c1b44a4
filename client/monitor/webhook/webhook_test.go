package webhook_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"idlog/client/monitor/webhook"
	"idlog/client/remote"
)

func TestRefuses(t *testing.T) {
	good := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 24))
	for name, c := range map[string]struct{ url, secret string }{
		"plain http":     {"http://hooks.example/SECRET", good},
		"no host":        {"https:///SECRET", good},
		"no URL":         {"SECRET\n", good},
		"a user":         {"https://SECRET@hooks.example/", good},
		"another scheme": {"file:///SECRET", good},
		"no prefix":      {"https://hooks.example", "SECRET"},
		"no base64":      {"https://hooks.example", "whsec_SECRET!"},
		"short":          {"https://hooks.example", "whsec_" + base64.StdEncoding.EncodeToString([]byte("SECRET"))},
	} {
		_, err := webhook.New(c.url, c.secret)
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", name, err)
		}
		if plain := errors.Is(err, remote.ErrPlaintext); plain != (name == "plain http") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, target := range []string{"https://hooks.example/a?b=c", "http://127.0.0.1:1/", "http://localhost/"} {
		if _, err := webhook.New(target, good); err != nil {
			t.Error(err)
		}
	}
}

// Errors say what happened, and neither where nor how it was signed.
func TestPost(t *testing.T) {
	status := http.StatusOK
	var signature string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		signature = r.Header.Get("webhook-signature")
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	h, err := webhook.New(s.URL+"/SECRET?token=SECRET", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []int{200, 202, 204, 301, 307, 400, 410, 500} {
		status = code
		err := h.Post(t.Context(), "id", []byte("{}"))
		if (err == nil) != (code/100 == 2) || err != nil && strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%d: %v", code, err)
		}
		if signature != "" {
			t.Errorf("signed with no secret: %s", signature)
		}
	}
	s.Close()
	if err := h.Post(t.Context(), "id", nil); err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("nobody there: %v", err)
	}
}
