package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/cairn-ipfs/cairn/store"
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
	"github.com/spf13/cobra"
)

// A nodeCodec turns nodes of the IPLD data model into bytes and back.
type nodeCodec struct {
	name      string
	code      uint64
	prototype datamodel.NodePrototype
	decode    func(datamodel.NodeAssembler, io.Reader) error
	encode    func(datamodel.Node, io.Writer) error
}

var nodeCodecs = []nodeCodec{
	{"dag-json", uint64(multicodec.DagJson), basicnode.Prototype.Any, dagjson.Decode, dagjson.Encode},
	{"dag-cbor", block.DagCBOR, basicnode.Prototype.Any, dagcbor.Decode, dagcbor.Encode},
	{"dag-pb", block.DagPB, dagpb.Type.PBNode, dagpb.Decode, dagpb.Encode},
	{"json", uint64(multicodec.Json), basicnode.Prototype.Any, ipldjson.Decode, ipldjson.Encode},
	{"cbor", uint64(multicodec.Cbor), basicnode.Prototype.Any, cbor.Decode, cbor.Encode},
	{"raw", block.Raw, basicnode.Prototype.Bytes, raw.Decode, raw.Encode},
}

// codecNames are those of nodeCodecs.
func codecNames() []string {
	var names []string
	for _, c := range nodeCodecs {
		names = append(names, c.name)
	}
	return names
}

func codecByName(name string) (nodeCodec, error) {
	for _, c := range nodeCodecs {
		if c.name == name {
			return c, nil
		}
	}
	return nodeCodec{}, fmt.Errorf("%q is no codec of nodes: say one of %s", name, strings.Join(codecNames(), ", "))
}

// node decodes bytes.
func (c nodeCodec) node(data []byte) (datamodel.Node, error) {
	nb := c.prototype.NewBuilder()
	if err := c.decode(nb, bytes.NewReader(data)); err != nil {
		return nil, fmt.Errorf("%w: as %s: %w", block.ErrMalformed, c.name, err)
	}
	return nb.Build(), nil
}

// bytes encodes a node.
func (c nodeCodec) bytes(n datamodel.Node) ([]byte, error) {
	var out bytes.Buffer
	if err := c.encode(n, &out); err != nil {
		return nil, fmt.Errorf("as %s: %w", c.name, err)
	}
	return out.Bytes(), nil
}

// nodeOf decodes a block.
func nodeOf(b block.Block) (datamodel.Node, error) {
	code := b.CID().Prefix().Codec
	for _, c := range nodeCodecs {
		if c.code == code {
			n, err := c.node(b.Data())
			if err != nil {
				return nil, fmt.Errorf("%s: %w", b.CID(), err)
			}
			return n, nil
		}
	}
	return nil, fmt.Errorf("%s: %w: %s", b.CID(), block.ErrUnknownCodec, codeName(code))
}

