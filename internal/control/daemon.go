package control

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

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

const (
	// maxIdleConns is how many idle connections to a daemon stay open: as many
	// as read-ahead uses at once.
	maxIdleConns = 64
	// dialTimeout is how long a daemon may take to accept a connection.
	dialTimeout = 10 * time.Second
	// transferBuffer is the buffer for bodies, in bytes.
	transferBuffer = 1 << 20
	// maxErrorBody and maxLine bound what is read of an answer that is JSON,
	// in bytes: an error, and one value. A damaged repository's report holds
	// some thousand CIDs.
	maxErrorBody = 1 << 20
	maxLine      = 16 << 20
)

// A daemon is the client of one.
type daemon struct {
	address string // as Dial was given it
	base    string // URL up to the verbs
	unix    bool
	http    *http.Client
}

func newDaemon(address string) (*daemon, error) {
	network, host, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	d := &daemon{address: address, base: "http://" + host + httpapi.Prefix}
	if scheme, _, found := strings.Cut(host, "://"); found && (scheme == "http" || scheme == "https") {
		d.base = strings.TrimSuffix(host, "/") + httpapi.Prefix
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
		d.unix, d.base = true, "http://unix"+httpapi.Prefix
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return watched(httpapi.DialUnix(ctx, dialer, host))
		}
	}
	d.http = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return d, nil
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

// A request is what a daemon is asked.
type request struct {
	path string
	args []byte // JSON
	body io.Reader
}

// newRequest makes a request of a verb's arguments. A private key is sent to no
// other machine: the API isn't encrypted.
func newRequest[A any](d *daemon, path string, scope httpapi.Scope, body func(*A) *io.Reader, args A) (r request, err error) {
	if scope == httpapi.SameMachine && !d.onThisMachine() {
		return r, httpapi.Forbidden("private keys are not sent to %s: ask the daemon on its own machine", d.address)
	}
	r.path = path
	if body != nil {
		field := body(&args)
		r.body, *field = *field, nil
	}
	if r.args, err = JSON(args); err != nil {
		return r, fmt.Errorf("%s: encode the arguments: %w", path, err)
	}
	return r, nil
}

