package store

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/pack"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// The index's keys begin with one of these bytes.
const (
	keyRow      = 'b' // multihash → row
	keyLinks    = 'l' // node → the links that it was expanded with
	keyWanted   = 'w' // node: live and not here
	keyExpand   = 'e' // node: live, here, and its links not yet counted
	keyCollapse = 'c' // node: not live, and its links still counted
	keyFlagged  = 'f' // codec, multihash: expanded without knowing the links
	keyPack     = 'p' // pack id → packInfo
	keyAlias    = 'a' // name → aliasRow
	keyTempPin  = 't' // pin, cid → targets
	keySpace    = 's' // space, key → value
	keyMeta     = 'i' // state of the whole repository
)

// A node is a multihash with a codec. It is nodes that are live or not.
type node struct {
	mh    string
	codec uint64
}

// nodeOf returns the node that c names. CIDv0 and CIDv1 dag-pb are the same.
func nodeOf(c cid.Cid) node {
	return node{mh: string(c.Hash()), codec: c.Prefix().Codec}
}

func (n node) cid() cid.Cid { return cid.NewCidV1(n.codec, multihash.Multihash(n.mh)) }

func (n node) key(prefix byte) string {
	b := make([]byte, 0, len(n.mh)+6)
	b = append(b, prefix)
	b = append(b, n.mh...)
	return string(binary.AppendUvarint(b, n.codec))
}

// flaggedKey sorts by codec, so that the flagged nodes of a codec that has become
// known are found at once.
func (n node) flaggedKey() string {
	b := binary.BigEndian.AppendUint64([]byte{keyFlagged}, n.codec)
	return string(append(b, n.mh...))
}

// parseNode reads a node's key behind its prefix byte.
func parseNode(p []byte) (node, error) {
	n, mh, err := multihash.MHFromBytes(p)
	if err != nil {
		return node{}, fmt.Errorf("index key %x: %w", p, block.ErrMalformed)
	}
	codec, m := binary.Uvarint(p[n:])
	if m <= 0 || n+m != len(p) {
		return node{}, fmt.Errorf("index key %x: %w", p, block.ErrMalformed)
	}
	return node{mh: string(mh), codec: codec}, nil
}

func rowKey(mh string) string { return string(keyRow) + mh }

// Kinds of location.
const (
	locNone    = 0 // the bytes are not here
	locPack    = 1
	locBacking = 2
)

// A loc is where a block's bytes lie.
type loc struct {
	kind uint8
	size int // bytes of data

	// In a pack: the section's offset, the bytes of it before the data, and
	// the data's CRC-32C.
	pack pack.ID
	off  int64
	head int
	sum  uint32

	backing string
	locator string
}

// section is the number of bytes that the block takes in a pack.
func (l loc) section() int64 { return int64(l.head + l.size) }

// The flags of a ref.
const (
	refExpanded    = 1 << iota // its links are counted
	refHasLinks                // there are some: see keyLinks
	refUndecodable             // expanded without links: its bytes can't be decoded
	refUnknown                 // expanded without links: the codec is unknown
)

// A ref is the state of a block under one codec.
type ref struct {
	codec uint64
	// count is the number of aliases, temporary pins and expanded blocks that
	// refer to the node.
	count uint64
	flags uint8
	// version is that of the link extraction at expansion.
	version uint64
	// whole is the loss epoch in which all below was here; 0: unknown.
	whole uint64
}

func (r ref) expanded() bool { return r.flags&refExpanded != 0 }

// A row is the state of a multihash: where its bytes lie, and a ref for each
// codec.
type row struct {
	loc  loc
	refs []ref
}

func (r *row) present() bool { return r.loc.kind != locNone }

// live reports whether anything refers to the block under any codec.
func (r *row) live() bool {
	for i := range r.refs {
		if r.refs[i].count > 0 {
			return true
		}
	}
	return false
}

// empty reports whether the row has no information.
func (r *row) empty() bool {
	if r.present() {
		return false
	}
	for i := range r.refs {
		if r.refs[i].count > 0 || r.refs[i].flags != 0 {
			return false
		}
	}
	return true
}

// ref returns the row's ref of that codec, and adds it if there is none.
func (r *row) ref(codec uint64) *ref {
	for i := range r.refs {
		if r.refs[i].codec == codec {
			return &r.refs[i]
		}
	}
	r.refs = append(r.refs, ref{codec: codec})
	return &r.refs[len(r.refs)-1]
}

// find returns the row's ref of that codec, without adding one.
func (r *row) find(codec uint64) (ref, bool) {
	for _, f := range r.refs {
		if f.codec == codec {
			return f, true
		}
	}
	return ref{codec: codec}, false
}

