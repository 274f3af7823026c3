package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Prefix begins the path of every verb.
const Prefix = "/api/v0/"

const (
	// MaxQuery bounds a request's arguments and options, in bytes. It holds
	// 10,000 CIDs.
	MaxQuery = 768 << 10
	// maxCalls is how many requests are answered at once; more get status 503.
	// Each costs a goroutine and some buffers, 100 KiB or so.
	maxCalls = 1024
	// maxDrained is how many unread bytes of a body are drained, so that the
	// connection can be used again, and maxDrainTime for how long. Draining
	// after an answer may wait; draining before it takes what is on its way, for
	// quickDrainTime.
	maxDrained     = 8 << 20
	maxDrainTime   = 2 * time.Second
	quickDrainTime = time.Second
	// defaultIdle is the default of Config.Idle: longer than any network pauses.
	defaultIdle = 5 * time.Minute
)

// Config configures a Server. The zero value is valid.
type Config struct {
	// Agent is the header Server of all answers. Empty: "cairn/".
	Agent string
	// Hosts are the host names under which the API answers, besides localhost
	// and the address at which it listens. Others get status 403, because a web
	// page can make its own name resolve to this machine.
	Hosts []string
	// Origins are those of the web pages that may use the API, as
	// "https://example.org". Nil: no page may.
	Origins []string
	// Idle is how long a client over TCP may take to send or receive the next
	// bytes of a body. Zero: 5 minutes. A Unix socket has no limit.
	Idle time.Duration
	// Codes are the errors that keep their identity on the way to the client.
	Codes []Code
	// Logger gets a line for each request, at level debug. Nil: silence.
	Logger *slog.Logger
}

// A Server answers requests. It is an http.Handler.
type Server struct {
	config Config
	verbs  map[string]Verb
	calls  chan struct{} // holds a token for each request being answered
}

var _ http.Handler = (*Server)(nil)

