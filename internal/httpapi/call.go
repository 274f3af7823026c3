package httpapi

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// A Call is one request. Its verb reads the arguments, options and body, and
// answers with Value, with lines, or with Bytes.
type Call struct {
	// Args are the values of the query parameter "arg", Query all parameters.
	Args  []string
	Query url.Values

	ctx    context.Context
	cancel func()
	server *Server
	verb   Verb
	w      http.ResponseWriter
	r      *http.Request
	body   io.Reader
	bad    error // the first invalid option

	control *http.ResponseController
	unix    bool          // the request came over a Unix socket
	idle    time.Duration // the longest pause of the client; 0: no limit

	drained bool // the body was read to its end
	endless bool // the body is longer than the server drains
	closing bool // the header says that the connection closes

	mu    sync.Mutex  // guards the following, and writing
	begun bool        // the header is sent
	flush *time.Timer // sends buffered items; nil: none are buffered
}

// maxItemDelay is how long an item may be buffered.
const maxItemDelay = 10 * time.Millisecond

// Context ends with the request, or at its option "timeout".
func (c *Call) Context() context.Context { return c.ctx }

// Body is the request's body. Reading fails when the client pauses for too
// long.
func (c *Call) Body() io.Reader { return c.body }

// OverUnix reports whether the request came over a Unix socket, and so from a
// process of the same user.
func (c *Call) OverUnix() bool { return c.unix }

// Header is the answer's header, until the answer begins.
func (c *Call) Header() http.Header { return c.w.Header() }

// The readers of options keep the first error for Invalid, so that a verb can
// read all of its options and check once.

// Invalid returns the error of the first invalid option, nil if all are valid.
func (c *Call) Invalid() error { return c.bad }

// Reject records that an option's value is invalid, and what is wanted.
func (c *Call) Reject(name, text, want string) {
	if c.bad == nil {
		c.bad = BadRequest("invalid option %s: %.64q: want %s", name, text, want)
	}
}

// Text reads an option. Of several values it takes the first.
func (c *Call) Text(name, standard string) string {
	if !c.Query.Has(name) {
		return standard
	}
	return c.Query.Get(name)
}

// Flag reads an option that is true or false. Without a value it is true.
func (c *Call) Flag(name string, standard bool) bool {
	if !c.Query.Has(name) {
		return standard
	}
	text := c.Query.Get(name)
	if text == "" {
		return true
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		c.Reject(name, text, "true or false")
	}
	return v
}

// Number reads an option that is an integer.
func (c *Call) Number(name string, standard int64) int64 {
	text := c.Query.Get(name)
	if text == "" {
		return standard
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		c.Reject(name, text, "a whole number")
	}
	return v
}

// Duration reads an option such as "90s".
func (c *Call) Duration(name string, standard time.Duration) time.Duration {
	text := c.Query.Get(name)
	if text == "" {
		return standard
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		c.Reject(name, text, "a duration such as 90s")
	}
	return v
}

// begin sends the header, once.
func (c *Call) begin(contentType, how string) {
	if c.begun {
		return
	}
	c.begun = true
	h := c.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Trailer", StreamError+", "+StreamCodes)
	if how != "" {
		h.Set(how, "1")
	}
	c.deadline(c.control.SetWriteDeadline, c.idle)
	c.w.WriteHeader(http.StatusOK)
}

// Value answers with one JSON value.
func (c *Call) Value(v any) error { return c.sendJSON(v, "", false) }

// Line answers with one JSON value of several, and sends it at once. It is safe
// for concurrent use.
func (c *Call) Line(v any) error { return c.sendJSON(v, chunkedOutput, true) }

// Item is Line for lists and events: it may be buffered for 10 ms.
func (c *Call) Item(v any) error { return c.sendJSON(v, chunkedOutput, false) }

func (c *Call) sendJSON(v any, how string, flush bool) error {
	encode := c.verb.JSON
	if encode == nil {
		encode = json.Marshal
	}
	data, err := encode(v)
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
	switch {
	case flush:
		c.stopFlush()
		return c.control.Flush()
	case how == chunkedOutput && c.flush == nil:
		c.flush = time.AfterFunc(maxItemDelay, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.flush != nil {
				c.flush = nil
				_ = c.control.Flush() // the next item has the same error
			}
		})
	}
	return nil
}

// stopFlush cancels the flush that is due, or waits for the one under way; c.mu
// is held.
func (c *Call) stopFlush() {
	if c.flush != nil {
		c.flush.Stop()
		c.flush = nil
	}
}

// EndList ends a list with err: an empty one has a header, too.
func (c *Call) EndList(err error) error {
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.begin("application/json", chunkedOutput)
	}
	return err
}

// BeginList sends the header of a list before its first item.
func (c *Call) BeginList() error {
	if err := c.EndList(nil); err != nil {
		return err
	}
	return c.control.Flush()
}

// Bytes answers with bytes. The header goes out with the first of them, so that
// an earlier error has a status.
func (c *Call) Bytes(contentType string) io.Writer {
	return writerFunc(func(p []byte) (int, error) {
		c.begin(contentType, streamOutput)
		c.deadline(c.control.SetWriteDeadline, c.idle)
		return c.w.Write(p)
	})
}

// EndBytes ends an answer of bytes with err: an empty one has a header, too.
func (c *Call) EndBytes(contentType string, err error) error {
	if err == nil {
		c.begin(contentType, streamOutput)
	}
	return err
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// deadline sets a deadline, if there is one. Connections without deadlines (in
// tests) go without.
func (c *Call) deadline(set func(time.Time) error, in time.Duration) {
	if in > 0 {
		_ = set(time.Now().Add(in))
	}
}

// A body is a request's body, in which a client over TCP may pause only for
// Config.Idle.
type body struct {
	call *Call
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
		// Later reads are the server's own: they watch for the end of the
		// connection, however long that takes.
		_ = c.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
