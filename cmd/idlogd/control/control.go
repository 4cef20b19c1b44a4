// Package control is how commands on this machine speak to the server that has a
// log open: HTTP over a socket in the log's own folder. Who may open the socket
// is decided by the file system, as it is for the log's files: the server's user.
// So there is no port, no secret and no certificate.
//
// The server trusts whoever opens the socket as it trusts its own user. A crash
// leaves a socket that nobody answers, which the next server replaces.
//
//	POST /backup {"to": DIR}
//
// is answered with a line of JSON for each step and one for the end.
package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"idlog/log/backup"
)

// The folder, which only its owner may enter, and the socket in it.
const (
	folderName = "control"
	socketName = "socket"
	maxRequest = 8 << 10
)

// ErrNotRunning says that no server has the log open, or that it cannot be asked.
var ErrNotRunning = errors.New("no server answers")

// request is the body of POST /backup.
type request struct {
	To string `json:"to"` // absolute
}

// line is one line of an answer. The last one has Done, Refused or Error.
type line struct {
	Step    string               `json:"step,omitempty"`
	At      int64                `json:"at,omitempty"`
	Total   int64                `json:"total,omitempty"`
	Done    bool                 `json:"done,omitempty"`
	Refused *backup.RefusedError `json:"refused,omitempty"`
	Error   string               `json:"error,omitempty"`
}

func socket(dir string) string { return filepath.Join(dir, folderName, socketName) }

// Serve answers on the socket in the folder of a log that the caller has open,
// until ctx ends; what runs then is ended too. Source is what a backup is made of.
func Serve(ctx context.Context, dir string, source func() backup.Source) error {
	if err := os.MkdirAll(filepath.Join(dir, folderName), 0o700); err != nil {
		return fmt.Errorf("opening the control socket: %w", err)
	}
	// We hold the log's lock: whoever made this socket is gone.
	if err := os.Remove(socket(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("opening the control socket: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", socket(dir))
	if err != nil {
		return fmt.Errorf("opening the control socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /backup", func(w http.ResponseWriter, r *http.Request) { answer(w, r, source()) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serving the control socket: %w", err)
	case <-ctx.Done(): // and with it every request
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err = server.Shutdown(last)
	<-ended
	return err
}

// answer makes one backup.
func answer(w http.ResponseWriter, r *http.Request, source backup.Source) {
	var req request
	dec := json.NewDecoder(io.LimitReader(r.Body, maxRequest))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil || !filepath.IsAbs(req.To) {
		http.Error(w, `want {"to": "/folder"}`, http.StatusBadRequest)
		return
	}
	out := json.NewEncoder(w)
	flush := http.NewResponseController(w)
	say := func(l line) {
		// Nobody listens: then the request's context ends, and with it the backup.
		if out.Encode(l) == nil {
			_ = flush.Flush()
		}
	}
	var told time.Time
	_, err := backup.Make(r.Context(), source, req.To, time.Now(), func(step string, done, total int64) {
		if now := time.Now(); done == total || now.Sub(told) > 100*time.Millisecond {
			told = now
			say(line{Step: step, At: done, Total: total})
		}
	})
	var refused *backup.RefusedError
	switch {
	case errors.As(err, &refused):
		say(line{Refused: refused})
	case r.Context().Err() != nil:
		say(line{Error: "the server is shutting down; the folder has what it had before: run it again"})
	case err != nil:
		say(line{Error: err.Error()})
	default:
		say(line{Done: true})
	}
}

// Backup asks the server that has the log in dir open to back it up to an
// absolute folder, and returns when the backup is durable. Errors are
// ErrNotRunning, a *backup.RefusedError, and what the server says.
func Backup(ctx context.Context, dir, to string, progress backup.Progress) error {
	body, err := json.Marshal(request{To: to})
	if err != nil {
		return err
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket(dir))
	}
	client := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://log/backup", bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOTDIR):
		return ErrNotRunning
	case err != nil:
		return fmt.Errorf("asking the server: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("asking the server: %s", resp.Status)
	}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return fmt.Errorf("asking the server: %w", err)
		}
		switch {
		case l.Done:
			return nil
		case l.Refused != nil:
			return l.Refused
		case l.Error != "":
			return errors.New(l.Error)
		case progress != nil:
			progress(l.Step, l.At, l.Total)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.New("the server ended before the backup did; the folder has what it had before: run it again")
}
