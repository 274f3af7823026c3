package dag

import (
	"fmt"
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
)

// A linkSet collects distinct links in the order in which they come. The zero
// linkSet is empty.
type linkSet struct {
	links []cid.Cid
	seen  map[string]struct{} // keys of links, once there are more than fewLinks
}

// fewLinks is the number of links up to which comparing with each is faster
// than a map.
const fewLinks = 8

// grow makes room for n links in an empty set.
func (l *linkSet) grow(n int) {
	if n == 0 {
		return
	}
	l.links = make([]cid.Cid, 0, n)
	if n > fewLinks {
		l.seen = make(map[string]struct{}, n)
	}
}

// isV1PB reports whether p is the CIDv1 of a CIDv0: dag-pb and sha2-256.
func isV1PB[T string | []byte](p T) bool {
	return len(p) == 36 && p[0] == 1 && p[1] == 0x70 && p[2] == 0x12 && p[3] == 0x20
}

// key returns the same for equal CIDs (block.Equal): the binary CID, or for a CIDv1
// that could be a CIDv0 the latter.
func key[T string | []byte](p T) T {
	if isV1PB(p) {
		return p[2:]
	}
	return p
}

// cidSize returns the size of the CID at the start of p if that has one of the two
// forms of nearly all links: a CIDv0, or a CIDv1 with a codec of one byte and
// sha2-256.
func cidSize(p []byte) (int, bool) {
	switch {
	case len(p) >= 34 && p[0] == 0x12 && p[1] == 0x20:
		return 34, true
	case len(p) >= 36 && p[0] == 1 && p[1] < 0x80 && p[2] == 0x12 && p[3] == 0x20:
		return 36, true
	}
	return 0, false
}

// addBinary adds the binary CID at the start of p and returns its size.
func (l *linkSet) addBinary(p []byte) (int, error) {
	usual, ok := cidSize(p)
	if ok && l.has(p[:usual]) {
		return usual, nil // without making a cid.Cid of it
	}
	// Longer CIDs are refused, since their first MaxCID bytes are no CID.
	n, c, err := cid.CidFromBytes(p[:min(len(p), block.MaxCID)])
	if err != nil {
		return 0, fmt.Errorf("%w: link: %w", block.ErrMalformed, err)
	}
	if ok {
		l.addNew(c)
		return n, nil
	}
	return n, l.add(c)
}

// addText adds a CID in one of its text forms.
func (l *linkSet) addText(s string) error {
	// The longest text is in base2: eight characters a byte.
	if len(s) > 1+8*block.MaxCID {
		return fmt.Errorf("%w: link of %d characters", block.ErrMalformed, len(s))
	}
	c, err := cid.Decode(s)
	if err != nil {
		return fmt.Errorf("%w: link: %w", block.ErrMalformed, err)
	}
	if c.ByteLen() > block.MaxCID {
		return fmt.Errorf("%w: link of %d bytes", block.ErrMalformed, c.ByteLen())
	}
	return l.add(c)
}

// add adds a CID, or the links of the block it carries. The recursion is
// bounded by block.MaxIdentity: an identity CID is longer than what it
// carries.
func (l *linkSet) add(c cid.Cid) error {
	if block.IsIdentity(c) {
		b, ok := block.Inlined(c)
		if !ok {
			return fmt.Errorf("%w: link with %d bytes in an identity CID", block.ErrMalformed, c.ByteLen())
		}
		inner, err := Links(b)
		if err != nil {
			return nil
		}
		for _, c := range inner {
			if err := l.add(c); err != nil {
				return err
			}
		}
		return nil
	}
	if !l.has([]byte(c.KeyString())) {
		l.addNew(c)
	}
	return nil
}

// addNew adds a link that the set lacks.
func (l *linkSet) addNew(c cid.Cid) {
	l.links = append(l.links, c)
	switch {
	case l.seen != nil:
		l.seen[key(c.KeyString())] = struct{}{}
	case len(l.links) > fewLinks:
		l.seen = make(map[string]struct{}, 8*fewLinks)
		for _, c := range l.links {
			l.seen[key(c.KeyString())] = struct{}{}
		}
	}
}

// has reports whether the set has the link of that binary CID.
func (l *linkSet) has(p []byte) bool {
	if l.seen == nil {
		return slices.ContainsFunc(l.links, func(c cid.Cid) bool { return key(c.KeyString()) == string(key(p)) })
	}
	_, ok := l.seen[string(key(p))]
	return ok
}
