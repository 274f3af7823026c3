package control

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http/httptrace"
	"sync"
)

// A watchedConn reports when it is closed. Package net/http waits for a request's
// body even when the connection is gone: a body that is a terminal would wait
// for the next line.
type watchedConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func watched(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	return &watchedConn{Conn: c, closed: make(chan struct{})}, nil
}

func (c *watchedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

var errConnClosed = errors.New("the connection was closed")

// An ownPipe is a body of this package's own: when the request has failed, the
// pipe is closed, and a read of it ends.
type ownPipe struct{ *io.PipeReader }

// An upload is a request's body that ends with its connection. It abandons a
// read of r that is under way then, which has a buffer of its own.
type upload struct {
	r    io.Reader
	done <-chan struct{} // of the request's context
	conn chan *watchedConn
	at   *watchedConn

	rest []byte // of what was read last
	err  error
}

type readResult struct {
	data []byte
	err  error
}

// uploading returns a body for r, and the context to send it with.
func uploading(ctx context.Context, r io.Reader) (context.Context, io.Reader) {
	u := &upload{r: r, done: ctx.Done(), conn: make(chan *watchedConn, 1)}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if c, ok := info.Conn.(*watchedConn); ok {
			select {
			case u.conn <- c:
			default:
			}
		}
	}}), u
}

func (u *upload) Read(p []byte) (int, error) {
	if u.at == nil {
		select {
		case u.at = <-u.conn:
		default:
			return 0, errConnClosed // a request without a connection has failed
		}
	}
	for len(u.rest) == 0 {
		if u.err != nil {
			return 0, u.err
		}
		result := make(chan readResult, 1)
		go func() {
			data := make([]byte, transferBuffer)
			n, err := u.r.Read(data)
			result <- readResult{data[:n], err}
		}()
		select {
		case got := <-result:
			u.rest, u.err = got.data, got.err
		case <-u.at.closed:
			u.err = errConnClosed
		case <-u.done:
			u.err = context.Canceled
		}
	}
	n := copy(p, u.rest)
	u.rest = u.rest[n:]
	return n, nil
}