// onThisMachine reports whether what is sent to the daemon stays on this
// machine.
func (d *daemon) onThisMachine() bool {
	if d.unix {
		return true
	}
	u, err := url.Parse(d.base)
	if err != nil {
		return false
	}
	host := u.Hostname()
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// decode decodes a result.
func (r request) decode(text []byte, to any) error {
	if err := decodeResult(text, to); err != nil {
		return fmt.Errorf("%s: read the daemon's answer: %w", r.path, err)
	}
	return nil
}

// send sends a request, and returns the answer once its header is here and says
// that all is well. Its body has to be closed, or read to its end.
func (d *daemon) send(ctx context.Context, r request) (*http.Response, error) {
	target := d.base + prefix + r.path
	if text := (url.Values{"args": {string(r.args)}}).Encode(); len(text) > httpapi.MaxQuery {
		return nil, fmt.Errorf("%d bytes of arguments are too many for the daemon: the most is %d", len(text), httpapi.MaxQuery)
	} else if len(r.args) > len("{}") {
		target += "?" + text
	}
	sending, body := ctx, r.body
	switch body.(type) {
	case nil, ownPipe, *bytes.Reader:
		// A read of these never waits when the request has failed.
	default:
		sending, body = uploading(ctx, body)
	}
	req, err := http.NewRequestWithContext(sending, http.MethodPost, target, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "cairn")
	resp, err := d.http.Do(req)
	if err != nil {
		return nil, d.unreached(ctx, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, d.answered(resp)
}

// unreached returns why no answer came.
func (d *daemon) unreached(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	// The cause isn't wrapped: a socket that doesn't exist isn't a block that
	// doesn't exist.
	return fmt.Errorf("%w at %s: %v", ErrNoDaemon, d.address, err)
}

// answered reads an answer that is an error.
func (d *daemon) answered(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	var shape httpapi.ErrorBody
	if err != nil || json.Unmarshal(text, &shape) != nil || shape.Type != "error" {
		return fmt.Errorf("the daemon at %s answered %s, and not as one: %.200q", d.address, resp.Status, text)
	}
	if shape.Cairn == nil {
		return &Error{Message: shape.Message}
	}
	return &Error{Message: shape.Cairn.Message, Codes: shape.Cairn.Codes}
}

// call sends a request, and reads its one result, unless result is nil.
func (d *daemon) call(ctx context.Context, r request, result any) error {
	seen := false
	for line, err := range d.lines(ctx, r) {
		if err != nil {
			return err
		}
		if seen || result == nil {
			continue
		}
		if err := r.decode(line, result); err != nil {
			return err
		}
		seen = true
	}
	return nil
}

// lines sends a request, and yields the lines of the answer, each valid until
// the next one.
func (d *daemon) lines(ctx context.Context, r request) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		resp, err := d.send(ctx, r)
		if err != nil {
			yield(nil, err)
			return
		}
		defer resp.Body.Close()
		for line, err := range readLines(resp.Body) {
			if err != nil {
				err = d.cut(ctx, err)
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
func (d *daemon) cut(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return fmt.Errorf("the daemon at %s broke off: %w", d.address, err)
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

// download sends a request, and writes the answer's bytes to w. It calls size
// before that, if the daemon announces their number.
func (d *daemon) download(ctx context.Context, r request, w io.Writer, size func(int64)) error {
	resp, err := d.send(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if n, err := strconv.ParseInt(resp.Header.Get(httpapi.ContentLength), 10, 64); err == nil {
		size(n)
	}
	in := readerFunc(func(p []byte) (int, error) {
		n, err := resp.Body.Read(p)
		if err != nil && err != io.EOF {
			err = d.cut(ctx, err)
		}
		return n, err
	})
	// Only w's Write: the buffer is larger than what ReadFrom would take.
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, in, make([]byte, transferBuffer)); err != nil {
		return err
	}
	return trailerError(resp.Trailer)
}

// trailerError returns the error behind an answer, if there is one.
func trailerError(h http.Header) error {
	message := h.Get(httpapi.StreamError)
	if message == "" {
		return nil
	}
	return &Error{Message: message, Codes: strings.Split(h.Get(httpapi.StreamCodes), ",")}
}

// getBlock gets a block, and verifies it.
func (d *daemon) getBlock(ctx context.Context, k cid.Cid) (block.Block, error) {
	if b, inlined := block.Inlined(k); inlined {
		return b, nil
	}
	r, err := newRequest(d, GetBlock.Path, httpapi.AnyClient, nil, BlockArgs{k})
	if err != nil {
		return block.Block{}, err
	}
	resp, err := d.send(ctx, r)
	if err != nil {
		return block.Block{}, err
	}
	defer resp.Body.Close()
	size := block.MaxSize + 1
	if n, err := strconv.Atoi(resp.Header.Get(httpapi.ContentLength)); err == nil && n >= 0 && n < size {
		size = n + 1 // one more shows that there is no more
	}
	data := make([]byte, size)
	n := 0
	// io.ReadFull has the same error for an answer that ends early, and for one
	// that breaks off.
	for n < len(data) && err == nil {
		var more int
		more, err = resp.Body.Read(data[n:])
		n += more
	}
	switch {
	case err == nil || n == size:
		return block.Block{}, fmt.Errorf("get %s: the daemon's answer has more than %d bytes", k, size-1)
	case err != io.EOF:
		return block.Block{}, d.cut(ctx, err)
	}
	return block.Verify(k, data[:n:n])
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Answers reports whether a process accepts connections at a Unix socket.
func Answers(path string) bool {
	if info, err := os.Stat(path); err != nil || info.Mode()&os.ModeSocket == 0 {
		return false
	}
	conn, err := httpapi.DialUnix(context.Background(), &net.Dialer{Timeout: dialTimeout}, path)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}
