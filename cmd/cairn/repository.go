package main

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/cairn-ipfs/cairn/internal/rpc"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// A repo is what commands work with: a repository that this process has open
// (opened), or the one that a daemon has (asked). What the methods do is said at
// package store, at cairn.Node, and at rpc.Client.
type repo interface {
	blockKeeper
	nameKeeper
	reading
	upkeep
	transfer
	network
	keyring
	keyCarrier
	namer
	finding
}

type blockKeeper interface {
	Get(ctx context.Context, c cid.Cid) (block.Block, error)
	Size(ctx context.Context, c cid.Cid) (int, error)
	Delete(ctx context.Context, cids ...cid.Cid) error
	Missing(ctx context.Context, root cid.Cid, sel store.Selection) iter.Seq2[cid.Cid, error]
	NewBatch() batch
}

type nameKeeper interface {
	GetAlias(ctx context.Context, name string) (store.Alias, error)
	Aliases(ctx context.Context, prefix string) iter.Seq2[store.Alias, error]
	ReverseAlias(ctx context.Context, c cid.Cid) iter.Seq2[store.Alias, error]
}

type upkeep interface {
	Dir(ctx context.Context) (string, error)
	Stats(ctx context.Context) (store.Stats, error)
	Evict(ctx context.Context, o store.EvictOptions) (store.Evicted, error)
	Verify(ctx context.Context, o store.VerifyOptions) (*store.Report, error)
	Backup(ctx context.Context, dir string) error
}

// reading is for all that is below a root.
type reading interface {
	// ReadDAG is for who wants most of its blocks, about depth first.
	ReadDAG(ctx context.Context, root cid.Cid) (dagReader, error)
	Cat(ctx context.Context, w io.Writer, c cid.Cid, offset, length int64, size func(int64)) error
	ExportCAR(ctx context.Context, w io.Writer, root cid.Cid) error
}

// A dagReader gets blocks until it's closed.
type dagReader interface {
	block.Getter
	Close()
}

// transfer is what goes through many blocks, and is done where they are.
type transfer interface {
	Add(ctx context.Context, r rpc.AddRequest) ([]cairn.AddResult, error)
	StatDAG(ctx context.Context, root cid.Cid) (rpc.DAGStat, error)
	Sync(ctx context.Context, root cid.Cid, o cairn.SyncOptions) iter.Seq2[cairn.SyncProgress, error]
}

type network interface {
	Identity(ctx context.Context) (rpc.Identity, error)
	Peers(ctx context.Context) ([]cairn.Peer, error)
	Connect(ctx context.Context, addr string) (peer.ID, error)
	Disconnect(ctx context.Context, id peer.ID) error
	Ping(ctx context.Context, target string, count int, interval time.Duration) iter.Seq2[time.Duration, error]
}

type keyring interface {
	Keys(ctx context.Context) iter.Seq2[cairn.Key, error]
	GenerateKey(ctx context.Context, name string) (cairn.Key, error)
	RenameKey(ctx context.Context, nameOrID, to string) (cairn.Key, error)
	RemoveKeys(ctx context.Context, all []string, dryRun bool) ([]cairn.Key, error)
}

// keyCarrier is for private keys, which a daemon gives and takes within its
// machine only.
type keyCarrier interface {
	ExportKey(ctx context.Context, nameOrID string, f cairn.KeyFormat) ([]byte, error)
	ImportKey(ctx context.Context, name string, data []byte) (cairn.Key, error)
}

type namer interface {
	PublishName(ctx context.Context, key, path string, o cairn.PublishOptions) (cairn.NameRecord, error)
	ResolveName(ctx context.Context, path string, o cairn.ResolveOptions) (cairn.Resolution, error)
	NameRecord(ctx context.Context, name string, o cairn.ResolveOptions) (cairn.NameRecord, error)
	PutNameRecord(ctx context.Context, name string, raw []byte) (cairn.NameRecord, error)
}

// finding is about who has what. Of trace see rpc.Client.
type finding interface {
	FindProviders(ctx context.Context, c cid.Cid, trace func(cairn.TraceEvent)) iter.Seq2[cairn.Provider, error]
	FindPeer(ctx context.Context, id peer.ID, trace func(cairn.TraceEvent)) iter.Seq2[cairn.PeerAddrs, error]
	announcing
}

type announcing interface {
	Provide(ctx context.Context, c cid.Cid) error
	Unprovide(ctx context.Context, c cid.Cid) error
	RoutingStatus(ctx context.Context) (cairn.RoutingStatus, error)
	ProvideStats(ctx context.Context) (cairn.ProvideStats, error)
}

// A batch is a change of several things at once, or of none.
type batch interface {
	block.Putter
	Alias(name string, root cid.Cid, o store.AliasOptions)
	RemoveAlias(name string)
	Commit(ctx context.Context) error
	Discard()
}

var (
	_ repo  = opened{}
	_ repo  = (*asked)(nil)
	_ batch = (*store.Batch)(nil)
	_ batch = (*rpc.Batch)(nil)
)

// opened is a repository that this process has open.
type opened struct {
	*store.Store
	node *cairn.Node
}

func (o opened) NewBatch() batch { return o.Batch() }

func (o opened) Dir(context.Context) (string, error) { return o.Store.Dir(), nil }

func (o opened) Add(ctx context.Context, r rpc.AddRequest) ([]cairn.AddResult, error) {
	return rpc.AddTo(ctx, o.node, r)
}

func (o opened) ReadDAG(context.Context, cid.Cid) (dagReader, error) { return openedReader{o}, nil }

// openedReader gets blocks from where they are, which costs nothing to begin.
type openedReader struct{ block.Getter }

