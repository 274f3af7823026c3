package car

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
)

const (
	// MaxHeaderV1 is the longest CARv1 header accepted, in bytes: some 25,000
	// roots, a thousand times what occurs.
	MaxHeaderV1 = 1 << 20
	// MaxRoots is the most roots accepted, so that a caller can afford a lookup
	// for each.
	MaxRoots = 1 << 14
)

// Major types of CBOR (RFC 8949, section 3.1), shifted into place.
const (
	cborUint  = 0 << 5
	cborBytes = 2 << 5
	cborText  = 3 << 5
	cborArray = 4 << 5
	cborMap   = 5 << 5
	cborTag   = 6 << 5
)

// cidTag is the CBOR tag of a CID in dag-cbor.
const cidTag = 42

// AppendHeaderV1 appends a CARv1 header with its length in front: dag-cbor of
// {roots: […], version: 1}. Both of go-car's and our readers accept a CAR
// without roots, though the spec of CARv1 wants one.
func AppendHeaderV1(dst []byte, roots []cid.Cid) []byte {
	body := make([]byte, 0, 32+len(roots)*48)
	body = appendCBOR(body, cborMap, 2)
	body = appendCBOR(body, cborText, uint64(len("roots")))
	body = append(body, "roots"...)
	body = appendCBOR(body, cborArray, uint64(len(roots)))
	for _, c := range roots {
		body = appendCBOR(body, cborTag, cidTag)
		body = appendCBOR(body, cborBytes, uint64(1+c.ByteLen()))
		body = append(body, 0) // the multibase prefix of binary
		body = append(body, c.KeyString()...)
	}
	body = appendCBOR(body, cborText, uint64(len("version")))
	body = append(body, "version"...)
	body = appendCBOR(body, cborUint, 1)
	dst = binary.AppendUvarint(dst, uint64(len(body)))
	return append(dst, body...)
}

// appendCBOR appends the head of a CBOR item: its major type and argument.
func appendCBOR(dst []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(dst, major|byte(n))
	case n < 1<<8:
		return append(dst, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(dst, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, major|27), n)
}

// parseHeaderV1 reads a CARv1 header without its length. The keys may come in
// either order; version 2 (a CARv2's pragma) has no roots. It fails with
// block.ErrMalformed, block.ErrTooLarge for too many roots, and the errors of
// block.ReadCID for a root.
func parseHeaderV1(p []byte) (version uint64, roots []cid.Cid, err error) {
	d := cborReader{p}
	fields, err := d.head(cborMap)
	if err != nil {
		return 0, nil, err
	}
	var hasVersion, hasRoots bool
	for range fields {
		n, err := d.head(cborText)
		if err != nil {
			return 0, nil, err
		}
		key, err := d.take(n)
		if err != nil {
			return 0, nil, err
		}
		switch {
		case string(key) == "version" && !hasVersion:
			hasVersion = true
			version, err = d.head(cborUint)
		case string(key) == "roots" && !hasRoots:
			hasRoots = true
			roots, err = d.cids()
		default:
			err = fmt.Errorf("%w: key %q", block.ErrMalformed, key)
		}
		if err != nil {
			return 0, nil, err
		}
	}
	switch {
	case len(d.p) > 0:
		return 0, nil, fmt.Errorf("%w: %d bytes after the header", block.ErrMalformed, len(d.p))
	case !hasVersion:
		return 0, nil, fmt.Errorf("%w: no version", block.ErrMalformed)
	case version == 1 && !hasRoots:
		return 0, nil, fmt.Errorf("%w: no roots", block.ErrMalformed)
	case version == 2 && hasRoots:
		return 0, nil, fmt.Errorf("%w: roots in the pragma of a CARv2", block.ErrMalformed)
	case version != 1 && version != 2:
		return 0, nil, fmt.Errorf("%w: CAR version %d", block.ErrMalformed, version)
	}
	return version, roots, nil
}

// A cborReader takes items off the front of p.
type cborReader struct{ p []byte }

// head takes the head of an item of the given major type and returns its
// argument. Indefinite lengths are refused, as in dag-cbor.
func (d *cborReader) head(major byte) (uint64, error) {
	b, err := d.take(1)
	if err != nil {
		return 0, err
	}
	if b[0]&0xe0 != major {
		return 0, fmt.Errorf("%w: CBOR item 0x%02x, not of major type %d", block.ErrMalformed, b[0], major>>5)
	}
	info := b[0] & 0x1f
	if info < 24 {
		return uint64(info), nil
	}
	if info > 27 {
		return 0, fmt.Errorf("%w: CBOR item 0x%02x", block.ErrMalformed, b[0])
	}
	arg, err := d.take(1 << (info - 24))
	if err != nil {
		return 0, err
	}
	var n uint64
	for _, x := range arg {
		n = n<<8 | uint64(x)
	}
	return n, nil
}

func (d *cborReader) take(n uint64) ([]byte, error) {
	if n > uint64(len(d.p)) {
		return nil, fmt.Errorf("%w: %w", block.ErrMalformed, io.ErrUnexpectedEOF)
	}
	p := d.p[:n]
	d.p = d.p[n:]
	return p, nil
}

func (d *cborReader) cids() ([]cid.Cid, error) {
	n, err := d.head(cborArray)
	if err != nil {
		return nil, err
	}
	if n > MaxRoots {
		return nil, fmt.Errorf("%d roots: %w (the limit is %d)", n, block.ErrTooLarge, MaxRoots)
	}
	var roots []cid.Cid
	for range n {
		tag, err := d.head(cborTag)
		if err != nil {
			return nil, err
		}
		if tag != cidTag {
			return nil, fmt.Errorf("%w: CBOR tag %d in the roots", block.ErrMalformed, tag)
		}
		length, err := d.head(cborBytes)
		if err != nil {
			return nil, err
		}
		p, err := d.take(length)
		if err != nil {
			return nil, err
		}
		if len(p) == 0 || p[0] != 0 {
			return nil, fmt.Errorf("%w: a root without its multibase prefix", block.ErrMalformed)
		}
		c, m, err := block.ReadCID(p[1:])
		if err != nil {
			return nil, err
		}
		if m != len(p)-1 {
			return nil, fmt.Errorf("%w: %d bytes after a root", block.ErrMalformed, len(p)-1-m)
		}
		roots = append(roots, c)
	}
	return roots, nil
}
