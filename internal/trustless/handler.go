package trustless

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/ipfs/go-cid"
)

// Blocks are the blocks that a handler serves: those that are here.
type Blocks interface {
	block.Getter
	block.Haver
	block.Sizer
}

// A Config says what a handler serves and what it may cost. Only Blocks is
// required.
type Config struct {
	Blocks Blocks
	// LinksOf, if set, returns the links of a block without reading it, or an
	// error that wraps block.ErrNotFound. It makes differences cheaper.
	LinksOf func(ctx context.Context, c cid.Cid) ([]cid.Cid, error)
	// Logger logs faults of this server, not of clients; nil means silence.
	Logger *slog.Logger
	// Remote returns the sender of a request, for MaxEach; nil means its address
	// or peer id. Behind a proxy, all requests come from the proxy.
	Remote func(r *http.Request) string

	// MaxRequests is how many requests are served at a time; 0 means 128. Remotes
	// without another request get a few more. The memory for blocks is bounded in
	// all, and for each remote.
	MaxRequests int
	// MaxEach is how many requests of one remote are served at a time; 0 means 32.
	// As many more wait a while.
	MaxEach int
	// MaxDiffs is how many requests may compare DAGs at a time, one of each
	// remote; 0 means 8.
	MaxDiffs int
	// MaxDiffBlocks is how many blocks of each side one comparison remembers, some
	// 100 bytes each; 0 means 32,768. Beyond that, more is sent than needed.
	MaxDiffBlocks int
	// WriteTimeout is how long a client may take for the next 256 KiB; 0 means
	// 30 s.
	WriteTimeout time.Duration
}

const (
	defaultRequests     = 128
	defaultEach         = 32
	defaultDiffs        = 8
	defaultDiffBlocks   = 1 << 15
	defaultWriteTimeout = 30 * time.Second
)

// retryAfter is when to ask again after a 429 or 503, in seconds: most requests
// are done by then.
const retryAfter = 2

type handler struct {
	Config
	limits *limiter
	diffs  *quota // for turns of comparing
	memory *quota // of blocks to be written
	state  *quota // of what requests remember
}

// NewHandler serves blocks by the trustless gateway protocol: GET and HEAD of
// /ipfs/{cid}[/{path}] as application/vnd.ipld.raw or application/vnd.ipld.car. It
// answers every path that it is mounted at.
//
// A CAR that can't be sent whole is aborted: over HTTP/1.1 without the last chunk,
// over HTTP/2 with a reset. HTTP/1.0 can't do that, and gets no CARs.
func NewHandler(c Config) http.Handler {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Remote == nil {
		c.Remote = remoteOf
	}
	for field, value := range map[*int]int{
		&c.MaxRequests: defaultRequests, &c.MaxEach: defaultEach,
		&c.MaxDiffs: defaultDiffs, &c.MaxDiffBlocks: defaultDiffBlocks,
	} {
		if *field <= 0 {
			*field = value
		}
	}
	if c.WriteTimeout <= 0 {
		c.WriteTimeout = defaultWriteTimeout
	}
	return &handler{
		Config: c, limits: newLimiter(c.MaxRequests, c.MaxEach, spareRemotes), diffs: newQuota(c.MaxDiffs, 1, 0),
		memory: newQuota(blocksInAll, blocksEach, blocksSpare), state: newQuota(stateInAll, stateEach, 0),
	}
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(h.WriteTimeout))
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		h.fail(w, r, refuse(http.StatusMethodNotAllowed, "only GET and HEAD are answered"))
		return
	}
	rq, err := parseRequest(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	rq.remote = h.Remote(r)
	if err := h.limits.enter(r.Context(), rq.remote); err != nil {
		h.fail(w, r, err)
		return
	}
	defer h.limits.leave(rq.remote)

	if rq.format == formatRaw {
		err = h.serveRaw(w, r, rq)
	} else {
		err = h.serveCAR(w, r, rq)
	}
	if err != nil {
		h.fail(w, r, err)
	}
}

// fail answers with an error. Nothing may have been written yet.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	var refused *refusal
	switch {
	case errors.As(err, &refused):
	case errors.Is(err, block.ErrNotFound) && onlyIfCached(r.Header):
		refused = &refusal{http.StatusPreconditionFailed, "the block isn't here"}
	case errors.Is(err, block.ErrNotFound):
		refused = &refusal{http.StatusNotFound, "the block isn't here"}
	case r.Context().Err() != nil:
		panic(http.ErrAbortHandler) // the client is gone
	default:
		h.Logger.Error("trustless: request failed", "path", r.URL.Path, "err", err)
		refused = &refusal{http.StatusInternalServerError, "an error of this server"}
	}
	header := w.Header()
	for _, name := range []string{"Etag", "Content-Disposition", "Content-Location", "Content-Length", headerHave, headerLeaves} {
		header.Del(name)
	}
	header.Set("Cache-Control", cacheNever)
	if refused.status == http.StatusTooManyRequests || refused.status == http.StatusServiceUnavailable {
		header.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	http.Error(w, refused.message, refused.status)
}

// find returns the size of a block that is inlined or here, and a function that
// reads it.
func (h *handler) find(ctx context.Context, c cid.Cid) (int, func(context.Context) (block.Block, error), error) {
	if b, ok := block.Inlined(c); ok {
		return b.Size(), func(context.Context) (block.Block, error) { return b, nil }, nil
	}
	return block.Internal(access.Key{}).Find(ctx, h.Blocks, c)
}