func (openedReader) Close() {}

func (o opened) Cat(ctx context.Context, w io.Writer, c cid.Cid, offset, length int64, size func(int64)) error {
	return rpc.CatFrom(ctx, store.Internal(access.Key{}).Reader(o.Store), w, c, offset, length, size)
}

func (o opened) ExportCAR(ctx context.Context, w io.Writer, root cid.Cid) error {
	return cairn.ExportCAR(ctx, o, w, root)
}

func (o opened) StatDAG(ctx context.Context, root cid.Cid) (rpc.DAGStat, error) {
	return rpc.StatDAG(ctx, o, root)
}

func (o opened) Sync(ctx context.Context, root cid.Cid, so cairn.SyncOptions) iter.Seq2[cairn.SyncProgress, error] {
	return o.node.Sync(ctx, root, so)
}

func (o opened) Identity(ctx context.Context) (rpc.Identity, error) {
	return rpc.IdentityOf(ctx, o.node, agent)
}

func (o opened) Peers(ctx context.Context) ([]cairn.Peer, error) { return o.node.Peers(ctx) }

func (o opened) Connect(ctx context.Context, addr string) (peer.ID, error) {
	return o.node.Connect(ctx, addr)
}

func (o opened) Disconnect(ctx context.Context, id peer.ID) error { return o.node.Disconnect(ctx, id) }

func (o opened) Ping(ctx context.Context, target string, count int, interval time.Duration) iter.Seq2[time.Duration, error] {
	return rpc.PingFrom(ctx, o.node, target, count, interval)
}

func (o opened) Keys(context.Context) iter.Seq2[cairn.Key, error] {
	return func(yield func(cairn.Key, error) bool) {
		keys, err := o.node.Keys()
		if err != nil {
			yield(cairn.Key{}, err)
			return
		}
		keys.List()(yield)
	}
}

func (o opened) GenerateKey(_ context.Context, name string) (cairn.Key, error) {
	return withKeys(o, func(k *cairn.Keys) (cairn.Key, error) { return k.Generate(name) })
}

func (o opened) RenameKey(_ context.Context, nameOrID, to string) (cairn.Key, error) {
	return withKeys(o, func(k *cairn.Keys) (cairn.Key, error) { return k.Rename(nameOrID, to) })
}

func (o opened) RemoveKeys(_ context.Context, all []string, dryRun bool) ([]cairn.Key, error) {
	return withKeys(o, func(k *cairn.Keys) ([]cairn.Key, error) { return rpc.RemoveKeys(k, all, dryRun) })
}

func (o opened) ExportKey(_ context.Context, nameOrID string, f cairn.KeyFormat) ([]byte, error) {
	return withKeys(o, func(k *cairn.Keys) ([]byte, error) { return k.Export(nameOrID, f) })
}

func (o opened) ImportKey(_ context.Context, name string, data []byte) (cairn.Key, error) {
	return withKeys(o, func(k *cairn.Keys) (cairn.Key, error) { return k.Import(name, data) })
}

func withKeys[T any](o opened, do func(*cairn.Keys) (T, error)) (T, error) {
	keys, err := o.node.Keys()
	if err != nil {
		var none T
		return none, err
	}
	return do(keys)
}

func (o opened) PublishName(ctx context.Context, key, path string, po cairn.PublishOptions) (cairn.NameRecord, error) {
	return o.node.PublishName(ctx, key, path, po)
}

func (o opened) ResolveName(ctx context.Context, path string, ro cairn.ResolveOptions) (cairn.Resolution, error) {
	return o.node.ResolveName(ctx, path, ro)
}

func (o opened) NameRecord(ctx context.Context, name string, ro cairn.ResolveOptions) (cairn.NameRecord, error) {
	return o.node.NameRecord(ctx, name, ro)
}

func (o opened) PutNameRecord(ctx context.Context, name string, raw []byte) (cairn.NameRecord, error) {
	return o.node.PutNameRecord(ctx, name, raw)
}

func (o opened) FindProviders(ctx context.Context, c cid.Cid, trace func(cairn.TraceEvent)) iter.Seq2[cairn.Provider, error] {
	return o.node.FindProviders(traced(ctx, trace), c)
}

func (o opened) FindPeer(ctx context.Context, id peer.ID, trace func(cairn.TraceEvent)) iter.Seq2[cairn.PeerAddrs, error] {
	return o.node.FindPeer(traced(ctx, trace), id)
}

func traced(ctx context.Context, trace func(cairn.TraceEvent)) context.Context {
	if trace == nil {
		return ctx
	}
	return cairn.WithTrace(ctx, trace)
}

func (o opened) Provide(ctx context.Context, c cid.Cid) error { return o.node.Provide(ctx, c) }

func (o opened) Unprovide(ctx context.Context, c cid.Cid) error { return o.node.Unprovide(ctx, c) }

func (o opened) RoutingStatus(ctx context.Context) (cairn.RoutingStatus, error) {
	return o.node.RoutingStatus(ctx)
}

func (o opened) ProvideStats(ctx context.Context) (cairn.ProvideStats, error) {
	return o.node.ProvideStats(ctx)
}

// asked is the repository that a daemon has open.
type asked struct {
	*rpc.Client
	dir string // where it is, if that is how the daemon was found
}

func (d *asked) NewBatch() batch { return d.Batch() }

func (d *asked) ReadDAG(ctx context.Context, root cid.Cid) (dagReader, error) {
	return d.DAG(ctx, root)
}

func (d *asked) Dir(ctx context.Context) (string, error) {
	if d.dir != "" {
		return d.dir, nil
	}
	return d.Client.Dir(ctx)
}
