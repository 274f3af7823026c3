package unixfs

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cairn-ipfs/cairn/block"
)

// Encode returns the node as the bytes of a block, exactly as Kubo writes them:
// links first, every field of a link present.
func (n *Node) Encode() []byte {
	dataLen := n.dataLen()
	dst := make([]byte, 0, n.encodedLen())
	for i := range n.Links {
		dst = n.Links[i].append(dst)
	}
	dst = append(dst, tag(1, wireBytes))
	dst = binary.AppendUvarint(dst, uint64(dataLen))
	return n.appendData(dst)
}

// block makes the node's block, with a CID by the profile.
func (n *Node) block(p Profile) (block.Block, error) {
	if size := n.encodedLen(); size > block.MaxSize {
		return block.Block{}, fmt.Errorf("a %s of %d links and %d bytes: %w: want %d bytes at most", n.Type, len(n.Links), size, block.ErrTooLarge, block.MaxSize)
	}
	data := n.Encode()
	return block.NewWithPrefix(p.prefix(block.DagPB, len(data)), data)
}

// encodedLen returns the length of the encoded node.
func (n *Node) encodedLen() int {
	size := fieldLen(n.dataLen())
	for i := range n.Links {
		size += fieldLen(n.Links[i].len())
	}
	return size
}

// len returns the encoded size of a link, without the leading tag and length.
func (l *Link) len() int {
	return fieldLen(l.CID.ByteLen()) + fieldLen(len(l.Name)) + 1 + varintLen(l.Tsize)
}

func (l *Link) append(dst []byte) []byte {
	dst = append(dst, tag(2, wireBytes))
	dst = binary.AppendUvarint(dst, uint64(l.len()))
	dst = append(dst, tag(1, wireBytes))
	key := l.CID.KeyString()
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = append(dst, key...)
	dst = append(dst, tag(2, wireBytes))
	dst = binary.AppendUvarint(dst, uint64(len(l.Name)))
	dst = append(dst, l.Name...)
	return appendVarintField(dst, 3, l.Tsize)
}

// hasData reports whether Data is written. Kubo omits an empty one only in files
// and directories.
func (n *Node) hasData() bool {
	return len(n.Data) > 0 || n.Type == TypeSymlink || n.Type == TypeHAMTShard
}

func (n *Node) hasFileSize() bool { return n.Type == TypeFile || n.Type == TypeRaw }

func (n *Node) dataLen() int {
	size := 1 + varintLen(uint64(n.Type))
	if n.hasData() {
		size += fieldLen(len(n.Data))
	}
	if n.hasFileSize() {
		size += 1 + varintLen(n.FileSize)
	}
	for _, s := range n.BlockSizes {
		size += 1 + varintLen(s)
	}
	if n.Type == TypeHAMTShard {
		size += 2 + varintLen(n.HashType) + varintLen(n.Fanout)
	}
	if n.Mode != 0 {
		size += 1 + varintLen(uint64(n.Mode))
	}
	if !n.Modified.IsZero() {
		size += fieldLen(timeLen(n.Modified))
	}
	return size
}

func (n *Node) appendData(dst []byte) []byte {
	dst = appendVarintField(dst, 1, uint64(n.Type))
	if n.hasData() {
		dst = appendField(dst, 2, n.Data)
	}
	if n.hasFileSize() {
		dst = appendVarintField(dst, 3, n.FileSize)
	}
	for _, s := range n.BlockSizes {
		dst = appendVarintField(dst, 4, s)
	}
	if n.Type == TypeHAMTShard {
		dst = appendVarintField(dst, 5, n.HashType)
		dst = appendVarintField(dst, 6, n.Fanout)
	}
	if n.Mode != 0 {
		dst = appendVarintField(dst, 7, uint64(n.Mode))
	}
	if !n.Modified.IsZero() {
		dst = append(dst, tag(8, wireBytes))
		dst = binary.AppendUvarint(dst, uint64(timeLen(n.Modified)))
		dst = appendVarintField(dst, 1, uint64(n.Modified.Unix()))
		if nanos := uint32(n.Modified.Nanosecond()); nanos > 0 {
			dst = append(dst, tag(2, wireFixed32))
			dst = binary.LittleEndian.AppendUint32(dst, nanos)
		}
	}
	return dst
}

func timeLen(t time.Time) int {
	size := 1 + varintLen(uint64(t.Unix()))
	if t.Nanosecond() > 0 {
		size += 5
	}
	return size
}
