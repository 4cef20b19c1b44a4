package serve

import (
	"net"
	"sync"
	"syscall"
)

const mostConns = 4096

// share is how many connections a listener may have open: an eighth of the files
// that the process may have. The rest is for what the process keeps on disk, whose
// failing would end it.
func share() int64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur/8 > mostConns {
		return mostConns
	}
	return max(1, int64(limit.Cur/8))
}

// bounded accepts a connection only while fewer than its share are open. More
// wait with the kernel.
type bounded struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once // of closing
}

func bound(l net.Listener) net.Listener {
	return &bounded{Listener: l, slots: make(chan struct{}, share()), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.slots <- struct{}{}:
	case <-b.closed:
		return nil, net.ErrClosed
	}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.slots
		return nil, err
	}
	return &boundedConn{Conn: c, release: sync.OnceFunc(func() { <-b.slots })}, nil
}

// Close implements net.Listener.
func (b *bounded) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Listener.Close()
}

type boundedConn struct {
	net.Conn
	release func()
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
