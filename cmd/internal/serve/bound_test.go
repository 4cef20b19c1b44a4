package serve_test

import (
	"net"
	"syscall"
	"testing"

	"idlog/cmd/internal/serve"
)

// Connections, which anybody can open, leave most of the files that a process may
// have to what it keeps on disk.
func TestListenIsBounded(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	few := limit
	few.Cur = 200
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	l, err := serve.Listen(t.Context(), "127.0.0.1:0", nil)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn)
	ended := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	dial := func() {
		t.Helper()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	var open []net.Conn
	for range 25 {
		dial()
		open = append(open, <-accepted)
	}
	if err := open[0].Close(); err != nil {
		t.Fatal(err)
	}
	dial()
	open[0] = <-accepted
	dial() // it waits
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case c := <-accepted:
		open = append(open, c)
		t.Error("more than an eighth of the files are connections")
	case <-ended:
	}
	for _, c := range open {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
