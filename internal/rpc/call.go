package rpc

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/cairn-ipfs/cairn"
)

// A call is one request being answered. Its verb's function reads arguments,
// options and body, and answers with value, or with lines, or with bytes. It is
// for one goroutine, but for line.
type call struct {
	ctx    context.Context
	cancel func()
	server *Server
	node   *cairn.Node
	w      http.ResponseWriter
	r      *http.Request
	query  url.Values
	args   []string
	input  io.Reader // the body
	bad    error     // the first option that was wrong

	control *http.ResponseController
	unix    bool          // the request came over a Unix socket
	idle    time.Duration // the longest pause of the client; 0: any

	drained bool // the body was read to its end
	endless bool // there was more of it than is read for nothing
	closing bool // the answer says that the connection is closed after it

	mu    sync.Mutex // guards the following, and writing
	begun bool       // the header is out
}

// The readers of options note what is wrong in bad, so that a verb can read all
// of them and look once.

func (c *call) complain(name, text, want string) {
	if c.bad == nil {
		c.bad = badRequest("option %s: %.64q is no %s", name, text, want)
	}
}

// text reads an option that is a text; one given several times counts once.
func (c *call) text(name, standard string) string {
	if !c.query.Has(name) {
		return standard
	}
	return c.query.Get(name)
}

// flag reads an option that is true or false; alone, it's true.
func (c *call) flag(name string, standard bool) bool {
	if !c.query.Has(name) {
		return standard
	}
	text := c.query.Get(name)
	if text == "" {
		return true
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		c.complain(name, text, "truth value")
	}
	return v
}

// number reads an option that is a whole number.
func (c *call) number(name string, standard int64) int64 {
	text := c.query.Get(name)
	if text == "" {
		return standard
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		c.complain(name, text, "whole number")
	}
	return v
}

// duration reads an option such as "90s".
func (c *call) duration(name string, standard time.Duration) time.Duration {
	text := c.query.Get(name)
	if text == "" {
		return standard
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		c.complain(name, text, "duration")
	}
	return v
}

// begin sends the header; it does nothing when that is done.
func (c *call) begin(contentType, how string) {
	if c.begun {
		return
	}
	c.begun = true
	h := c.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Trailer", streamError+", "+streamCodes)
	if how != "" {
		h.Set(how, "1")
	}
	c.deadline(c.control.SetWriteDeadline, c.idle)
	c.w.WriteHeader(http.StatusOK)
}

// value answers with one JSON value.
func (c *call) value(v any) error { return c.send(v, "", false) }

// line answers with one JSON value of many, which goes out at once. It may be
// called by several goroutines.
func (c *call) line(v any) error { return c.send(v, chunkedOutput, true) }

// item is line for lists, where nobody waits for each.
func (c *call) item(v any) error { return c.send(v, chunkedOutput, false) }

func (c *call) send(v any, how string, flush bool) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begin("application/json", how)
	c.deadline(c.control.SetWriteDeadline, c.idle)
	if _, err := c.w.Write(append(data, '\n')); err != nil {
		return err
	}
	if flush {
		return c.control.Flush()
	}
	return nil
}

// lines ends a list, which has to begin even if nothing is in it.
func (c *call) lines(err error) error {
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.begin("application/json", chunkedOutput)
	}
	return err
}

// bytes answers with bytes. The header goes out with the first of them, so that
// what fails before has a status.
func (c *call) bytes(contentType string) io.Writer {
	return writerFunc(func(p []byte) (int, error) {
		c.begin(contentType, streamOutput)
		c.deadline(c.control.SetWriteDeadline, c.idle)
		return c.w.Write(p)
	})
}

// empty ends an answer of bytes of which there may have been none.
func (c *call) empty(contentType string, err error) error {
	if err == nil {
		c.begin(contentType, streamOutput)
	}
	return err
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// deadline sets one, if there is to be one. Connections that know none (in
// tests) go without.
func (c *call) deadline(set func(time.Time) error, in time.Duration) {
	if in > 0 {
		_ = set(time.Now().Add(in))
	}
}

// A body is a request's body, in which a client over TCP may pause only so long.
type body struct {
	call *call
	r    io.Reader
}

func (b *body) Read(p []byte) (int, error) {
	c := b.call
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	c.deadline(c.control.SetReadDeadline, c.idle)
	n, err := b.r.Read(p)
	if err == io.EOF {
		c.drained = true
	}
	if err != nil && c.idle > 0 {
		// Later reads are the server's own: they look whether the client is
		// still there, however long that takes.
		_ = c.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
