package exchange

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
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
	batch := f.theirs.Batch()
	p := unixfs.V1Profile()
	f.check(p.SetChunker("size-65536"))
	r, err := unixfs.Import(f.Context(), batch, io.LimitReader(rand.NewChaCha8([32]byte{seed}), size), unixfs.Options{Profile: p})
	f.check(err)
	batch.Alias(r.CID.String(), r.CID, store.AliasOptions{})
	f.check(batch.Commit(f.Context()))
	return r.CID
}

// tree adds a tree of small files, in directories of 50, to their store. The files
// with these numbers have other contents.
func (f *fixture) tree(files int, changed ...int) cid.Cid {
	f.Helper()
	fs := fstest.MapFS{}
	for i := range files {
		fs[fmt.Sprintf("dir-%03d/file-%05d", i/50, i)] = &fstest.MapFile{Data: fmt.Appendf(nil, "this is file %d", i)}
	}
	for _, i := range changed {
		fs[fmt.Sprintf("dir-%03d/file-%05d", i/50, i)].Data = []byte("changed")
	}
	batch := f.theirs.Batch()
	r, err := unixfs.ImportFS(f.Context(), batch, fs, unixfs.Options{Profile: unixfs.V1Profile()})
	f.check(err)
	batch.Alias(r.CID.String(), r.CID, store.AliasOptions{})
	f.check(batch.Commit(f.Context()))
	return r.CID
}

// chain adds a chain of n blocks of dag-cbor to their store: {"n": i, "prev":
// link}.
func (f *fixture) chain(n int) cid.Cid {
	f.Helper()
	batch := f.theirs.Batch()
	var prev cid.Cid
	for i := range n {
		data := append([]byte{0xa2, 0x61, 'n', 0x1a}, binary.BigEndian.AppendUint32(nil, uint32(i))...)
		data = append(data, 0x64, 'p', 'r', 'e', 'v')
		if prev.Defined() {
			data = appendLink(data, prev)
		} else {
			data = append(data, 0xf6)
		}
		k, err := block.New(block.DagCBOR, data)
		f.check(err)
		f.check(batch.Put(f.Context(), k))
		prev = k.CID()
	}
	batch.Alias(prev.String(), prev, store.AliasOptions{})
	f.check(batch.Commit(f.Context()))
	return prev
}

// mesh adds a DAG of link blocks to their store, each of which links to the next
// one and to the same leaves.
func (f *fixture) mesh(links, leaves int) cid.Cid {
	f.Helper()
	batch := f.theirs.Batch()
	var tail []byte
	for i := range leaves {
		k, err := block.New(block.Raw, binary.BigEndian.AppendUint32(nil, uint32(i)))
		f.check(err)
		f.check(batch.Put(f.Context(), k))
		tail = appendLink(tail, k.CID())
	}
	last := cid.Undef
	for range links {
		n := leaves
		var data []byte
		if last.Defined() {
			n++
			data = appendLink(nil, last)
		}
		data = append(data, tail...)
		k, err := block.New(block.DagCBOR, append([]byte{0x99, byte(n >> 8), byte(n)}, data...))
		f.check(err)
		f.check(batch.Put(f.Context(), k))
		last = k.CID()
	}
	batch.Alias(last.String(), last, store.AliasOptions{})
	f.check(batch.Commit(f.Context()))
	return last
}

// appendLink appends a link in dag-cbor.
func appendLink(dst []byte, c cid.Cid) []byte {
	dst = append(dst, 0xd8, 0x2a, 0x58, byte(len(c.Bytes())+1), 0)
	return append(dst, c.Bytes()...)
}

// sync gets a DAG into our store. It returns the last progress, and the error.
func (f *fixture) sync(c Config, root cid.Cid, o Options) (Progress, error) {
	f.Helper()
	if c.Store == nil {
		c.Store = f.ours
	}
	var last Progress
	for p, err := range New(c).Sync(f.Context(), root, o) {
		if last = p; err != nil {
			return last, err
		}
	}
	if !last.Done {
		f.Error("a sync ended without an error, and isn't done")
	}
	return last, nil
}

