// Package blocktest is the conformance suite for stores of blocks, and has an
// in-memory store for tests.
//
// A store's own test is one call of [Run]. Run checks what the interfaces of
// package block promise, and what else all packages of Cairn rely on: CIDv0 and
// CIDv1 dag-pb name the same block; bytes serve every codec of their multihash;
// identity CIDs are always here and never stored; a cancelled context fails every
// call.
//
// Run starts goroutines and waits for them. [Mem] is safe for concurrent use.
//
// The package is for tests only. It doesn't test durability or crashes: each store
// promises something else there.
package blocktest

import (
	"bytes"
	"errors"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
)

// A Store is what Run tests.
type Store interface {
	block.Getter
	block.Putter
	block.Haver
	block.Sizer
	block.Deleter
	block.Lister
}

// Run tests stores made by open, which is called once for each subtest and
// returns an empty store. It cleans up by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Store) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s suite)
	}{
		{"Missing", testMissing},
		{"Kinds", testKinds},
		{"PutTwice", testPutTwice},
		{"Delete", testDelete},
		{"Version", testVersion},
		{"Codecs", testCodecs},
		{"Identity", testIdentity},
		{"BadCIDs", testBadCIDs},
		{"Many", testMany},
		{"ListEnds", testListEnds},
		{"ListReentrant", testListReentrant},
		{"BytesKept", testBytesKept},
		{"Cancelled", testCancelled},
		{"Concurrent", testConcurrent},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, suite{t, open(t)}) })
	}
}

// suite is a store under test, with the checks that all tests share.
type suite struct {
	t *testing.T
	Store
}

func (s suite) put(blocks ...block.Block) {
	s.t.Helper()
	if err := s.Put(s.t.Context(), blocks...); err != nil {
		s.t.Fatalf("Put: %v", err)
	}
}

// here checks that Get, Has and Size find data under c.
func (s suite) here(c cid.Cid, data []byte) {
	s.t.Helper()
	ctx := s.t.Context()
	b, err := s.Get(ctx, c)
	switch {
	case err != nil:
		s.t.Errorf("Get %s: %v", c, err)
	case b.CID() != c:
		s.t.Errorf("Get %s: got the CID %s, want the one asked for", c, b.CID())
	case !bytes.Equal(b.Data(), data):
		s.t.Errorf("Get %s: got %d bytes, want other %d", c, b.Size(), len(data))
	}
	if has, err := s.Has(ctx, c); !has || err != nil {
		s.t.Errorf("Has %s: got %v, %v, want true", c, has, err)
	}
	if size, err := s.Size(ctx, c); size != len(data) || err != nil {
		s.t.Errorf("Size %s: got %d, %v, want %d", c, size, err, len(data))
	}
}

// missing checks that Get, Has and Size don't find c.
func (s suite) missing(c cid.Cid) {
	s.t.Helper()
	ctx := s.t.Context()
	if b, err := s.Get(ctx, c); !errors.Is(err, block.ErrNotFound) {
		s.t.Errorf("Get %s: got %d bytes, %v, want ErrNotFound", c, b.Size(), err)
	}
	if has, err := s.Has(ctx, c); has || err != nil {
		s.t.Errorf("Has %s: got %v, %v, want false", c, has, err)
	}
	if size, err := s.Size(ctx, c); !errors.Is(err, block.ErrNotFound) {
		s.t.Errorf("Size %s: got %d, %v, want ErrNotFound", c, size, err)
	}
}

// list returns what Blocks yields.
func (s suite) list() []cid.Cid {
	s.t.Helper()
	var cids []cid.Cid
	for c, err := range s.Blocks(s.t.Context()) {
		if err != nil {
			s.t.Errorf("Blocks: %v", err)
			return nil
		}
		cids = append(cids, c)
	}
	return cids
}

// listed checks that Blocks yields those CIDs, each once, in any order.
func (s suite) listed(want ...cid.Cid) {
	s.t.Helper()
	got := make(map[cid.Cid]int)
	for _, c := range s.list() {
		got[block.V1(c)]++
	}
	for _, c := range want {
		if n := got[block.V1(c)]; n != 1 {
			s.t.Errorf("Blocks: got %s %d times, want it once", c, n)
		}
	}
	if len(got) != len(want) {
		s.t.Errorf("Blocks: got %d CIDs, want %d", len(got), len(want))
	}
}

// make makes a block of CID version 1.
func (s suite) make(codec, hash uint64, data []byte) block.Block {
	s.t.Helper()
	b, err := block.NewWithPrefix(cid.Prefix{Version: 1, Codec: codec, MhType: hash, MhLength: -1}, data)
	if err != nil {
		s.t.Errorf("make a block: %v", err)
	}
	return b
}

func (s suite) raw(data string) block.Block {
	s.t.Helper()
	return s.make(block.Raw, block.SHA2_256, []byte(data))
}
