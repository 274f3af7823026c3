package control

import (
	"context"
	"io"
	"iter"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
)

// prefix begins the paths of our verbs, below httpapi.Prefix.
const prefix = "cairn/"

// A Call is a verb with one result.
type Call[A, R any] struct {
	// Path is below prefix.
	Path string
	// Scope says which clients of a daemon may use the verb.
	Scope httpapi.Scope
	// Body returns the field of the arguments that travels as the request's
	// body. Nil: the verb reads no bytes.
	Body func(*A) *io.Reader
	// Run does the work.
	Run func(ctx context.Context, n *cairn.Node, args A) (R, error)
}

// Do does the verb.
func (v Call[A, R]) Do(ctx context.Context, t *Target, args A) (result R, err error) {
	if t.node != nil {
		return v.Run(ctx, t.node, args)
	}
	r, err := newRequest(t.daemon, v.Path, v.Scope, v.Body, args)
	if err == nil {
		err = t.daemon.call(ctx, r, &result)
	}
	return result, err
}

func (v Call[A, R]) register(n *cairn.Node, verbs map[string]httpapi.Verb) {
	verbs[prefix+v.Path] = httpapi.Verb{Scope: v.Scope, Body: v.Body != nil, JSON: JSON, Run: func(c *httpapi.Call) error {
		args, err := arguments(c, v.Body)
		if err != nil {
			return err
		}
		result, err := v.Run(c.Context(), n, args)
		if err != nil {
			return err
		}
		return c.Value(result)
	}}
}

// A Stream is a verb whose results come one by one. An error is the last that
// it yields.
type Stream[A, T any] struct {
	Path  string
	Scope httpapi.Scope
	Body  func(*A) *io.Reader
	// Subscription: the work begins when Run is called, not with the range, and
	// the client learns that it has begun before there is a result.
	Subscription bool
	Run          func(ctx context.Context, n *cairn.Node, args A) iter.Seq2[T, error]
}

// Do does the verb.
func (v Stream[A, T]) Do(ctx context.Context, t *Target, args A) iter.Seq2[T, error] {
	if t.node != nil {
		return v.Run(ctx, t.node, args)
	}
	return func(yield func(T, error) bool) {
		r, err := newRequest(t.daemon, v.Path, v.Scope, v.Body, args)
		if err != nil {
			var none T
			yield(none, err)
			return
		}
		for line, err := range t.daemon.lines(ctx, r) {
			var result T
			if err == nil {
				err = r.decode(line, &result)
			}
			if !yield(result, err) || err != nil {
				return
			}
		}
	}
}

func (v Stream[A, T]) register(n *cairn.Node, verbs map[string]httpapi.Verb) {
	verbs[prefix+v.Path] = httpapi.Verb{Scope: v.Scope, Body: v.Body != nil, JSON: JSON, Run: func(c *httpapi.Call) error {
		args, err := arguments(c, v.Body)
		if err != nil {
			return err
		}
		results := v.Run(c.Context(), n, args)
		if v.Subscription {
			if err := c.BeginList(); err != nil {
				return err
			}
		}
		for result, err := range results {
			if err == nil {
				err = c.Item(result)
			}
			if err != nil {
				return err
			}
		}
		return c.EndList(nil)
	}}
}

// A Download is a verb that writes bytes.
type Download[A any] struct {
	Path string
	// Type is the bytes' media type.
	Type string
	// Run writes to w. Where it knows how many bytes there will be, it calls size
	// before the first.
	Run func(ctx context.Context, n *cairn.Node, args A, w io.Writer, size func(int64)) error
}

// Do does the verb. size may be nil.
func (v Download[A]) Do(ctx context.Context, t *Target, args A, w io.Writer, size func(int64)) error {
	if size == nil {
		size = func(int64) {}
	}
	if t.node != nil {
		return v.Run(ctx, t.node, args, w, size)
	}
	r, err := newRequest(t.daemon, v.Path, httpapi.AnyClient, nil, args)
	if err != nil {
		return err
	}
	return t.daemon.download(ctx, r, w, size)
}

func (v Download[A]) register(n *cairn.Node, verbs map[string]httpapi.Verb) {
	verbs[prefix+v.Path] = httpapi.Verb{Run: func(c *httpapi.Call) error {
		args, err := arguments[A](c, nil)
		if err != nil {
			return err
		}
		err = v.Run(c.Context(), n, args, c.Bytes(v.Type), func(size int64) { setSize(c, size) })
		return c.EndBytes(v.Type, err)
	}}
}

// A registrar is a verb of any form.
type registrar interface {
	register(n *cairn.Node, verbs map[string]httpapi.Verb)
}

// all are the verbs of this package.
func all() []registrar {
	return []registrar{
		Add, ApplyBatch,
		ResolveAlias, ListAliases, ListKeepers,
		GetBlock, BlockSize, DeleteBlocks, ListMissing,
		Cat, ExportCAR, CountDAG, Sync,
		Stats, Evict, Verify, Backup, Events,
		Identify, ListPeers, Connect, Disconnect, Ping,
		FindProviders, FindPeer, Provide, Unprovide, ProvideStats, RoutingStatus,
		ListKeys, GenerateKey, RenameKey, RemoveKeys, ExportKey, ImportKey,
		PublishName, ResolveName, GetNameRecord, PutNameRecord,
	}
}

// Verbs are what a daemon answers, by path. Shutdown ends the daemon, and must
// not wait for requests; nil refuses the request.
func Verbs(n *cairn.Node, shutdown func()) map[string]httpapi.Verb {
	verbs := map[string]httpapi.Verb{prefix + shutdownPath: {Run: func(*httpapi.Call) error {
		if shutdown == nil {
			return httpapi.Forbidden("shutdown: this daemon can't be ended from here")
		}
		shutdown()
		return nil
	}}}
	for _, v := range all() {
		v.register(n, verbs)
	}
	return verbs
}

// arguments reads a request's arguments.
func arguments[A any](c *httpapi.Call, body func(*A) *io.Reader) (args A, err error) {
	if text := c.Query.Get("args"); text != "" {
		if err := decodeArguments([]byte(text), &args); err != nil {
			return args, httpapi.BadRequest("read the arguments: %w", err)
		}
	}
	if body != nil {
		*body(&args) = c.Body()
	}
	return args, nil
}

// gathered runs work in a goroutine and yields what it emits, and then its error
// if it has one. emit may be called by several goroutines, and reports whether
// somebody still takes results. When the range ends early, the context of work
// ends, and the range waits for it.
func gathered[T any](ctx context.Context, work func(ctx context.Context, emit func(T) bool) error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		results, ended := make(chan T), make(chan error, 1)
		emit := func(v T) bool {
			select {
			case results <- v:
				return true
			case <-ctx.Done():
				return false
			}
		}
		go func() { ended <- work(ctx, emit) }()
		var err error
		defer func() {
			if cancel(); ended != nil {
				<-ended
			}
		}()
		for ended != nil {
			select {
			case v := <-results:
				if !yield(v, nil) {
					return
				}
			case err = <-ended:
				ended = nil
			}
		}
		if err != nil {
			var none T
			yield(none, err)
		}
	}
}
