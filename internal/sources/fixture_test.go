package sources

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/fstest"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/cairn-ipfs/cairn/internal/bitswap"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/cairn-ipfs/cairn/internal/exchange"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
)

// A fixture is two stores: theirs holds DAGs, and ours gets them.
type fixture struct {
	testing.TB
	theirs, ours *store.Store
}

func newFixture(t testing.TB) *fixture {
	f := &fixture{TB: t}
	f.theirs, f.ours = f.open(), f.open()
	return f
}

func (f *fixture) check(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) open() *store.Store {
	f.Helper()
	s, err := store.Open(f.Context(), "", store.Options{})
	f.check(err)
	f.Cleanup(func() { s.Close() })
	return s
}

// file adds a file of random bytes to their store.
func (f *fixture) file(size int64, seed byte) cid.Cid {
	f.Helper()
	p := unixfs.V1Profile()
	f.check(p.SetChunker("size-65536"))
	batch := f.theirs.Batch()
	r, err := unixfs.Import(f.Context(), batch, io.LimitReader(rand.NewChaCha8([32]byte{seed}), size), unixfs.Options{Profile: p})
	f.check(err)
	return f.keep(batch, r.CID)
}

// tree adds a tree of small files, in directories of 50, to their store.
func (f *fixture) tree(files int) cid.Cid {
	f.Helper()
	fs := fstest.MapFS{}
	for i := range files {
		fs[fmt.Sprintf("dir-%03d/file-%05d", i/50, i)] = &fstest.MapFile{Data: fmt.Appendf(nil, "this is file %d", i)}
	}
	batch := f.theirs.Batch()
	r, err := unixfs.ImportFS(f.Context(), batch, fs, unixfs.Options{Profile: unixfs.V1Profile()})
	f.check(err)
	return f.keep(batch, r.CID)
}

// chain adds a chain of n blocks of dag-cbor to their store: [i, link].
func (f *fixture) chain(n int) cid.Cid {
	f.Helper()
	batch := f.theirs.Batch()
	var last cid.Cid
	for i := range n {
		data := append([]byte{0x82, 0x1a}, binary.BigEndian.AppendUint32(nil, uint32(i))...)
		if last.Defined() {
			data = append(data, 0xd8, 0x2a, 0x58, byte(len(last.Bytes())+1), 0)
			data = append(data, last.Bytes()...)
		} else {
			data = append(data, 0xf6)
		}
		b, err := block.New(block.DagCBOR, data)
		f.check(err)
		f.check(batch.Put(f.Context(), b))
		last = b.CID()
	}
	return f.keep(batch, last)
}

func (f *fixture) keep(batch *store.Batch, root cid.Cid) cid.Cid {
	f.Helper()
	batch.Alias(root.String(), root, store.AliasOptions{})
	f.check(batch.Commit(f.Context()))
	return root
}

// sync gets a DAG into our store, and returns how that ended.
func (f *fixture) sync(root cid.Cid, from ...exchange.Source) (exchange.Progress, error) {
	f.Helper()
	return f.syncWith(exchange.Config{}, root, exchange.Options{From: from, Alias: "got"})
}

func (f *fixture) syncWith(c exchange.Config, root cid.Cid, o exchange.Options) (exchange.Progress, error) {
	f.Helper()
	c.Store = f.ours
	var last exchange.Progress
	for p, err := range exchange.New(c).Sync(f.Context(), root, o) {
		if last = p; err != nil {
			return last, err
		}
	}
	if !last.Done {
		f.Error("a sync ended without an error, and isn't done")
	}
	return last, nil
}

// compare expects the whole DAG in our store, and counts its blocks.
func (f *fixture) compare(root cid.Cid) (blocks int) {
	f.Helper()
	for step, err := range dag.Walk(f.Context(), f.ours, []cid.Cid{root}, dag.WalkOptions{}) {
		f.check(err)
		want, err := f.theirs.Get(f.Context(), step.CID)
		f.check(err)
		if !bytes.Equal(step.Block.Data(), want.Data()) {
			f.Errorf("%s: got other bytes than theirs", step.CID)
		}
		blocks++
	}
	return blocks
}

func (f *fixture) host() host.Host {
	f.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay(), libp2p.DisableMetrics())
	f.check(err)
	f.Cleanup(func() { h.Close() })
	return h
}

// bitswap answers a host's peers from their store.
func (f *fixture) bitswap(h host.Host) *bitswap.Bitswap {
	f.Helper()
	x, err := bitswap.New(bitswap.Config{Host: h, Blocks: store.Internal(access.Key{}).Reader(f.theirs)})
	f.check(err)
	f.Cleanup(func() { x.Close() })
	return x
}
