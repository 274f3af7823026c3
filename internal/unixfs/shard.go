package unixfs

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"math/bits"
	"sync"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// shardsAhead bounds the shards of a directory that are requested at once.
const shardsAhead = 8

// A shardLink is one parsed link of a HAMT shard: an entry, or a shard below,
// which has no name.
type shardLink struct {
	bucket int
	name   string
	link   Link
}

// A shardPlace is the position of a shard in a HAMT.
type shardPlace struct {
	shape hamtShape
	level int
	path  uint64 // the bits of the buckets from the root, its own the lowest
}

// check parses a shard's links and checks them against its place. A name must be
// in the bucket of its hash. So no shard occurs twice in a valid HAMT, and a few
// shards can't describe a HAMT without end.
func (p shardPlace) check(c cid.Cid, n Node) ([]shardLink, error) {
	bad := func(format string, args ...any) ([]shardLink, error) {
		return nil, fmt.Errorf("%s: %w: %s", c, block.ErrMalformed, fmt.Sprintf(format, args...))
	}
	switch {
	case n.Type != TypeHAMTShard:
		return bad("a %s below a HAMT, want a HAMTShard", n.Type)
	case n.HashType != hashMurmur3:
		return bad("HAMT hash 0x%x, want murmur3-x64-64", n.HashType)
	case n.Fanout != uint64(p.shape.fanout):
		return bad("shard of fanout %d in a HAMT of fanout %d", n.Fanout, p.shape.fanout)
	case len(n.Links) == 0 && p.level > 0:
		return bad("empty shard")
	}
	field := trimZeros(n.Data)
	if len(field) > p.shape.fanout/8 {
		return bad("bit field of %d bytes for fanout %d", len(field), p.shape.fanout)
	}
	set := 0
	for _, b := range field {
		set += bits.OnesCount8(b)
	}
	if set != len(n.Links) {
		return bad("%d links, but %d bits in the field", len(n.Links), set)
	}
	links := make([]shardLink, len(n.Links))
	for i, l := range n.Links {
		bucket, name, err := p.shape.parseLabel(l.Name)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", c, err)
		case i > 0 && bucket <= links[i-1].bucket:
			return bad("buckets out of order")
		case bucket/8 >= len(field) || field[len(field)-1-bucket/8]&(1<<(bucket%8)) == 0:
			return bad("link in bucket %d, whose bit is not set", bucket)
		case name != "" && nameHash(name)>>(64-(p.level+1)*p.shape.bits) != p.path<<p.shape.bits|uint64(bucket):
			return bad("the name %q is in the wrong bucket", name)
		case name == "" && p.level+1 >= p.shape.depth():
			return bad("shards are nested deeper than the hash has bits")
		}
		links[i] = shardLink{bucket, name, l}
	}
	return links, nil
}

// below returns the place of the shard in a bucket.
func (p shardPlace) below(bucket int) shardPlace {
	return shardPlace{p.shape, p.level + 1, p.path<<p.shape.bits | uint64(bucket)}
}

// lookupShard looks up a name in the HAMT whose root is n.
func lookupShard(ctx context.Context, get block.Getter, c cid.Cid, n Node, name string) (Entry, error) {
	shape, err := newShape(n.Fanout)
	if err != nil {
		return Entry{}, fmt.Errorf("%s: %w", c, err)
	}
	hash := nameHash(name)
	for place := (shardPlace{shape: shape}); ; {
		links, err := place.check(c, n)
		if err != nil {
			return Entry{}, err
		}
		bucket := shape.bucket(hash, place.level)
		var found *shardLink
		for i := range links {
			if links[i].bucket == bucket {
				found = &links[i]
			}
		}
		switch {
		case found == nil || found.name != "" && found.name != name:
			return Entry{}, fmt.Errorf("in %s: %w", c, fs.ErrNotExist)
		case found.name == name && name != "":
			return Entry{Name: name, CID: found.link.CID, Tsize: found.link.Tsize}, nil
		}
		place, c = place.below(bucket), found.link.CID
		if n, err = load(ctx, get, c); err != nil {
			return Entry{}, err
		}
	}
}

// A shardWalker lists a HAMT, shards in order, and requests some ahead.
type shardWalker struct {
	ctx     context.Context // of this listing only
	get     block.Getter
	yield   func(Entry, error) bool
	asked   int // shards requested, and not received yet
	waiting sync.WaitGroup
}

// A shardRequest is a requested shard.
type shardRequest struct {
	done chan struct{}
	node Node
	err  error
}

func shardEntries(ctx context.Context, get block.Getter, c cid.Cid, n Node) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		shape, err := newShape(n.Fanout)
		if err != nil {
			yield(Entry{}, fmt.Errorf("%s: %w", c, err))
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		w := &shardWalker{ctx: ctx, get: get, yield: yield}
		defer w.waiting.Wait()
		defer cancel()
		w.walk(shardPlace{shape: shape}, c, n)
	}
}

// walk yields the entries of a shard and of those below. It returns false to
// stop.
func (w *shardWalker) walk(place shardPlace, c cid.Cid, n Node) bool {
	links, err := place.check(c, n)
	if err != nil {
		w.yield(Entry{}, err)
		return false
	}
	fetches := make(map[int]*shardRequest) // by link
	next := 0                              // the next link to request
	for i, l := range links {
		if l.name != "" {
			if !w.yield(Entry{Name: l.name, CID: l.link.CID, Tsize: l.link.Tsize}, nil) {
				return false
			}
			continue
		}
		for ; next < len(links) && (next <= i || w.asked < shardsAhead); next++ {
			if links[next].name == "" {
				fetches[next] = w.request(links[next].link.CID)
			}
		}
		f := fetches[i]
		delete(fetches, i)
		<-f.done
		w.asked--
		if f.err != nil {
			w.yield(Entry{}, f.err)
			return false
		}
		if !w.walk(place.below(l.bucket), l.link.CID, f.node) {
			return false
		}
	}
	return true
}

func (w *shardWalker) request(c cid.Cid) *shardRequest {
	f := &shardRequest{done: make(chan struct{})}
	w.asked++
	w.waiting.Go(func() {
		f.node, f.err = load(w.ctx, w.get, c)
		close(f.done)
	})
	return f
}