// whole expects a whole DAG in a store, and counts its blocks.
func (f *fixture) whole(s *store.Store, root cid.Cid) (blocks int) {
	f.Helper()
	for step, err := range dag.Walk(f.Context(), s, []cid.Cid{root}, dag.WalkOptions{}) {
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

func (f *fixture) alias(name string, want cid.Cid) {
	f.Helper()
	root, err := f.ours.Resolve(f.Context(), name)
	switch {
	case !want.Defined() && !errors.Is(err, store.ErrNoAlias):
		f.Errorf("alias %s: got %v, %v, want none", name, root, err)
	case want.Defined() && root != want:
		f.Errorf("alias %s: got %v, %v, want %s", name, root, err, want)
	}
}

// An answerer has blocks, and answers as a bitswap peer does.
type answerer struct {
	name   string
	blocks block.Getter
	delay  time.Duration

	mu    sync.Mutex
	sent  int
	bytes int
	asked []cid.Cid
	most  int // blocks wanted at a time
	limit int // blocks before it dies; 0: no limit
	mute  bool
	lie   func(c cid.Cid) []block.Block // sent in place of the block
}

var _ Answerer = (*answerer)(nil)

func (p *answerer) Name() string { return p.name }

var errDied = errors.New("connection reset")

func (p *answerer) Open(ctx context.Context) (Conversation, error) {
	return &talk{answerer: p, replies: make(chan Reply, 4096), died: make(chan struct{})}, ctx.Err()
}

// A tardySource answers once it has been dropped.
type tardySource struct{ *answerer }

func (p tardySource) Open(ctx context.Context) (Conversation, error) {
	c, err := p.answerer.Open(ctx)
	return tardyTalk{c}, err
}

type tardyTalk struct{ Conversation }

func (t tardyTalk) Next(ctx context.Context) (Reply, error) {
	r, err := t.Conversation.Next(ctx)
	<-ctx.Done()
	return r, err
}

type talk struct {
	*answerer
	replies chan Reply
	died    chan struct{}
	once    sync.Once
	answers sync.WaitGroup
}

func (t *talk) die() { t.once.Do(func() { close(t.died) }) }

func (t *talk) reply(ctx context.Context, r Reply) {
	select {
	case t.replies <- r:
	case <-t.died:
	case <-ctx.Done():
	}
}

// send counts a block, and sends it. It returns false once the limit is reached.
func (t *talk) send(ctx context.Context, b block.Block) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.limit > 0 && t.sent >= t.limit {
		return false
	}
	t.sent++
	t.bytes += b.Size()
	t.reply(ctx, Reply{CID: b.CID(), Block: b, Has: true})
	return true
}

func (t *talk) Want(ctx context.Context, cids ...cid.Cid) error {
	t.mu.Lock()
	t.asked = append(t.asked, cids...)
	t.most = max(t.most, len(t.asked)-t.sent)
	mute := t.mute
	t.mu.Unlock()
	if mute {
		return nil
	}
	answer := func() {
		for _, c := range cids {
			b, err := t.blocks.Get(ctx, c)
			if err != nil {
				t.reply(ctx, Reply{CID: c})
				continue
			}
			if t.lie != nil {
				for _, b := range t.lie(c) {
					t.reply(ctx, Reply{CID: b.CID(), Block: b, Has: true})
				}
				continue
			}
			if !t.send(ctx, b) {
				t.die()
				return
			}
		}
	}
	t.answers.Go(func() {
		if t.delay > 0 {
			select {
			case <-time.After(t.delay):
			case <-t.died:
				return
			}
		}
		answer()
	})
	return nil
}

func (t *talk) Has(ctx context.Context, c cid.Cid) error {
	_, err := t.blocks.Get(ctx, c)
	if !t.mute {
		t.reply(ctx, Reply{CID: c, Has: err == nil})
	}
	return nil
}

func (t *talk) Cancel(...cid.Cid) {}

func (t *talk) Next(ctx context.Context) (Reply, error) {
	select {
	case r := <-t.replies:
		return r, nil
	default:
	}
	select {
	case r := <-t.replies:
		return r, nil
	case <-t.died:
	case <-ctx.Done():
		return Reply{}, ctx.Err()
	}
	select {
	case r := <-t.replies:
		return r, nil
	default:
		return Reply{}, errDied
	}
}

// Close ends the answers that are under way. Nothing is counted after it.
func (t *talk) Close() error {
	t.die()
	t.answers.Wait()
	return nil
}

// A gateway has blocks, and sends DAGs as a trustless gateway does.
type gateway struct {
	name   string
	blocks block.Getter
	have   bool // it honours have

	mu      sync.Mutex
	streams int
	sent    int
	bytes   int
	cutAt   int // after how many blocks streams are cut; 0: never
	endAt   int // after how many they end as if they were whole
	lie     []block.Block
	pace    func() // called before each block
}

var _ Streamer = (*gateway)(nil)

func (g *gateway) Name() string { return g.name }

func (g *gateway) Stream(ctx context.Context, root cid.Cid, have []cid.Cid) (Stream, error) {
	if _, err := g.blocks.Get(ctx, root); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.streams++
	if !g.have {
		have = nil
	}
	return &gatewayStream{g: g, ctx: ctx, root: root, have: have}, nil
}

type gatewayStream struct {
	g    *gateway
	ctx  context.Context
	root cid.Cid
	have []cid.Cid
}

func (s *gatewayStream) Honoured() bool { return len(s.have) > 0 }
func (s *gatewayStream) Close() error   { return nil }

func (s *gatewayStream) Blocks() iter.Seq2[block.Block, error] {
	return func(yield func(block.Block, error) bool) {
		steps := dag.Walk(s.ctx, s.g.blocks, []cid.Cid{s.root}, dag.WalkOptions{})
		if len(s.have) > 0 {
			d, err := dag.Diff(s.ctx, s.g.blocks, s.root, s.have, dag.DiffOptions{})
			if err != nil {
				yield(block.Block{}, err)
				return
			}
			steps = d.Blocks(s.ctx, dag.WalkOptions{})
		}
		for _, b := range s.g.lie {
			if !yield(b, nil) {
				return
			}
		}
		for step, err := range steps {
			if err != nil {
				yield(block.Block{}, err)
				return
			}
			s.g.mu.Lock()
			sent := s.g.sent
			s.g.mu.Unlock()
			if s.g.cutAt > 0 && sent >= s.g.cutAt {
				yield(block.Block{}, errDied)
				return
			}
			if s.g.endAt > 0 && sent >= s.g.endAt {
				return
			}
			if s.g.pace != nil {
				s.g.pace()
			}
			s.g.mu.Lock()
			s.g.sent++
			s.g.bytes += step.Block.Size()
			s.g.mu.Unlock()
			if !yield(step.Block, nil) {
				return
			}
		}
	}
}

// A node is a gateway and an answerer.
type node struct {
	*gateway
	asked *answerer
}

var (
	_ Streamer = (*node)(nil)
	_ Answerer = (*node)(nil)
)

func newNode(name string, blocks block.Getter) *node {
	return &node{
		gateway: &gateway{name: name, blocks: blocks, have: true},
		asked:   &answerer{name: name, blocks: blocks},
	}
}

func (n *node) Open(ctx context.Context) (Conversation, error) { return n.asked.Open(ctx) }
