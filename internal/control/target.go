package control

import (
	"context"
	"errors"
	"io"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// A Target is what verbs are done on: a node that this process has open, or a
// daemon, which has one. Its blocks can be read as from a block.Getter.
type Target struct {
	node   *cairn.Node // nil: daemon is set
	daemon *daemon
}

var (
	_ block.Getter = (*Target)(nil)
	_ block.Sizer  = (*Target)(nil)
)

// Local returns a node as a target. The caller closes the node.
func Local(n *cairn.Node) *Target { return &Target{node: n} }

// Dial returns the daemon at address: "unix:PATH", "http://HOST:PORT",
// "HOST:PORT", or a multiaddr such as /ip4/127.0.0.1/tcp/5001 or /unix/PATH. It
// opens no connection yet; later errors wrap ErrNoDaemon if no daemon answers.
func Dial(address string) (*Target, error) {
	d, err := newDaemon(address)
	if err != nil {
		return nil, err
	}
	return &Target{daemon: d}, nil
}

// IsDaemon reports whether the target is a daemon.
func (t *Target) IsDaemon() bool { return t.daemon != nil }

// Close closes idle connections to a daemon.
func (t *Target) Close() {
	if t.daemon != nil {
		t.daemon.http.CloseIdleConnections()
	}
}

// Get returns a block of the target's store. Errors: block.ErrNotFound.
func (t *Target) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	if t.node != nil {
		return t.node.Get(ctx, c)
	}
	return t.daemon.getBlock(ctx, c)
}

// Size returns the size of a block of the target's store. Errors:
// block.ErrNotFound.
func (t *Target) Size(ctx context.Context, c cid.Cid) (int, error) {
	return BlockSize.Do(ctx, t, BlockArgs{c})
}

// ReadDAG begins to read most blocks of the DAG below root, about depth first.
// Close ends it.
func (t *Target) ReadDAG(ctx context.Context, root cid.Cid) (DAGReader, error) {
	if t.node != nil {
		return localReader{t.node}, nil
	}
	return t.readDAG(ctx, root)
}

// A DAGReader gets blocks until it is closed.
type DAGReader interface {
	block.Getter
	io.Closer
}

// localReader reads from the store, at no cost to begin with.
type localReader struct{ block.Getter }

func (localReader) Close() error { return nil }

// A Batch gathers blocks and aliases that are kept together, or not at all, as a
// store.Batch does. Commit or Discard must be called.
type Batch interface {
	block.Putter
	Alias(name string, root cid.Cid, o store.AliasOptions)
	RemoveAlias(name string)
	Commit(ctx context.Context) error
	Discard()
}

// Batch begins a batch.
func (t *Target) Batch() Batch {
	if t.node != nil {
		return t.node.Batch()
	}
	return &remoteBatch{daemon: t.daemon}
}

// shutdownPath ends a daemon. It is no verb: there is nothing to do on a node.
const shutdownPath = "shutdown"

// Shutdown ends the daemon. It returns when the daemon has begun to close.
func (t *Target) Shutdown(ctx context.Context) error {
	if t.daemon == nil {
		return errors.New("shutdown: the node is open in this process, close it")
	}
	r, err := newRequest(t.daemon, shutdownPath, httpapi.AnyClient, nil, struct{}{})
	if err != nil {
		return err
	}
	return t.daemon.call(ctx, r, nil)
}
