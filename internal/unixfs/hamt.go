package unixfs

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/spaolacci/murmur3"
)

// hashMurmur3 is the multicodec code of murmur3-x64-64, the only hash function
// of HAMT directories.
const hashMurmur3 = 0x22

// errHashCollision: two names have hashes that are equal in all bits used for
// buckets.
var errHashCollision = errors.New("their hashes are equal, and a HAMT directory can't hold both")

// nameHash returns the hash of a name. Its bits, from the highest down, are the
// name's bucket on each level.
func nameHash(name string) uint64 { return murmur3.Sum64([]byte(name)) }

func validFanout(f uint64) bool { return f >= 8 && f <= MaxFanout && f&(f-1) == 0 }

// A hamtShape is the layout that follows from a HAMT's fanout.
type hamtShape struct {
	fanout int
	bits   int // bits of a hash per level
	prefix int // hexadecimal digits before each link's name
}

func newShape(fanout uint64) (hamtShape, error) {
	if !validFanout(fanout) {
		return hamtShape{}, fmt.Errorf("%w: HAMT fanout %d, want a power of two, 8 to %d", block.ErrMalformed, fanout, MaxFanout)
	}
	width := bits.TrailingZeros64(fanout)
	return hamtShape{fanout: int(fanout), bits: width, prefix: (width + 3) / 4}, nil
}

// depth returns the number of levels that a hash has bits for.
func (s hamtShape) depth() int { return 64 / s.bits }

// bucket returns the bucket of a hash on a level; the root's level is 0.
func (s hamtShape) bucket(hash uint64, level int) int {
	return int(hash << (level * s.bits) >> (64 - s.bits))
}

// label returns the prefix of a bucket's link.
func (s hamtShape) label(bucket int) string { return fmt.Sprintf("%0*X", s.prefix, bucket) }

// parseLabel parses the prefix of a link's name. It accepts only upper-case
// digits.
func (s hamtShape) parseLabel(name string) (bucket int, rest string, err error) {
	if len(name) < s.prefix {
		return 0, "", fmt.Errorf("%w: invalid HAMT link name %q", block.ErrMalformed, name)
	}
	for i := range s.prefix {
		d := name[i]
		switch {
		case d >= '0' && d <= '9':
			d -= '0'
		case d >= 'A' && d <= 'F':
			d -= 'A' - 10
		default:
			return 0, "", fmt.Errorf("%w: invalid HAMT link name %q", block.ErrMalformed, name)
		}
		bucket = bucket<<4 | int(d)
	}
	if bucket >= s.fanout {
		return 0, "", fmt.Errorf("%w: invalid HAMT link name %q for fanout %d", block.ErrMalformed, name, s.fanout)
	}
	return bucket, name[s.prefix:], nil
}

type hashedLink struct {
	hash uint64
	link Link
}

// buildHAMT makes the shards of a directory, and returns the root. It sorts the
// entries by hash, so each shard is a run of them.
func buildHAMT(links []Link, fanout int, a attributes, emit func(*Node) (part, error)) (part, error) {
	shape, err := newShape(uint64(fanout))
	if err != nil {
		return part{}, err
	}
	entries := make([]hashedLink, len(links))
	for i, l := range links {
		entries[i] = hashedLink{nameHash(l.Name), l}
	}
	sortByHash(entries)
	return shape.build(entries, 0, a, emit)
}

func sortByHash(entries []hashedLink) {
	slices.SortFunc(entries, func(a, b hashedLink) int { return cmp.Compare(a.hash, b.hash) })
}

// build makes the shard of the entries, on that level, and those below it.
func (s hamtShape) build(entries []hashedLink, level int, a attributes, emit func(*Node) (part, error)) (part, error) {
	if level >= s.depth() {
		return part{}, fmt.Errorf("%q and %q: %w", entries[0].link.Name, entries[1].link.Name, errHashCollision)
	}
	links := make([]shardLink, 0, min(len(entries), s.fanout))
	for len(entries) > 0 {
		bucket := s.bucket(entries[0].hash, level)
		run := 1
		for run < len(entries) && s.bucket(entries[run].hash, level) == bucket {
			run++
		}
		l := shardLink{bucket: bucket, name: entries[0].link.Name, link: entries[0].link}
		if run > 1 {
			shard, err := s.build(entries[:run], level+1, attributes{}, emit)
			if err != nil {
				return part{}, err
			}
			l = shardLink{bucket: bucket, link: Link{CID: shard.cid, Tsize: shard.tsize}}
		}
		links = append(links, l)
		entries = entries[run:]
	}
	return emit(s.makeNode(links, a))
}

// makeNode makes a shard of links sorted by bucket.
func (s hamtShape) makeNode(links []shardLink, a attributes) *Node {
	n := &Node{Type: TypeHAMTShard, HashType: hashMurmur3, Fanout: uint64(s.fanout), Links: make([]Link, len(links))}
	field := make([]byte, s.fanout/8)
	for i, l := range links {
		n.Links[i] = Link{CID: l.link.CID, Name: s.label(l.bucket) + l.name, Tsize: l.link.Tsize}
		field[len(field)-1-l.bucket/8] |= 1 << (l.bucket % 8)
	}
	n.Data = trimZeros(field)
	a.set(n)
	return n
}

// trimZeros drops leading zero bytes, as a bit field is written.
func trimZeros(field []byte) []byte {
	for len(field) > 0 && field[0] == 0 {
		field = field[1:]
	}
	return field
}
