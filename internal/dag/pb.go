package dag

import (
	"encoding/binary"
	"fmt"

	"github.com/cairn-ipfs/cairn/block"
)

// Protobuf tags of dag-pb: field number << 3 | wire type, where 2 is bytes and
// 0 a varint. (spec: ipld.io/specs/codecs/dag-pb)
const (
	pbNodeData  = 1<<3 | 2
	pbNodeLinks = 2<<3 | 2
	pbLinkHash  = 1<<3 | 2
	pbLinkName  = 2<<3 | 2
	pbLinkTsize = 3 << 3
)

// minPBLink is the size of the shortest link, in bytes: two heads of fields
// and a CID of four bytes. It bounds what a count of links can allocate.
const minPBLink = 2 + 2 + 4

// scanPB adds the links of a dag-pb node. It refuses what the spec's "Protobuf
// strictness" and go-codec-dagpb refuse: unknown fields and wire types, a field
// twice, a link's fields out of order, a link without Hash, Data between links. It
// accepts what is found on the public network: Data before or after the links,
// links in any order and of any name, varints that aren't minimal, bytes after the
// CID in a Hash.
func scanPB(l *linkSet, p []byte) error {
	l.grow(min(countPBLinks(p), len(p)/minPBLink))
	var hasData, hasLinks, inLinks bool
	for len(p) > 0 {
		tag, chunk, rest, err := pbField(p)
		if err != nil {
			return err
		}
		p = rest
		switch tag {
		case pbNodeData:
			if hasData {
				return fmt.Errorf("%w: dag-pb node with Data twice", block.ErrMalformed)
			}
			hasData, inLinks = true, false
		case pbNodeLinks:
			if hasLinks && !inLinks {
				return fmt.Errorf("%w: dag-pb node with Links before and after Data", block.ErrMalformed)
			}
			hasLinks, inLinks = true, true
			if err := scanPBLink(l, chunk); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: dag-pb node with the protobuf tag %d", block.ErrMalformed, tag)
		}
	}
	return nil
}

// countPBLinks counts the links of a node, up to the first error in it.
func countPBLinks(p []byte) int {
	var n int
	for len(p) > 0 {
		tag, _, rest, err := pbField(p)
		if err != nil {
			return n
		}
		if tag == pbNodeLinks {
			n++
		}
		p = rest
	}
	return n
}

// scanPBLink adds the link that a PBLink message holds.
func scanPBLink(l *linkSet, p []byte) error {
	var last uint64 // the tag of the field before
	for len(p) > 0 {
		tag, n := pbVarint(p)
		if n <= 0 {
			return fmt.Errorf("%w: dag-pb link: varint", block.ErrMalformed)
		}
		// The tags rise with the fields' order; Tsize's is above the others.
		if tag <= last {
			return fmt.Errorf("%w: dag-pb link with its fields twice or out of order", block.ErrMalformed)
		}
		if last == 0 && tag != pbLinkHash {
			return fmt.Errorf("%w: dag-pb link without Hash", block.ErrMalformed)
		}
		last = tag
		switch tag {
		case pbLinkHash, pbLinkName:
			_, chunk, rest, err := pbField(p)
			if err != nil {
				return err
			}
			p = rest
			if tag == pbLinkHash {
				if _, err := l.addBinary(chunk); err != nil {
					return err
				}
			}
		case pbLinkTsize:
			_, m := pbVarint(p[n:])
			if m <= 0 {
				return fmt.Errorf("%w: dag-pb link: Tsize", block.ErrMalformed)
			}
			p = p[n+m:]
		default:
			return fmt.Errorf("%w: dag-pb link with the protobuf tag %d", block.ErrMalformed, tag)
		}
	}
	if last == 0 {
		return fmt.Errorf("%w: dag-pb link without Hash", block.ErrMalformed)
	}
	return nil
}

// pbField splits a field of bytes off the front of p. A tag of another wire
// type is an error.
func pbField(p []byte) (tag uint64, chunk, rest []byte, err error) {
	tag, n := pbVarint(p)
	if n <= 0 {
		return 0, nil, nil, fmt.Errorf("%w: dag-pb: varint", block.ErrMalformed)
	}
	if tag&7 != 2 {
		return 0, nil, nil, fmt.Errorf("%w: dag-pb: wire type %d", block.ErrMalformed, tag&7)
	}
	length, m := pbVarint(p[n:])
	if m <= 0 || length > uint64(len(p)-n-m) {
		return 0, nil, nil, fmt.Errorf("%w: dag-pb: a field longer than its message", block.ErrMalformed)
	}
	p = p[n+m:]
	return tag, p[:length], p[length:], nil
}

// pbVarint is binary.Uvarint with a shortcut for one byte.
func pbVarint(p []byte) (uint64, int) {
	if len(p) > 0 && p[0] < 0x80 {
		return uint64(p[0]), 1
	}
	return binary.Uvarint(p)
}
