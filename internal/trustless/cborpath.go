package trustless

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

// A cborReader takes items off the front of p.
type cborReader struct{ p []byte }

var errCBOR = fmt.Errorf("%w: not dag-cbor", block.ErrMalformed)

// head takes the head of an item: its major type and argument.
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

// skip takes items, and all that is in them. Each takes a byte at least, so
// the loop ends with the block; what is nested is counted, not recursed into.
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

// entry goes to the value of a key in a map of n entries.
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

// element goes to the element of a list of n, if key is an index.
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

// index reads an index as it is written in a path.
func index(s string) (uint64, bool) {
	i, err := strconv.ParseUint(s, 10, 32)
	return i, err == nil && strconv.FormatUint(i, 10) == s
}

// link takes the bytes of a link.
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
