package trustless

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cairn-ipfs/cairn/block"
)

// A ByteRange is a range of a file's bytes, both ends included (IPIP-402:
// entity-bytes). Negative numbers count from the file's end: -1 is its last byte,
// and {0, -1} the whole file.
type ByteRange struct{ From, To int64 }

// ParseByteRange parses "from:to", where to may be "*" for the last byte. It fails
// with block.ErrMalformed, also if the range is empty in any file.
func ParseByteRange(s string) (ByteRange, error) {
	bad := fmt.Errorf("%w: entity-bytes=%.60q is not from:to", block.ErrMalformed, s)
	fromText, toText, ok := strings.Cut(s, ":")
	if !ok {
		return ByteRange{}, bad
	}
	if toText == "*" {
		toText = "-1"
	}
	from, errFrom := strconv.ParseInt(fromText, 10, 64)
	to, errTo := strconv.ParseInt(toText, 10, 64)
	if errFrom != nil || errTo != nil {
		return ByteRange{}, bad
	}
	if (from < 0) == (to < 0) && from > to {
		return ByteRange{}, fmt.Errorf("%w: entity-bytes=%.60q ends before it begins", block.ErrMalformed, s)
	}
	return ByteRange{from, to}, nil
}

// String returns the range as ParseByteRange parses it.
func (r ByteRange) String() string {
	if r.To == -1 {
		return strconv.FormatInt(r.From, 10) + ":*"
	}
	return strconv.FormatInt(r.From, 10) + ":" + strconv.FormatInt(r.To, 10)
}

// within returns the part of a file of that size that the range covers, end
// excluded. It may be empty.
func (r ByteRange) within(size int64) (begin, end int64) {
	begin, end = r.From, r.To
	if begin < 0 {
		begin = max(begin+size, 0)
	}
	if end < 0 {
		end += size
	}
	if end < size { // without adding to what may be the largest number
		end++
	}
	end = min(end, size)
	if begin >= end {
		return 0, 0
	}
	return begin, end
}