func (r *row) append(b []byte) []byte {
	b = append(b, r.loc.kind)
	switch r.loc.kind {
	case locPack:
		b = binary.AppendUvarint(b, uint64(r.loc.size))
		b = binary.AppendUvarint(b, uint64(r.loc.pack))
		b = binary.AppendUvarint(b, uint64(r.loc.off))
		b = binary.AppendUvarint(b, uint64(r.loc.head))
		b = binary.LittleEndian.AppendUint32(b, r.loc.sum)
	case locBacking:
		b = binary.AppendUvarint(b, uint64(r.loc.size))
		b = appendString(b, r.loc.backing)
		b = appendString(b, r.loc.locator)
	}
	for _, f := range r.refs {
		// An empty ref is kept while the block is here: it has the codec that
		// the block was put under.
		if !r.present() && f.count == 0 && f.flags == 0 {
			continue
		}
		b = binary.AppendUvarint(b, f.codec)
		b = binary.AppendUvarint(b, f.count)
		flags := f.flags
		if f.whole != 0 {
			flags |= rowHasWhole
		}
		b = append(b, flags)
		if f.expanded() {
			b = binary.AppendUvarint(b, f.version)
		}
		if f.whole != 0 {
			b = binary.AppendUvarint(b, f.whole)
		}
	}
	return b
}

// rowHasWhole marks, in an encoded row, that a ref's epoch follows.
const rowHasWhole = 1 << 7

func parseRow(p []byte) (*row, error) {
	d := decoder{p: p}
	r := &row{}
	r.loc.kind = d.byte()
	switch r.loc.kind {
	case locNone:
	case locPack:
		r.loc.size = int(d.uvarint())
		r.loc.pack = pack.ID(d.uvarint())
		r.loc.off = int64(d.uvarint())
		r.loc.head = int(d.uvarint())
		r.loc.sum = d.uint32()
	case locBacking:
		r.loc.size = int(d.uvarint())
		r.loc.backing = d.string()
		r.loc.locator = d.string()
	default:
		d.fail = true
	}
	if r.loc.size < 0 || r.loc.size > block.MaxSize || r.loc.off < 0 || r.loc.head < 0 || r.loc.head > 1<<10 {
		d.fail = true
	}
	for len(d.p) > 0 && !d.fail {
		f := ref{codec: d.uvarint(), count: d.uvarint(), flags: d.byte()}
		if f.expanded() {
			f.version = d.uvarint()
		}
		if f.flags&rowHasWhole != 0 {
			f.flags &^= rowHasWhole
			f.whole = d.uvarint()
		}
		r.refs = append(r.refs, f)
	}
	if d.fail {
		return nil, fmt.Errorf("index row %x: %w", p, block.ErrMalformed)
	}
	return r, nil
}

// A decoder reads values of the index. After an error it returns zeros.
type decoder struct {
	p    []byte
	fail bool
}

func (d *decoder) byte() byte {
	if len(d.p) == 0 {
		d.fail = true
		return 0
	}
	b := d.p[0]
	d.p = d.p[1:]
	return b
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.p)
	if n <= 0 {
		d.fail = true
		d.p = nil
		return 0
	}
	d.p = d.p[n:]
	return v
}

func (d *decoder) uint32() uint32 {
	if len(d.p) < 4 {
		d.fail = true
		return 0
	}
	v := binary.LittleEndian.Uint32(d.p)
	d.p = d.p[4:]
	return v
}

func (d *decoder) string() string {
	n := d.uvarint()
	if n > uint64(len(d.p)) {
		d.fail = true
		return ""
	}
	s := string(d.p[:n])
	d.p = d.p[n:]
	return s
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// appendNodes encodes a list of nodes; nodes reads it.
func appendNodes(b []byte, nodes []node) []byte {
	b = binary.AppendUvarint(b, uint64(len(nodes)))
	for _, n := range nodes {
		b = appendString(b, n.mh)
		b = binary.AppendUvarint(b, n.codec)
	}
	return b
}

func (d *decoder) nodes() []node {
	n := d.uvarint()
	if n > uint64(len(d.p)) {
		d.fail = true
		return nil
	}
	nodes := make([]node, 0, n)
	for range n {
		nodes = append(nodes, node{mh: d.string(), codec: d.uvarint()})
		if d.fail {
			return nil
		}
	}
	return nodes
}

// distinct returns the nodes that cids name, each once, in order.
func distinct(cids []cid.Cid) []node {
	nodes := make([]node, 0, len(cids))
	if len(cids) <= 16 {
		for _, c := range cids {
			if n := nodeOf(c); !slices.Contains(nodes, n) {
				nodes = append(nodes, n)
			}
		}
		return nodes
	}
	seen := make(map[node]struct{}, len(cids))
	for _, c := range cids {
		n := nodeOf(c)
		if _, ok := seen[n]; !ok {
			seen[n] = struct{}{}
			nodes = append(nodes, n)
		}
	}
	return nodes
}
