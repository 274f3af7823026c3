package trustless

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// A Client asks one endpoint. Its fields aren't changed once it is in use.
type Client struct {
	// HTTP carries the requests. Its Transport should bound the headers, as those
	// of NewHTTPTransport and Transport do. Its Timeout should be 0: a DAG takes
	// any time.
	HTTP *http.Client
	// Base is where /ipfs/ lies: scheme, host, and a path in front, if any.
	Base *url.URL
	// Stall is how long a server may send nothing; 0 means 30 s, as the
	// specification has it.
	Stall time.Duration
	// UserAgent names the client; empty means "cairn".
	UserAgent string
	// Reads, if set, counts the reads of bodies that returned bytes: a block that
	// takes long is on its way while it grows.
	Reads *atomic.Int64
}

const (
	defaultStall = 30 * time.Second
	// maxRedirects is how many redirects are followed, within the host.
	maxRedirects = 5
	// maxMessage is how much is read of a server's error message, in bytes.
	maxMessage = 512
)

// A StatusError is a server's answer that isn't 200.
type StatusError struct {
	Status     int
	RetryAfter time.Duration // 0 if the server didn't say
	Message    string        // the body, at most 512 bytes
}

// Error implements error.
func (e *StatusError) Error() string {
	return fmt.Sprintf("the server answered %d %s: %q", e.Status, http.StatusText(e.Status), e.Message)
}

// Unwrap returns block.ErrNotFound if the status says that the server doesn't have
// the block, or doesn't serve it.
func (e *StatusError) Unwrap() error {
	switch e.Status {
	case http.StatusForbidden, http.StatusNotFound, http.StatusGone, http.StatusPreconditionFailed, http.StatusUnavailableForLegalReasons:
		return block.ErrNotFound
	}
	return nil
}

var (
	// ErrStalled: the server sent nothing for as long as Client.Stall.
	ErrStalled = errors.New("the server sends nothing")
	// ErrRedirect: the server sends its clients to another host.
	ErrRedirect = errors.New("redirect to another host")
	// ErrProtocol: the answer isn't one of a trustless gateway.
	ErrProtocol = errors.New("no answer of a trustless gateway")
)

// Block gets one block. Errors: *StatusError, which may wrap
// block.ErrNotFound; block.ErrHashMismatch, block.ErrTooLarge; ErrStalled,
// ErrRedirect, ErrProtocol; those of the transport.
func (c *Client) Block(ctx context.Context, k cid.Cid) (block.Block, error) {
	if err := block.CheckCID(k); err != nil {
		return block.Block{}, fmt.Errorf("trustless: %w", err)
	}
	if b, ok := block.Inlined(k); ok {
		return b, nil
	}
	b, err := c.block(ctx, k)
	if err != nil {
		return block.Block{}, fmt.Errorf("trustless: get %s from %s: %w", k, c.Base.Host, err)
	}
	return b, nil
}

func (c *Client) block(ctx context.Context, k cid.Cid) (block.Block, error) {
	body, header, err := c.get(ctx, k, "format=raw", typeRaw)
	if err != nil {
		return block.Block{}, err
	}
	defer body.Close()
	size := int64(-1)
	if length := header.Get("Content-Length"); length != "" {
		if size, err = strconv.ParseInt(length, 10, 64); err != nil {
			size = -1
		}
	}
	if size > block.MaxSize {
		return block.Block{}, fmt.Errorf("%d bytes: %w (the limit is %d)", size, block.ErrTooLarge, block.MaxSize)
	}
	data, err := readBlock(body, size)
	if err != nil {
		return block.Block{}, err
	}
	return block.Verify(k, data)
}

// readBlock reads to the end, which must be at that size unless size is negative.
func readBlock(r io.Reader, size int64) ([]byte, error) {
	if size >= 0 {
		data := make([]byte, size)
		_, err := io.ReadFull(r, data)
		if err == nil {
			// To the end, so that the connection can be used again.
			_, err = io.ReadFull(r, make([]byte, 1))
			if err == io.EOF {
				return data, nil
			}
			if err == nil {
				err = fmt.Errorf("%w: more than its length", ErrProtocol)
			}
		}
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, block.MaxSize+1))
	if err == nil && len(data) > block.MaxSize {
		err = fmt.Errorf("over %d bytes: %w", block.MaxSize, block.ErrTooLarge)
	}
	return data, err
}

// A Request says which part of a DAG is wanted. The zero Request is the whole DAG.
type Request struct {
	Scope Scope // empty: ScopeAll
	// Bytes, if set, is the wanted part of a file, with ScopeEntity.
	Bytes *ByteRange
	// Have are at most MaxHave roots whose DAGs are here whole, to be left out;
	// with ScopeAll.
	Have []cid.Cid
	// NoLeaves leaves raw blocks out; with ScopeAll.
	NoLeaves bool
}