// NewServer makes a server of verbs, by their paths below Prefix.
func NewServer(c Config, apis ...map[string]Verb) *Server {
	if c.Agent == "" {
		c.Agent = "cairn/"
	}
	if c.Idle <= 0 {
		c.Idle = defaultIdle
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	verbs := make(map[string]Verb)
	for _, api := range apis {
		maps.Copy(verbs, api)
	}
	return &Server{config: c, verbs: verbs, calls: make(chan struct{}, maxCalls)}
}

// A Verb is one operation of an API.
type Verb struct {
	Run func(*Call) error
	// Least and Most are the number of arguments; a negative Most is any number.
	Least, Most int
	// Body: the verb reads the request's body. Otherwise the body is drained
	// before the answer.
	Body bool
	// Scope says which clients may use the verb.
	Scope Scope
	// JSON encodes results. Nil: json.Marshal.
	JSON func(any) ([]byte, error)
	// Message is how an error's message reads for the verb's clients. Nil: as
	// Error returns it.
	Message func(error) string
}

// A Scope says which clients may use a verb.
type Scope int

const (
	// AnyClient is every client that reaches the API.
	AnyClient Scope = iota
	// SameMachine is for private keys: clients over a Unix socket or loopback.
	SameMachine
	// SameUser is for the daemon's own files: clients over a Unix socket.
	SameUser
)

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", s.config.Agent)
	c := s.newCall(w, r)
	if !s.admit(c) {
		c.finish(nil)
		return
	}
	name, found := strings.CutPrefix(r.URL.Path, Prefix)
	name = strings.TrimSuffix(name, "/")
	var known bool
	if c.verb, known = s.verbs[name]; !found || !known {
		// Kubo's clients take 404 for "no such command", and only for that.
		c.refuse(http.StatusNotFound, fmt.Errorf("unknown path %s", r.URL.Path))
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
	err := c.prepare(name)
	if err == nil {
		defer c.cancel()
		if !c.verb.Body {
			c.discardBody()
		}
		err = c.verb.Run(c)
	}
	s.config.Logger.Debug("api", "verb", name, "arguments", len(c.Args), "error", err)
	c.finish(err)
}

func (s *Server) newCall(w http.ResponseWriter, r *http.Request) *Call {
	c := &Call{
		ctx: r.Context(), cancel: func() {}, server: s, w: w, r: r,
		control: http.NewResponseController(w), unix: overUnix(r),
	}
	if !c.unix {
		c.idle = s.config.Idle
	}
	// Answers begin before bodies have ended: progress of an upload, and errors
	// at once. A writer that can't do that (HTTP/2, tests) needs no permission.
	_ = c.control.EnableFullDuplex()
	c.body = &body{call: c, r: r.Body}
	return c
}

// prepare reads the query and checks what all verbs have in common.
func (c *Call) prepare(name string) error {
	if len(c.r.URL.RawQuery) > MaxQuery {
		return BadRequest("%d bytes of arguments: the most is %d", len(c.r.URL.RawQuery), MaxQuery)
	}
	var err error
	if c.Query, err = url.ParseQuery(c.r.URL.RawQuery); err != nil {
		return BadRequest("read arguments: %w", err)
	}
	c.Args = c.Query["arg"]
	switch v := c.verb; {
	case len(c.Args) < v.Least:
		return BadRequest("%s: takes %d arguments at least, got %d", name, v.Least, len(c.Args))
	case v.Most >= 0 && len(c.Args) > v.Most:
		return BadRequest("%s: takes %d arguments at most, got %d", name, v.Most, len(c.Args))
	case v.Scope == SameUser && !c.unix:
		return Forbidden("%s: this is answered over the Unix socket only", name)
	case v.Scope == SameMachine && !fromThisMachine(c.r):
		return Forbidden("%s: private keys stay within this machine", name)
	}
	if timeout := c.Duration("timeout", 0); timeout > 0 {
		c.ctx, c.cancel = context.WithTimeout(c.ctx, timeout)
	}
	return c.bad
}

// overUnix reports whether a request came over a Unix socket.
func overUnix(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && addr.Network() == "unix"
}

// fromThisMachine reports whether a request came over a Unix socket or from a
// loopback address.
func fromThisMachine(r *http.Request) bool {
	if overUnix(r) {
		return true
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && from.Addr().Unmap().IsLoopback()
}

// The rest of a body stands before the next request on its connection, and must
// never be taken for one: the server drains it, or closes the connection.

// discardBody drains the body before the answer begins, or announces with the
// answer that the connection closes.
func (c *Call) discardBody() {
	if !c.drained && !c.drain(quickDrainTime) {
		c.w.Header().Set("Connection", "close")
		c.closing = true
	}
}

// drain reads the rest of the body, within bounds, and reports whether it
// reached the end.
func (c *Call) drain(within time.Duration) bool {
	if c.r.ContentLength == 0 {
		c.drained = true
		return true
	}
	if c.idle > 0 {
		within = min(within, c.idle) // no longer than for bytes that a verb reads
	}
	c.deadline(c.control.SetReadDeadline, within)
	// At its limit a MaxBytesReader makes the server close the connection.
	_, err := io.Copy(io.Discard, http.MaxBytesReader(c.w, c.r.Body, maxDrained))
	_, c.endless = errors.AsType[*http.MaxBytesError](err)
	if c.drained = err == nil; c.drained {
		_ = c.control.SetReadDeadline(time.Time{})
	}
	return c.drained
}

// finish ends the answer.
func (c *Call) finish(err error) {
	c.mu.Lock()
	c.stopFlush()
	c.mu.Unlock()
	c.fail(err)
	_ = c.control.Flush() // a client that still uploads sees the end now
	switch {
	case c.drained:
	case c.closing, !c.drain(maxDrainTime) && c.endless:
		// net/http reads on for a bit, and closes the connection in a way that
		// lets the client receive the answer.
		c.deadline(c.control.SetReadDeadline, quickDrainTime)
	case !c.drained:
		panic(http.ErrAbortHandler) // closes the connection of a silent client
	}
}
