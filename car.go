package cairn

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// importBatch is how many bytes of blocks of a CAR are put at once.
const importBatch = 1 << 20

// PutCAR puts the blocks of a CAR, of version 1 or 2, into put, each verified, and
// returns the CAR's roots. It names nothing: put is a Node, which keeps the blocks
// as a cache, or a Batch, in which the roots can then get aliases. A CAR that is
// cut short or has invalid blocks is an error; blocks before it may have been put.
// See Node.ImportCAR for keeping the roots.
func PutCAR(ctx context.Context, put block.Putter, r io.Reader) ([]cid.Cid, error) {
	in, err := car.NewReader(bufio.NewReaderSize(r, 256<<10))
	if err != nil {
		return nil, fmt.Errorf("cairn: import CAR: %w", err)
	}
	var waiting []block.Block
	size := 0
	for b, err := range in.Blocks() {
		if err != nil {
			return nil, fmt.Errorf("cairn: import CAR: %w", err)
		}
		waiting = append(waiting, b)
		if size += b.Size(); size >= importBatch {
			if err := put.Put(ctx, waiting...); err != nil {
				return nil, err
			}
			waiting, size = nil, 0
		}
	}
	if err := put.Put(ctx, waiting...); err != nil {
		return nil, err
	}
	return in.Roots(), nil
}

// ExportCAR writes the DAG below root as a CAR of version 1, depth first, each block
// once. It streams, with bounded memory. A missing block is an error that names it.
// After an error w has only a part of a CAR: write to a file that can be discarded.
func ExportCAR(ctx context.Context, get block.Getter, w io.Writer, root cid.Cid) error {
	return exportCAR(ctx, get, w, root, dag.WalkOptions{})
}

func exportCAR(ctx context.Context, get block.Getter, w io.Writer, root cid.Cid, o dag.WalkOptions) error {
	out, err := car.NewWriter(w, []cid.Cid{root})
	if err != nil {
		return fmt.Errorf("cairn: export CAR of %s: %w", root, err)
	}
	return export(ctx, get, root, out.Put, o)
}

// ExportCARv2 is ExportCAR for version 2, whose index finds single blocks. The
// header is written last, so w must be able to seek.
func ExportCARv2(ctx context.Context, get block.Getter, w io.WriteSeeker, root cid.Cid) error {
	out, err := car.NewWriterV2(w, []cid.Cid{root})
	if err != nil {
		return fmt.Errorf("cairn: export CAR of %s: %w", root, err)
	}
	if err := export(ctx, get, root, out.Put, dag.WalkOptions{}); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("cairn: export CAR of %s: %w", root, err)
	}
	return nil
}

func export(ctx context.Context, get block.Getter, root cid.Cid, put func(block.Block) error, o dag.WalkOptions) error {
	for step, err := range dag.Walk(ctx, get, []cid.Cid{root}, o) {
		if err == nil {
			err = put(step.Block)
		}
		if err != nil {
			return fmt.Errorf("cairn: export CAR of %s: %w", root, err)
		}
	}
	return nil
}

// ImportCAR puts the blocks of a CAR and keeps its roots, durably, under the names
// pin/CID, as Add does. See PutCAR for other names, or none.
func (n *Node) ImportCAR(ctx context.Context, r io.Reader) ([]cid.Cid, error) {
	b := n.Batch()
	defer b.Discard()
	roots, err := PutCAR(ctx, b, r)
	if err != nil {
		return nil, err
	}
	for _, root := range roots {
		b.Alias(PinName(root), root, store.AliasOptions{})
	}
	return roots, b.Commit(ctx)
}

// ExportCAR writes the DAG below root. See the function ExportCAR.
func (n *Node) ExportCAR(ctx context.Context, w io.Writer, root cid.Cid) error {
	return ExportCAR(ctx, n, w, root)
}

// PinPrefix begins the names of the aliases that pin a root by itself.
const PinPrefix = "pin/"

// PinName is the name of the alias that pins c: "pin/" and the CID as CIDv1.
func PinName(c cid.Cid) string { return PinPrefix + block.V1(c).String() }
