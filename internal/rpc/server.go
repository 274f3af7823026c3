package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cairn-ipfs/cairn"
)

// Prefix begins the path of every verb.
const Prefix = "/api/v0/"

const (
	// maxCalls is how many requests are answered at once; more get status 503.
	// Each costs a goroutine and some buffers, 100 KiB or so.
	maxCalls = 1024
	// maxQuery bounds a request's arguments and options, in bytes. It holds
	// 10,000 CIDs.
	maxQuery = 768 << 10
	// maxDrained is how many bytes of a body that nobody wanted are read, so that
	// the connection can be used again, and maxDrainTime how long. What comes
	// after an answer can be waited for; before one, quickDrainTime is enough
	// for what is on its way.
	maxDrained     = 8 << 20
	maxDrainTime   = 2 * time.Second
	quickDrainTime = time.Second
	// standardIdle is Config.Idle's default: longer than any network pauses.
	standardIdle = 5 * time.Minute
)

// Config says how a Server answers. The zero value is fine.
type Config struct {
	// Version and Commit are what the verb version says. Empty: unknown.
	Version, Commit string
	// Hosts are names by which the API may be asked for besides localhost and
	// the address it listens at. Others get status 403, for a web page can make
	// its own name mean this machine.
	Hosts []string
	// Origins are those of web pages that may use the API, as
	// "https://example.org". None: no page may.
	Origins []string
	// Shutdown ends the daemon; it must not wait for requests. Nil: the verb
	// shutdown is refused.
	Shutdown func()
	// Idle is how long a client over TCP may take to send or receive the next
	// bytes of a body. Zero: 5 minutes. Over a Unix socket nothing is bounded.
	Idle time.Duration
	// Logger is told of requests (at level debug). Nil: silence.
	Logger *slog.Logger
}

// A Server answers requests to a node. It's an http.Handler.
type Server struct {
	node   *cairn.Node
	config Config
	verbs  map[string]verb
	calls  chan struct{} // a place for each request being answered
}

var _ http.Handler = (*Server)(nil)

// NewServer makes a server for a node, which must stay open as long as requests
// are answered.
func NewServer(node *cairn.Node, c Config) *Server {
	if c.Idle <= 0 {
		c.Idle = standardIdle
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{node: node, config: c, verbs: verbs(), calls: make(chan struct{}, maxCalls)}
}

// A verb is one thing that the server does.
type verb struct {
	run func(*call) error
	// least and most are how many arguments it takes; most below zero is any
	// number.
	least, most int
	// body: it reads the request's body.
	body bool
	// local: it touches the daemon's file system, and is answered over a Unix
	// socket only.
	local bool
	// secret: it takes or gives private keys, and is answered within this
	// machine only.
	secret bool
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Server", "cairn/"+s.config.Version)
	c := s.newCall(w, r)
	if !s.admit(c) {
		c.finish(nil)
		return
	}
	name, found := strings.CutPrefix(r.URL.Path, Prefix)
	name = strings.TrimSuffix(name, "/")
	v, known := s.verbs[name]
	if !found || !known {
		// Kubo's clients take 404 for "no such command", and only for that.
		c.refuse(http.StatusNotFound, fmt.Errorf("there is no %s here", r.URL.Path))
		c.finish(nil)
		return
	}
	select {
	case s.calls <- struct{}{}:
		defer func() { <-s.calls }()
	default:
		c.refuse(http.StatusServiceUnavailable, errors.New("too many requests at once"))
		c.finish(nil)
		return
	}
	err := c.prepare(name, v)
	if err == nil {
		defer c.cancel()
		if !v.body {
			c.unwanted()
		}
		err = v.run(c)
	}
	s.config.Logger.Debug("api", "verb", name, "arguments", len(c.args), "error", err)
	c.finish(err)
}

// newCall makes what a verb works with.
func (s *Server) newCall(w http.ResponseWriter, r *http.Request) *call {
	c := &call{
		ctx: r.Context(), cancel: func() {}, server: s, node: s.node, w: w, r: r,
		control: http.NewResponseController(w), unix: overUnix(r),
	}
	if !c.unix {
		c.idle = s.config.Idle
	}
	// Answers begin before bodies have ended: progress while something is
	// added, and errors at once. Where it isn't known, it isn't needed.
	_ = c.control.EnableFullDuplex()
	c.input = &body{call: c, r: r.Body}
	return c
}

// prepare reads the query and checks what all verbs have in common.
func (c *call) prepare(name string, v verb) error {
	if len(c.r.URL.RawQuery) > maxQuery {
		return badRequest("%d bytes of arguments: the most is %d", len(c.r.URL.RawQuery), maxQuery)
	}
	var err error
	if c.query, err = url.ParseQuery(c.r.URL.RawQuery); err != nil {
		return badRequest("read arguments: %w", err)
	}
	c.args = c.query["arg"]
	switch {
	case len(c.args) < v.least:
		return badRequest("%s: takes %d arguments at least, got %d", name, v.least, len(c.args))
	case v.most >= 0 && len(c.args) > v.most:
		return badRequest("%s: takes %d arguments at most, got %d", name, v.most, len(c.args))
	case v.local && !c.unix:
		return forbidden("%s: this is answered over the Unix socket only", name)
	case v.secret && !within(c.r):
		return forbidden("%s: private keys stay within this machine", name)
	}
	if timeout := c.duration("timeout", 0); timeout > 0 {
		c.ctx, c.cancel = context.WithTimeout(c.ctx, timeout)
	}
	return c.bad
}

// overUnix tells whether a request came over a Unix socket.
func overUnix(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && addr.Network() == "unix"
}

// The rest of a body stands before the next request on the connection, and must
// never be taken for one: it is read, or the connection closed.

// unwanted reads the body before the answer begins, or says with the answer that
// the connection will be closed.
func (c *call) unwanted() {
	if !c.drained && !c.drain(quickDrainTime) {
		c.w.Header().Set("Connection", "close")
		c.closing = true
	}
}

// drain reads what is left of the body, within bounds, and tells whether it has
// come to its end.
func (c *call) drain(within time.Duration) bool {
	if c.r.ContentLength == 0 {
		c.drained = true
		return true
	}
	if c.idle > 0 {
		within = min(within, c.idle) // no longer than for bytes that are wanted
	}
	c.deadline(c.control.SetReadDeadline, within)
	_, err := io.CopyN(io.Discard, c.r.Body, maxDrained)
	c.drained, c.endless = err == io.EOF, err == nil
	if c.drained {
		_ = c.control.SetReadDeadline(time.Time{})
	}
	return c.drained
}

// finish ends the answer.
func (c *call) finish(err error) {
	c.fail(err)
	_ = c.control.Flush() // who waits for the end of its upload sees it now
	switch {
	case c.drained:
	case c.closing, !c.drain(maxDrainTime) && c.endless:
		// The server itself reads on for a bit, and where more comes, closes the
		// connection in a way that lets the client have its answer.
		c.deadline(c.control.SetReadDeadline, quickDrainTime)
	case !c.drained:
		panic(http.ErrAbortHandler) // which closes the connection of who fell silent
	}
}