// query returns the query of the URL.
func (rq Request) query() (string, error) {
	scope := rq.Scope
	if scope == "" {
		scope = ScopeAll
	}
	if scope != ScopeAll && (len(rq.Have) > 0 || rq.NoLeaves) || scope != ScopeEntity && rq.Bytes != nil {
		return "", fmt.Errorf("%w: dag-scope=%s does not go with what else is asked for", block.ErrMalformed, scope)
	}
	var q strings.Builder
	q.WriteString("format=car&dag-scope=" + string(scope) + "&car-version=1&car-order=dfs&car-dups=n")
	if rq.Bytes != nil {
		q.WriteString("&entity-bytes=" + rq.Bytes.String())
	}
	if len(rq.Have) > 0 {
		texts := make([]string, len(rq.Have))
		for i, k := range rq.Have {
			texts[i] = k.String()
		}
		slices.Sort(texts)
		list := strings.Join(texts, ",")
		if _, err := ParseCIDs(list); err != nil {
			return "", fmt.Errorf("have: %w", err)
		}
		q.WriteString("&have=" + list)
	}
	if rq.NoLeaves {
		q.WriteString("&leaves=n")
	}
	return q.String(), nil
}

// DAG asks for the DAG below root as a CAR. It returns with the headers, which say
// what the server leaves out, before the blocks. The Response must be closed.
// Errors: as Block.
func (c *Client) DAG(ctx context.Context, root cid.Cid, rq Request) (*Response, error) {
	if err := block.CheckCID(root); err != nil {
		return nil, fmt.Errorf("trustless: %w", err)
	}
	r, err := c.dag(ctx, root, rq)
	if err != nil {
		return nil, fmt.Errorf("trustless: get DAG of %s from %s: %w", root, c.Base.Host, err)
	}
	return r, nil
}

func (c *Client) dag(ctx context.Context, root cid.Cid, rq Request) (*Response, error) {
	query, err := rq.query()
	if err != nil {
		return nil, err
	}
	body, header, err := c.get(ctx, root, query, typeCAR+"; version=1; order=dfs; dups=n")
	if err != nil {
		return nil, err
	}
	r, err := newResponse(body, header, rq)
	if err != nil {
		body.Close()
		return nil, err
	}
	return r, nil
}

// get asks for a CID and returns the body of a 200. The body fails with ErrStalled
// if nothing comes; closing it cancels the rest.
func (c *Client) get(ctx context.Context, k cid.Cid, query, accept string) (*watchedBody, http.Header, error) {
	stall := c.Stall
	if stall <= 0 {
		stall = defaultStall
	}
	ctx, cancel := context.WithCancelCause(ctx)
	watch := time.AfterFunc(stall, func() { cancel(ErrStalled) })
	body, header, err := c.do(ctx, k, query, accept)
	watch.Stop()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel(nil)
		return nil, nil, err
	}
	return &watchedBody{body: body, ctx: ctx, cancel: cancel, watch: watch, stall: stall, reads: c.Reads}, header, nil
}

func (c *Client) do(ctx context.Context, k cid.Cid, query, accept string) (io.ReadCloser, http.Header, error) {
	u := c.Base.JoinPath("ipfs", k.String())
	u.RawQuery = query
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, nil, err
	}
	agent := c.UserAgent
	if agent == "" {
		agent = "cairn"
	}
	// identity keeps the transport from decompressing: blocks rarely get smaller,
	// and a hostile one could expand without bound.
	r.Header = http.Header{"Accept": {accept}, "Accept-Encoding": {"identity"}, "User-Agent": {agent}}
	client := *c.HTTP
	client.Jar = nil
	client.CheckRedirect = sameHost
	resp, err := client.Do(r)
	if err != nil {
		return nil, nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		message, _ := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
		return nil, nil, &StatusError{resp.StatusCode, retryTime(resp.Header.Get("Retry-After")), strings.ToValidUTF8(strings.TrimSpace(string(message)), "?")}
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		resp.Body.Close()
		return nil, nil, fmt.Errorf("%w: packed as %.40q", ErrProtocol, e)
	}
	return resp.Body, resp.Header, nil
}

// sameHost follows redirects within a host, and not from https to http.
func sameHost(r *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case r.URL.Host != first.Host, r.URL.Scheme != first.Scheme:
		return fmt.Errorf("%w: to %s://%.100s", ErrRedirect, r.URL.Scheme, r.URL.Host)
	case len(via) > maxRedirects:
		return fmt.Errorf("%w: more than %d redirects", ErrProtocol, maxRedirects)
	}
	return nil
}

// maxRetryAfter bounds the pause that a server can ask for.
const maxRetryAfter = time.Hour

// retryTime parses a Retry-After header, in seconds or as a date.
func retryTime(s string) time.Duration {
	if s == "" {
		return 0
	}
	var wait time.Duration
	if seconds, err := strconv.ParseUint(s, 10, 32); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if date, err := http.ParseTime(s); err == nil {
		wait = time.Until(date)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// A watchedBody is a response's body that fails if nothing comes.
type watchedBody struct {
	body   io.ReadCloser
	ctx    context.Context // the request's, which ends the body
	cancel context.CancelCauseFunc
	watch  *time.Timer // cancels
	stall  time.Duration
	reads  *atomic.Int64 // or nil
}

// Read implements io.Reader. The time between Reads doesn't count as a stall.
func (b *watchedBody) Read(p []byte) (int, error) {
	b.watch.Reset(b.stall)
	n, err := b.body.Read(p)
	b.watch.Stop()
	if n > 0 && b.reads != nil {
		b.reads.Add(1)
	}
	if err != nil && err != io.EOF {
		if cause := context.Cause(b.ctx); cause != nil {
			err = cause
		}
	}
	return n, err
}

// Close implements io.Closer.
func (b *watchedBody) Close() error {
	b.watch.Stop()
	// The rest of the body isn't read.
	b.cancel(context.Canceled)
	return b.body.Close()
}
