package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

const (
	// maxIdleConns is how many connections to a daemon are kept open: as many
	// as blocks are read ahead at once.
	maxIdleConns = 64
	// dialTimeout is how long a daemon may take to accept a connection.
	dialTimeout = 10 * time.Second
	// transferBuffer is what bodies are copied with, in bytes.
	transferBuffer = 1 << 20
	// maxErrorBody and maxLine bound what is read of an answer that is JSON,
	// in bytes: an error, and one value. A damaged repository's report holds
	// some thousand CIDs.
	maxErrorBody = 1 << 20
	maxLine      = 16 << 20
)

// A Client asks a daemon. Make one with Dial.
type Client struct {
	address string // as Dial was given it
	base    string // URL up to the verbs
	unix    bool
	http    *http.Client
}

// Dial returns a client for the daemon at address: "unix:PATH", "http://HOST:PORT",
// "HOST:PORT", or a multiaddr such as /ip4/127.0.0.1/tcp/5001 or /unix/PATH.
// It opens no connection yet; what fails later wraps ErrNoDaemon if nobody
// answers.
func Dial(address string) (*Client, error) {
	network, host, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	c := &Client{address: address, base: "http://" + host + Prefix}
	if scheme, _, found := strings.Cut(host, "://"); found && (scheme == "http" || scheme == "https") {
		c.base = strings.TrimSuffix(host, "/") + Prefix
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	transport := &http.Transport{
		MaxIdleConns: maxIdleConns, MaxIdleConnsPerHost: maxIdleConns,
		ReadBufferSize: 64 << 10, WriteBufferSize: 64 << 10,
		DisableCompression: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return watched(dialer.DialContext(ctx, network, addr))
		},
	}
	if network == "unix" {
		c.unix, c.base = true, "http://unix"+Prefix
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return watched(dialUnix(ctx, dialer, host))
		}
	}
	c.http = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// parseAddress returns "unix" and a path, or "tcp" and what stands behind
// http://, or a whole URL.
func parseAddress(s string) (network, host string, err error) {
	bad := func(why any) error { return fmt.Errorf("%q is no address of a daemon: %v", s, why) }
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if path = strings.TrimPrefix(path, "//"); path == "" {
			return "", "", bad("it names no path")
		}
		return "unix", path, nil
	}
	if strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") {
		u, err := url.Parse(s)
		if err != nil {
			return "", "", bad(err)
		}
		if u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return "", "", bad("it is a URL of other things")
		}
		return "tcp", s, nil
	}
	if strings.HasPrefix(s, "/") {
		m, err := multiaddr.NewMultiaddr(s)
		if err != nil {
			return "", "", bad(err)
		}
		if path, err := m.ValueForProtocol(multiaddr.P_UNIX); err == nil {
			return "unix", path, nil
		}
		network, host, err := manet.DialArgs(m)
		if err != nil {
			return "", "", bad(err)
		}
		if !strings.HasPrefix(network, "tcp") {
			return "", "", bad("it isn't one of TCP")
		}
		return "tcp", host, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", "", bad("say unix:PATH, HOST:PORT or http://HOST:PORT")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil || host == "" {
		return "", "", bad("say unix:PATH, HOST:PORT or http://HOST:PORT")
	}
	return "tcp", s, nil
}

// Address is what Dial was given.
func (c *Client) Address() string { return c.address }

// Local tells whether the daemon is asked over a Unix socket, and so sees the
// same files.
func (c *Client) Local() bool { return c.unix }

// Close ends the connections that nobody uses.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// A request is what a verb is asked.
type request struct {
	verb    string
	args    []string
	options url.Values
	body    io.Reader
	content string // the body's Content-Type
	ends    bool   // reading the body doesn't wait when the request has failed
}

// option adds an option.
func (r *request) option(name string, value any) {
	if r.options == nil {
		r.options = url.Values{}
	}
	r.options.Add(name, fmt.Sprint(value))
}

