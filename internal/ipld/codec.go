package ipld

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
	dagpb "github.com/ipld/go-codec-dagpb"
	"github.com/ipld/go-ipld-prime/codec/cbor"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	ipldjson "github.com/ipld/go-ipld-prime/codec/json"
	"github.com/ipld/go-ipld-prime/codec/raw"
	"github.com/ipld/go-ipld-prime/datamodel"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/multiformats/go-multicodec"
)

// MaxValue is the largest encoded value that ReadValue reads, in bytes. It is
// more than a block holds, because JSON is larger than the block made of it.
const MaxValue = 8 * block.MaxSize

// A Codec turns nodes of the IPLD data model into bytes and back.
type Codec struct {
	Name      string
	Code      uint64
	prototype datamodel.NodePrototype
	decode    func(datamodel.NodeAssembler, io.Reader) error
	encode    func(datamodel.Node, io.Writer) error
}

// Codecs returns all codecs whose nodes can be encoded and decoded.
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

// CodecNames returns the names of Codecs.
func CodecNames() []string {
	var names []string
	for _, c := range Codecs() {
		names = append(names, c.Name)
	}
	return names
}

// CodecByName returns the codec of that name.
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

// ReadValue reads one value from r, encoded in the codec from, and encodes it in
// the codec to. The block's CID has the prefix p. Errors: those of r;
// block.ErrMalformed; block.ErrTooLarge.
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

// DecodeBlock decodes a block in its codec. Errors: block.ErrMalformed;
// block.ErrUnknownCodec.
func DecodeBlock(b block.Block) (datamodel.Node, error) {
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