func (a *app) dagPutCommand() *cobra.Command {
	var input, codec, hash, alias string
	var pin bool
	cmd := &cobra.Command{
		Use:   "put PATH…|-",
		Short: "Make a block of a JSON or CBOR value",
		Long: `Reads one value from each file, makes a block of it, and prints its CID. The
value is read as DAG-JSON, in which {"/": "CID"} is a link, and the block is
DAG-CBOR, unless said otherwise. The blocks are on disk when the command ends.
With --pin or --alias they are kept, with all that they link to; else they stay
until the space is needed.`,
		Args: arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if pin && alias != "" {
				return conflict("dag put: --pin and --alias contradict each other")
			}
			if alias != "" && len(args) > 1 {
				return conflict("dag put: --alias names one PATH, got %d", len(args))
			}
			from, err := codecByName(input)
			if err != nil {
				return usage(fmt.Errorf("dag put: %w", err))
			}
			to, err := codecByName(codec)
			if err != nil {
				return usage(fmt.Errorf("dag put: %w", err))
			}
			var function multicodec.Code
			if err := function.Set(hash); err != nil {
				return conflict("dag put: %q is no hash function", hash)
			}
			p := cid.Prefix{Version: 1, Codec: to.code, MhType: uint64(function), MhLength: -1}
			return a.withStore(cmd.Context(), func(s *store.Store) error {
				return a.dagPut(cmd.Context(), s, args, from, to, p, alias, pin)
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&input, "input-codec", "dag-json", "the `codec` that the input is in: "+strings.Join(codecNames(), ", "))
	fl.StringVar(&codec, "store-codec", "dag-cbor", "the `codec` that the block is to have")
	fl.StringVar(&hash, "hash", "sha2-256", "the hash `function` that names it: sha2-256, blake3, …")
	fl.BoolVar(&pin, "pin", false, "keep it, under the alias pin/CID")
	fl.StringVar(&alias, "alias", "", "keep it under this `name`")
	completeFlag(cmd, "input-codec", codecNames()...)
	completeFlag(cmd, "store-codec", codecNames()...)
	completeFlag(cmd, "hash", "sha2-256", "sha2-512", "sha3-256", "blake2b-256", "blake3")
	return cmd
}

func (a *app) dagPut(ctx context.Context, s *store.Store, paths []string, from, to nodeCodec, p cid.Prefix, alias string, pin bool) error {
	batch := s.Batch()
	defer batch.Discard()
	var blocks []shownBlock
	for _, path := range paths {
		b, err := a.readNode(ctx, path, from, to, p)
		if err == nil {
			err = batch.Put(ctx, b)
		}
		if err != nil {
			return fmt.Errorf("dag put %s: %w", path, err)
		}
		switch {
		case alias != "":
			batch.Alias(alias, b.CID(), store.AliasOptions{})
		case pin:
			batch.Alias(cairn.PinName(b.CID()), b.CID(), store.AliasOptions{})
		}
		blocks = append(blocks, shownBlock{b.CID().String(), b.Size()})
	}
	if err := batch.Commit(ctx); err != nil {
		return fmt.Errorf("dag put: %w", err)
	}
	for _, b := range blocks {
		if err := a.show(b, "%s", b.CID); err != nil {
			return err
		}
	}
	return nil
}

// maxNodeInput bounds what is read for one block, in bytes: JSON is larger than
// what it becomes.
const maxNodeInput = 8 * block.MaxSize

// readNode makes a block of a file.
func (a *app) readNode(ctx context.Context, path string, from, to nodeCodec, p cid.Prefix) (block.Block, error) {
	f, err := a.open(ctx, path)
	if err != nil {
		return block.Block{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxNodeInput+1))
	if err != nil {
		return block.Block{}, err
	}
	if len(data) > maxNodeInput {
		return block.Block{}, fmt.Errorf("%w: a value of more than %s", block.ErrTooLarge, formatSize(maxNodeInput))
	}
	n, err := from.node(data)
	if err != nil {
		return block.Block{}, err
	}
	if data, err = to.bytes(n); err != nil {
		return block.Block{}, err
	}
	return block.NewWithPrefix(p, data)
}

func (a *app) dagGetCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "get CID[/PATH]",
		Short: "Print a value: a block, or what a path in it leads to",
		Long: `Prints a block as DAG-JSON, or the part of it that PATH leads to. PATH is one of
fields of maps, numbers of list items (from 0), and names in directories; it
goes on through links.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: a.completeRef(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			codec, err := codecByName(output)
			if err != nil {
				return usage(fmt.Errorf("dag get: %w", err))
			}
			return a.withStore(cmd.Context(), func(s *store.Store) error {
				n, err := nodeAt(cmd.Context(), s, args[0])
				if err != nil {
					return fmt.Errorf("dag get %s: %w", args[0], err)
				}
				data, err := codec.bytes(n)
				if err != nil {
					return fmt.Errorf("dag get %s: %w", args[0], err)
				}
				if strings.HasSuffix(codec.name, "json") {
					data = append(data, '\n')
				}
				_, err = a.out.Write(data)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&output, "output-codec", "dag-json", "the `codec` to print it in: "+strings.Join(codecNames(), ", "))
	completeFlag(cmd, "output-codec", codecNames()...)
	return cmd
}

// nodeAt returns what a name leads to, through values and directories.
func nodeAt(ctx context.Context, s *store.Store, name string) (datamodel.Node, error) {
	r, err := findRef(ctx, s, name)
	if err != nil {
		return nil, err
	}
	at := r.root
	n, err := nodeBehind(ctx, s, at)
	if err != nil {
		return nil, err
	}
	way := "/" // within the block
	for part := range strings.SplitSeq(r.path, "/") {
		if part == "" {
			continue
		}
		child, err := childOf(ctx, s, at, n, way, part)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", part, err)
		}
		n, way = child, way+part+"/"
		if n.Kind() != datamodel.Kind_Link {
			continue
		}
		l, err := n.AsLink()
		if err != nil {
			return nil, err
		}
		to, ok := l.(cidlink.Link)
		if !ok {
			return nil, fmt.Errorf("%s: %w: a link that is no CID", part, block.ErrMalformed)
		}
		if n, err = nodeBehind(ctx, s, to.Cid); err != nil {
			return nil, err
		}
		at, way = to.Cid, "/"
	}
	return n, nil
}

func nodeBehind(ctx context.Context, s *store.Store, c cid.Cid) (datamodel.Node, error) {
	b, inlined := block.Inlined(c)
	if !inlined {
		var err error
		if b, err = s.Get(ctx, c); err != nil {
			return nil, err
		}
	}
	return nodeOf(b)
}

// childOf is one step of a path from n, which lies in the block at.
func childOf(ctx context.Context, s *store.Store, at cid.Cid, n datamodel.Node, way, part string) (datamodel.Node, error) {
	child, err := n.LookupBySegment(datamodel.ParsePathSegment(part))
	if err == nil && !child.IsAbsent() {
		return child, nil
	}
	if at.Type() == block.DagPB && way == "/" {
		e, err := unixfs.Lookup(ctx, s, at, part)
		if err != nil {
			return nil, err
		}
		return basicnode.NewLink(cidlink.Link{Cid: e.CID}), nil
	}
	var wrong datamodel.ErrWrongKind
	if err == nil || errors.As(err, &datamodel.ErrNotExists{}) || errors.As(err, &wrong) {
		return nil, fmt.Errorf("there is no such part in a %s: %w", n.Kind(), fs.ErrNotExist)
	}
	return nil, err
}