// do asks, and returns the answer once its header is here and says that all is
// well. Its body has to be closed, or read to its end.
func (c *Client) do(ctx context.Context, r request) (*http.Response, error) {
	query := url.Values{}
	for name, values := range r.options {
		query[name] = values
	}
	if len(r.args) > 0 {
		query["arg"] = r.args
	}
	target := c.base + r.verb
	if text := query.Encode(); text != "" {
		if len(text) > maxQuery {
			return nil, fmt.Errorf("%d bytes of arguments are too many for the daemon: the most is %d", len(text), maxQuery)
		}
		target += "?" + text
	}
	sending, body := ctx, r.body
	if body != nil && !r.ends {
		sending, body = uploading(ctx, body)
	}
	req, err := http.NewRequestWithContext(sending, http.MethodPost, target, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "cairn")
	if r.content != "" {
		req.Header.Set("Content-Type", r.content)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreached(ctx, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, c.answered(resp)
}

// unreached says why no answer came.
func (c *Client) unreached(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	// What it wraps says nothing of content: a socket that doesn't exist is no
	// block that doesn't.
	return fmt.Errorf("%w at %s: %v", ErrNoDaemon, c.address, err)
}

// answered reads an answer that is an error.
func (c *Client) answered(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	var shape errorShape
	if err != nil || json.Unmarshal(text, &shape) != nil || shape.Type != "error" {
		return fmt.Errorf("the daemon at %s answered %s, and not as one: %.200q", c.address, resp.Status, text)
	}
	if shape.Cairn == nil {
		return &Error{Message: shape.Message}
	}
	return &Error{Message: shape.Cairn.Message, Codes: shape.Cairn.Codes}
}

// call asks, and reads one value into result, if it isn't nil.
func (c *Client) call(ctx context.Context, r request, result any) error {
	if result == nil {
		result = &json.RawMessage{}
	}
	seen := false
	for line, err := range c.lines(ctx, r) {
		if err != nil {
			return err
		}
		if seen {
			continue
		}
		if err := json.Unmarshal(line, result); err != nil {
			return fmt.Errorf("%s: read the daemon's answer: %w", r.verb, err)
		}
		seen = true
	}
	return nil
}

// lines asks, and yields the values of the answer. They are valid until the next
// one.
func (c *Client) lines(ctx context.Context, r request) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		resp, err := c.do(ctx, r)
		if err != nil {
			yield(nil, err)
			return
		}
		defer resp.Body.Close()
		for line, err := range readLines(resp.Body) {
			if err != nil {
				err = c.cut(ctx, err)
			}
			if !yield(line, err) || err != nil {
				return
			}
		}
		if err := trailerError(resp.Trailer); err != nil {
			yield(nil, err)
		}
	}
}

// cut says why an answer ended early.
func (c *Client) cut(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return fmt.Errorf("the daemon at %s broke off: %w", c.address, err)
}

// readLines yields what stands on each line.
func readLines(r io.Reader) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		buffer, begin, end := make([]byte, 64<<10), 0, 0
		for {
			if at := bytes.IndexByte(buffer[begin:end], '\n'); at >= 0 {
				line := bytes.TrimSpace(buffer[begin : begin+at])
				begin += at + 1
				if len(line) > 0 && !yield(line, nil) {
					return
				}
				continue
			}
			if begin > 0 {
				end = copy(buffer, buffer[begin:end])
				begin = 0
			}
			if end == len(buffer) {
				if len(buffer) >= maxLine {
					yield(nil, fmt.Errorf("a line of more than %d bytes", maxLine))
					return
				}
				buffer = append(buffer, make([]byte, len(buffer))...)
			}
			n, err := r.Read(buffer[end:])
			end += n
			if err == io.EOF && n == 0 {
				if line := bytes.TrimSpace(buffer[begin:end]); len(line) > 0 {
					yield(line, nil)
				}
				return
			}
			if err != nil && err != io.EOF {
				yield(nil, err)
				return
			}
		}
	}
}

// values asks, and yields each value of the answer as a T.
func values[T any](ctx context.Context, c *Client, r request) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for line, err := range c.lines(ctx, r) {
			var v T
			if err == nil {
				if err = json.Unmarshal(line, &v); err != nil {
					err = fmt.Errorf("%s: read the daemon's answer: %w", r.verb, err)
				}
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// copy asks, and writes the answer's bytes to w.
func (c *Client) copy(ctx context.Context, r request, w io.Writer) (int64, error) {
	resp, err := c.do(ctx, r)
	if err != nil {
		return 0, err
	}
	return c.copyBody(ctx, resp, w)
}

// copyBody writes an answer's bytes to w, and closes it.
func (c *Client) copyBody(ctx context.Context, resp *http.Response, w io.Writer) (int64, error) {
	defer resp.Body.Close()
	in := readerFunc(func(p []byte) (int, error) {
		n, err := resp.Body.Read(p)
		if err != nil && err != io.EOF {
			err = c.cut(ctx, err)
		}
		return n, err
	})
	// Only w's Write: the buffer is larger than what ReadFrom would take.
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, in, make([]byte, transferBuffer))
	if err != nil {
		return n, err
	}
	return n, trailerError(resp.Trailer)
}

// read asks, and returns the answer's bytes, so many at most.
func (c *Client) read(ctx context.Context, r request, most int) ([]byte, error) {
	resp, err := c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, int64(most)+1))
	switch {
	case err != nil:
		return nil, c.cut(ctx, err)
	case len(data) > most:
		return nil, fmt.Errorf("%s: the daemon's answer has more than %d bytes", r.verb, most)
	}
	return data, trailerError(resp.Trailer)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Answers tells whether somebody accepts connections at a Unix socket.
func Answers(path string) bool {
	if info, err := os.Stat(path); err != nil || info.Mode()&os.ModeSocket == 0 {
		return false
	}
	conn, err := dialUnix(context.Background(), &net.Dialer{Timeout: dialTimeout}, path)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}
