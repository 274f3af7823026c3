package dag

import (
	"fmt"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
)

// Major types of CBOR (RFC 8949, section 3.1).
const (
	cborUint = iota
	cborNegInt
	cborBytes
	cborText
	cborArray
	cborMap
	cborTag
	cborSimple
)

// linkTag is the CBOR tag of a CID in dag-cbor.
const linkTag = 42

// scanCBOR adds the links of a dag-cbor block (spec:
// ipld.io/specs/codecs/dag-cbor). It accepts what the spec's "Decode strictness"
// lets decoders accept, since old encoders wrote it: map keys in any order,
// integers and lengths that aren't minimal, short floats. Like go-ipld-prime it
// also accepts undefined, NaN, and tags on anything but bytes, which it ignores. It
// refuses indefinite lengths, tags on bytes other than 42, tags on tags, map keys
// that aren't text, malformed CBOR, and more than one item.
func scanCBOR(l *linkSet, p []byte) error {
	_, err := scanWholeCBOR(&cborScanner{p: p, links: l})
	return err
}

// scanJOSE adds the links of a dag-jose block (spec:
// ipld.io/specs/codecs/dag-jose): those of the dag-cbor map, and of a JWS the CID
// in its payload. A payload that is not a CID is JSON and has no links here; the
// links of a JWE are encrypted.
func scanJOSE(l *linkSet, p []byte) error {
	major, err := scanWholeCBOR(&cborScanner{p: p, links: l, jose: true})
	if err == nil && major != cborMap {
		return fmt.Errorf("%w: invalid dag-jose: want a map", block.ErrMalformed)
	}
	return err
}

type cborScanner struct {
	p     []byte // what is left
	links *linkSet
	jose  bool
}

// scanWholeCBOR scans one item that takes all of p, and returns its major
// type.
func scanWholeCBOR(s *cborScanner) (major byte, err error) {
	major, _, err = s.item(0)
	if err == nil && len(s.p) > 0 {
		err = fmt.Errorf("%w: %d bytes after the CBOR item", block.ErrMalformed, len(s.p))
	}
	return major, err
}

// head takes the head of an item: its major type and argument.
func (s *cborScanner) head() (major byte, arg uint64, err error) {
	if len(s.p) == 0 {
		return 0, 0, fmt.Errorf("%w: CBOR ends early", block.ErrMalformed)
	}
	b := s.p[0]
	major, info := b>>5, b&0x1f
	s.p = s.p[1:]
	switch {
	case major == cborSimple && info < 20, major == cborSimple && info == 24:
		return 0, 0, fmt.Errorf("%w: CBOR simple value 0x%02x", block.ErrMalformed, b)
	case info < 24:
		return major, uint64(info), nil
	case info > 27:
		return 0, 0, fmt.Errorf("%w: CBOR item 0x%02x", block.ErrMalformed, b)
	}
	size := 1 << (info - 24)
	if len(s.p) < size {
		return 0, 0, fmt.Errorf("%w: CBOR ends early", block.ErrMalformed)
	}
	for _, x := range s.p[:size] {
		arg = arg<<8 | uint64(x)
	}
	s.p = s.p[size:]
	return major, arg, nil
}

// item takes an item at the given depth and returns its major type and, of
// text and bytes, the content.
func (s *cborScanner) item(depth int) (major byte, content []byte, err error) {
	major, arg, err := s.head()
	if err != nil {
		return 0, nil, err
	}
	tag, tagged := arg, major == cborTag
	if tagged {
		major, arg, err = s.head()
		if err != nil {
			return 0, nil, err
		}
		if major == cborTag {
			return 0, nil, fmt.Errorf("%w: a CBOR tag on a tag", block.ErrMalformed)
		}
	}
	switch major {
	case cborText, cborBytes:
		if arg > uint64(len(s.p)) {
			return 0, nil, fmt.Errorf("%w: CBOR ends early", block.ErrMalformed)
		}
		content, s.p = s.p[:arg], s.p[arg:]
		if major == cborBytes && tagged {
			return cborTag, nil, s.link(tag, content)
		}
		return major, content, nil
	case cborArray, cborMap:
		if depth >= maxDepth {
			return 0, nil, fmt.Errorf("%w: nested more than %d deep", block.ErrMalformed, maxDepth)
		}
		// Each entry takes a byte at least, so the loop ends with the block,
		// however large arg is.
		for range arg {
			if major == cborMap {
				err = s.entry(depth)
			} else {
				_, _, err = s.item(depth + 1)
			}
			if err != nil {
				return 0, nil, err
			}
		}
	}
	return major, nil, nil
}

// entry takes the key and the value of a map.
func (s *cborScanner) entry(depth int) error {
	major, key, err := s.item(depth + 1)
	if err != nil {
		return err
	}
	if major != cborText {
		return fmt.Errorf("%w: invalid map key: want text", block.ErrMalformed)
	}
	major, value, err := s.item(depth + 1)
	if err != nil {
		return err
	}
	if s.jose && depth == 0 && major == cborBytes && string(key) == "payload" {
		if c, err := cid.Cast(value); err == nil && c.ByteLen() <= block.MaxCID {
			return s.links.add(c)
		}
	}
	return nil
}

func (s *cborScanner) link(tag uint64, content []byte) error {
	if tag != linkTag {
		return fmt.Errorf("%w: bytes with the CBOR tag %d", block.ErrMalformed, tag)
	}
	if len(content) == 0 || content[0] != 0 {
		return fmt.Errorf("%w: link without its multibase prefix", block.ErrMalformed)
	}
	n, err := s.links.addBinary(content[1:])
	if err == nil && n != len(content)-1 {
		return fmt.Errorf("%w: %d bytes after a link", block.ErrMalformed, len(content)-1-n)
	}
	return err
}
