package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/ipfs/go-cid"
	dagpb "github.com/ipld/go-codec-dagpb"
	"github.com/ipld/go-ipld-prime/codec/cbor"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	ipldjson "github.com/ipld/go-ipld-prime/codec/json"
	"github.com/ipld/go-ipld-prime/codec/raw"
	"github.com/ipld/go-ipld-prime/datamodel"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/multiformats/go-multicodec"
)

// MaxValue bounds what is read of one value, in bytes, before it becomes a
// block: JSON is larger than what it becomes.
const MaxValue = 8 * block.MaxSize

// A Codec turns nodes of the IPLD data model into bytes and back.
type Codec struct {
	Name      string
	Code      uint64
	prototype datamodel.NodePrototype
	decode    func(datamodel.NodeAssembler, io.Reader) error
	encode    func(datamodel.Node, io.Writer) error
}

// Codecs are those of which nodes are understood.
func Codecs() []Codec {
	return []Codec{
		{"dag-json", uint64(multicodec.DagJson), basicnode.Prototype.Any, dagjson.Decode, dagjson.Encode},
		{"dag-cbor", block.DagCBOR, basicnode.Prototype.Any, dagcbor.Decode, dagcbor.Encode},
		{"dag-pb", block.DagPB, dagpb.Type.PBNode, dagpb.Decode, dagpb.Encode},
		{"json", uint64(multicodec.Json), basicnode.Prototype.Any, ipldjson.Decode, ipldjson.Encode},
		{"cbor", uint64(multicodec.Cbor), basicnode.Prototype.Any, cbor.Decode, cbor.Encode},
		{"raw", block.Raw, basicnode.Prototype.Bytes, raw.Decode, raw.Encode},
	}
}

// CodecNames are those of Codecs.
func CodecNames() []string {
	var names []string
	for _, c := range Codecs() {
		names = append(names, c.Name)
	}
	return names
}

// CodecByName finds one of Codecs.
func CodecByName(name string) (Codec, error) {
	for _, c := range Codecs() {
		if c.Name == name {
			return c, nil
		}
	}
	return Codec{}, fmt.Errorf("%q is no codec of nodes: say one of %s", name, strings.Join(CodecNames(), ", "))
}

// Node decodes bytes. Errors: block.ErrMalformed.
func (c Codec) Node(data []byte) (datamodel.Node, error) {
	nb := c.prototype.NewBuilder()
	if err := c.decode(nb, bytes.NewReader(data)); err != nil {
		return nil, fmt.Errorf("%w: as %s: %w", block.ErrMalformed, c.Name, err)
	}
	return nb.Build(), nil
}

// Bytes encodes a node.
func (c Codec) Bytes(n datamodel.Node) ([]byte, error) {
	var out bytes.Buffer
	if err := c.encode(n, &out); err != nil {
		return nil, fmt.Errorf("as %s: %w", c.Name, err)
	}
	return out.Bytes(), nil
}

// ReadValue makes a block of a value that r holds in the codec from, in the
// codec of p.
func ReadValue(r io.Reader, from, to Codec, p cid.Prefix) (block.Block, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxValue+1))
	if err != nil {
		return block.Block{}, err
	}
	if len(data) > MaxValue {
		return block.Block{}, fmt.Errorf("%w: a value of more than %dMiB", block.ErrTooLarge, MaxValue>>20)
	}
	n, err := from.Node(data)
	if err != nil {
		return block.Block{}, err
	}
	if data, err = to.Bytes(n); err != nil {
		return block.Block{}, err
	}
	return block.NewWithPrefix(p, data)
}

// nodeOf decodes a block.
func nodeOf(b block.Block) (datamodel.Node, error) {
	code := b.CID().Prefix().Codec
	for _, c := range Codecs() {
		if c.Code == code {
			n, err := c.Node(b.Data())
			if err != nil {
				return nil, fmt.Errorf("%s: %w", b.CID(), err)
			}
			return n, nil
		}
	}
	return nil, fmt.Errorf("%s: %w: %s", b.CID(), block.ErrUnknownCodec, multicodec.Code(code))
}

// A Found is what a path leads to.
type Found struct {
	Node datamodel.Node
	// Block is the one that it lies in, Rest the path within it.
	Block cid.Cid
	Rest  string
}

// NodeAt returns what path leads to from root, through values, links and
// directories.
func NodeAt(ctx context.Context, get block.Getter, root cid.Cid, path string) (Found, error) {
	at := Found{Block: root}
	var err error
	if at.Node, err = nodeBehind(ctx, get, root); err != nil {
		return at, err
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" {
			continue
		}
		child, err := childOf(ctx, get, at, part)
		if err != nil {
			return at, fmt.Errorf("%s: %w", part, err)
		}
		at.Node = child
		if at.Rest != "" {
			at.Rest += "/"
		}
		at.Rest += part
		if child.Kind() != datamodel.Kind_Link {
			continue
		}
		l, err := child.AsLink()
		if err != nil {
			return at, err
		}
		to, ok := l.(cidlink.Link)
		if !ok {
			return at, fmt.Errorf("%s: %w: a link that is no CID", part, block.ErrMalformed)
		}
		at.Block, at.Rest = to.Cid, ""
		if at.Node, err = nodeBehind(ctx, get, to.Cid); err != nil {
			return at, err
		}
	}
	return at, nil
}

func nodeBehind(ctx context.Context, get block.Getter, c cid.Cid) (datamodel.Node, error) {
	b, inlined := block.Inlined(c)
	if !inlined {
		var err error
		if b, err = get.Get(ctx, c); err != nil {
			return nil, err
		}
	}
	return nodeOf(b)
}

// childOf is one step of a path.
func childOf(ctx context.Context, get block.Getter, at Found, part string) (datamodel.Node, error) {
	child, err := at.Node.LookupBySegment(datamodel.ParsePathSegment(part))
	if err == nil && !child.IsAbsent() {
		return child, nil
	}
	if at.Block.Type() == block.DagPB && at.Rest == "" {
		e, err := unixfs.Lookup(ctx, get, at.Block, part)
		if err != nil {
			return nil, err
		}
		return basicnode.NewLink(cidlink.Link{Cid: e.CID}), nil
	}
	var wrong datamodel.ErrWrongKind
	if err == nil || errors.As(err, &datamodel.ErrNotExists{}) || errors.As(err, &wrong) {
		return nil, fmt.Errorf("there is no such part in a %s: %w", at.Node.Kind(), fs.ErrNotExist)
	}
	return nil, err
}
