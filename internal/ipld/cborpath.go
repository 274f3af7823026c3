package ipld

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// Major types of CBOR (RFC 8949, section 3.1).
const (
	cborBytes = 2
	cborText  = 3
	cborArray = 4
	cborMap   = 5
	cborTag   = 6
)

// linkTag is the CBOR tag of a CID in dag-cbor.
const linkTag = 42

// CBORLinks returns the links in a dag-cbor value in order, a link that occurs
// twice twice. Errors: block.ErrMalformed.
func CBORLinks(p []byte) ([]cid.Cid, error) {
	var links []cid.Cid
	// A list or map is a head with its items behind it, so reading all heads in
	// turn finds all links.
	for r := (cborReader{p}); len(r.p) > 0; {
		major, arg, err := r.head()
		switch {
		case err != nil:
		case major == cborTag && arg == linkTag:
			var c cid.Cid
			c, err = r.link()
			links = append(links, c)
		case major == cborBytes || major == cborText:
			_, err = r.take(arg)
		}
		if err != nil {
			return nil, err
		}
	}
	return links, nil
}

// cborLink follows path through a dag-cbor value to the first link. Used counts
// the parts of path that lead to the link, or to what failed. Errors:
// ErrNotBlock, errNoPart, block.ErrMalformed.
func cborLink(p []byte, path []string) (c cid.Cid, used int, err error) {
	r := cborReader{p}
	for used = 0; ; used++ {
		major, arg, err := r.head()
		if err != nil {
			return cid.Undef, used, err
		}
		if major == cborTag && arg == linkTag {
			c, err := r.link()
			return c, used, err
		}
		if used == len(path) {
			return cid.Undef, used, ErrNotBlock
		}
		var found bool
		switch major {
		case cborMap:
			found, err = r.entry(arg, path[used])
		case cborArray:
			found, err = r.element(arg, path[used])
		}
		if err == nil && !found {
			err = errNoPart
		}
		if err != nil {
			return cid.Undef, used + 1, err
		}
	}
}

// A cborReader reads items from the front of p.
type cborReader struct{ p []byte }

var errCBOR = fmt.Errorf("%w: not dag-cbor", block.ErrMalformed)

// head reads the head of an item: its major type and argument.
func (r *cborReader) head() (major byte, arg uint64, err error) {
	if len(r.p) == 0 {
		return 0, 0, errCBOR
	}
	major, info := r.p[0]>>5, r.p[0]&0x1f
	r.p = r.p[1:]
	if info < 24 {
		return major, uint64(info), nil
	}
	size := 1 << (info - 24)
	if info > 27 || len(r.p) < size {
		return 0, 0, errCBOR
	}
	var wide [8]byte
	copy(wide[8-size:], r.p)
	r.p = r.p[size:]
	return major, binary.BigEndian.Uint64(wide[:]), nil
}

func (r *cborReader) take(n uint64) ([]byte, error) {
	if n > uint64(len(r.p)) {
		return nil, errCBOR
	}
	p := r.p[:n]
	r.p = r.p[n:]
	return p, nil
}

// skip skips an item and all items inside it. It counts the items that are left
// and does not recurse. An item takes a byte at least, so the loop ends with the
// block.
func (r *cborReader) skip() error {
	for left := uint64(1); left > 0; left-- {
		major, arg, err := r.head()
		if err != nil {
			return err
		}
		more := uint64(0)
		switch major {
		case cborBytes, cborText:
			if _, err := r.take(arg); err != nil {
				return err
			}
		case cborArray, cborMap:
			if arg > uint64(len(r.p)) {
				return errCBOR
			}
			more = arg
			if major == cborMap {
				more *= 2
			}
		case cborTag:
			more = 1
		}
		left += more
		if left > uint64(len(r.p))+1 {
			return errCBOR
		}
	}
	return nil
}

// entry moves to the value of a key in a map of n entries.
func (r *cborReader) entry(n uint64, key string) (found bool, err error) {
	for range n {
		major, arg, err := r.head()
		if err != nil || major != cborText {
			return false, errCBOR
		}
		k, err := r.take(arg)
		if err != nil {
			return false, err
		}
		if string(k) == key {
			return true, nil
		}
		if err := r.skip(); err != nil {
			return false, err
		}
	}
	return false, nil
}

// element moves to the element of a list of n, if key is an index.
func (r *cborReader) element(n uint64, key string) (found bool, err error) {
	i, ok := index(key)
	if !ok || i >= n {
		return false, nil
	}
	for range i {
		if err := r.skip(); err != nil {
			return false, err
		}
	}
	return true, nil
}

// index parses an index in a path: decimal, without leading zeros.
func index(s string) (uint64, bool) {
	i, err := strconv.ParseUint(s, 10, 32)
	return i, err == nil && strconv.FormatUint(i, 10) == s
}

// link reads the bytes of a link.
func (r *cborReader) link() (cid.Cid, error) {
	major, arg, err := r.head()
	if err != nil || major != cborBytes {
		return cid.Undef, errCBOR
	}
	p, err := r.take(arg)
	if err != nil || len(p) == 0 || p[0] != 0 {
		return cid.Undef, errCBOR
	}
	c, n, err := block.ReadCID(p[1:])
	if err == nil && n != len(p)-1 {
		err = errCBOR
	}
	return c, err
}
