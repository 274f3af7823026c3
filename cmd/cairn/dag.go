package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/cairn-ipfs/cairn/internal/ipld"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/datamodel"
	"github.com/multiformats/go-multicodec"
	"github.com/spf13/cobra"
)

func (a *app) dagCommand() *cobra.Command {
	return group("dag", "Values, CARs, and DAGs as a whole",
		a.dagPutCommand(), a.dagGetCommand(), a.dagImportCommand(), a.dagExportCommand(), a.dagStatCommand(), a.dagDiffCommand())
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
				return usageErrorf("dag put: --pin and --alias contradict each other")
			}
			if alias != "" && len(args) > 1 {
				return usageErrorf("dag put: --alias names one PATH, got %d", len(args))
			}
			from, err := ipld.CodecByName(input)
			if err != nil {
				return asUsageError(fmt.Errorf("dag put: %w", err))
			}
			to, err := ipld.CodecByName(codec)
			if err != nil {
				return asUsageError(fmt.Errorf("dag put: %w", err))
			}
			var function multicodec.Code
			if err := function.Set(hash); err != nil {
				return usageErrorf("dag put: %q is no hash function", hash)
			}
			p := cid.Prefix{Version: 1, Codec: to.Code, MhType: uint64(function), MhLength: -1}
			return a.withRepo(cmd.Context(), func(s repo) error {
				return a.dagPut(cmd.Context(), s, args, from, to, p, alias, pin)
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&input, "input-codec", "dag-json", "the `codec` that the input is in: "+strings.Join(ipld.CodecNames(), ", "))
	fl.StringVar(&codec, "store-codec", "dag-cbor", "the `codec` that the block is to have")
	fl.StringVar(&hash, "hash", "sha2-256", "the hash `function` that names it: sha2-256, blake3, …")
	fl.BoolVar(&pin, "pin", false, "keep it, under the alias pin/CID")
	fl.StringVar(&alias, "alias", "", "keep it under this `name`")
	completeFlag(cmd, "input-codec", ipld.CodecNames()...)
	completeFlag(cmd, "store-codec", ipld.CodecNames()...)
	completeFlag(cmd, "hash", "sha2-256", "sha2-512", "sha3-256", "blake2b-256", "blake3")
	return cmd
}

func (a *app) dagPut(ctx context.Context, s repo, paths []string, from, to ipld.Codec, p cid.Prefix, alias string, pin bool) error {
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
		blocks = append(blocks, shownBlock{b.CID(), b.Size()})
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

// readNode reads a value from a file, and encodes it as a block.
func (a *app) readNode(ctx context.Context, path string, from, to ipld.Codec, p cid.Prefix) (block.Block, error) {
	f, err := a.open(ctx, path)
	if err != nil {
		return block.Block{}, err
	}
	defer f.Close()
	return ipld.ReadValue(f, from, to, p)
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
			codec, err := ipld.CodecByName(output)
			if err != nil {
				return asUsageError(fmt.Errorf("dag get: %w", err))
			}
			return a.withRepo(cmd.Context(), func(s repo) error {
				n, err := nodeAt(cmd.Context(), s, args[0])
				if err != nil {
					return fmt.Errorf("dag get %s: %w", args[0], err)
				}
				data, err := codec.Bytes(n)
				if err != nil {
					return fmt.Errorf("dag get %s: %w", args[0], err)
				}
				if strings.HasSuffix(codec.Name, "json") {
					data = append(data, '\n')
				}
				_, err = a.out.Write(data)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&output, "output-codec", "dag-json", "the `codec` to print it in: "+strings.Join(ipld.CodecNames(), ", "))
	completeFlag(cmd, "output-codec", ipld.CodecNames()...)
	return cmd
}

// nodeAt returns the value that a name leads to, through values and directories.
func nodeAt(ctx context.Context, s repo, name string) (datamodel.Node, error) {
	r, err := resolveRef(ctx, s, name)
	if err != nil {
		return nil, err
	}
	found, err := ipld.NodeAt(ctx, s, r.root, r.path)
	return found.Node, err
}

func (a *app) dagStatCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "stat CID…",
		Short:             "Count the blocks and bytes of DAGs, each block once",
		Args:              arguments(1, -1),
		ValidArgsFunction: a.completeRef(-1),
		RunE: a.onRepo(func(ctx context.Context, s repo, args []string) error {
			for _, name := range args {
				if err := a.dagStat(ctx, s, name); err != nil {
					return fmt.Errorf("dag stat %s: %w", name, err)
				}
			}
			return nil
		}),
	}
}

func (a *app) dagStat(ctx context.Context, s repo, name string) error {
	root, err := resolve(ctx, s, name)
	if err != nil {
		return err
	}
	shown := struct {
		CID string `json:"cid"`
		dag.Totals
	}{CID: root.String()}
	if shown.Totals, err = control.CountDAG.Do(ctx, s.Target, control.RootArgs{Root: root}); err != nil {
		return err
	}
	rest := ""
	if shown.Missing > 0 {
		rest = fmt.Sprintf(", %d missing", shown.Missing)
	}
	return a.show(shown, "%s %d blocks, %s%s", shown.CID, shown.Blocks, formatSize(shown.Bytes), rest)
}

func (a *app) dagDiffCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Tell what a DAG has that another one has not",
		Long: `Compares two DAGs: prints the paths that are new (+), gone (-) or different (~),
where both are directories, and how many blocks of NEW are not in OLD.`,
		Args:              arguments(2, 2),
		ValidArgsFunction: a.completeRef(2),
		RunE: a.onRepo(func(ctx context.Context, s repo, args []string) error {
			if err := a.dagDiff(ctx, s, args[0], args[1]); err != nil {
				return fmt.Errorf("dag diff: %w", err)
			}
			return nil
		}),
	}
}

// A shownChange is a difference in JSON.
type shownChange struct {
	Change string `json:"change"` // added, removed or changed
	Path   string `json:"path"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

func (a *app) dagDiff(ctx context.Context, s repo, before, after string) error {
	var roots [2]cid.Cid
	for i, name := range []string{before, after} {
		c, err := resolve(ctx, s, name)
		if err == nil && !block.IsIdentity(c) {
			_, err = s.Size(ctx, c) // a missing root can't be compared
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		roots[i] = c
	}
	for c, err := range unixfs.Diff(ctx, s, roots[0], roots[1]) {
		if err != nil {
			return err
		}
		if err := a.showChange(c); err != nil {
			return err
		}
	}
	return a.showNewBlocks(ctx, s, roots[0], roots[1])
}

// showChange prints a path that changed. The roots themselves are not printed.
func (a *app) showChange(c unixfs.Change) error {
	if c.Path == "." {
		return nil
	}
	shown := shownChange{Change: "changed", Path: c.Path}
	sign, now := "~", c.After
	switch {
	case !c.Before.Defined():
		shown.Change, sign = "added", "+"
	case !c.After.Defined():
		shown.Change, sign, now = "removed", "-", c.Before
	}
	if c.Before.Defined() {
		shown.Before = c.Before.String()
	}
	if c.After.Defined() {
		shown.After = c.After.String()
	}
	return a.show(shown, "%s %s %s", sign, now, escape(c.Path))
}

// showNewBlocks counts the blocks of after that are not in before.
func (a *app) showNewBlocks(ctx context.Context, s repo, before, after cid.Cid) error {
	d, err := dag.Diff(ctx, s, after, []cid.Cid{before}, dag.DiffOptions{})
	if err != nil {
		return err
	}
	var shown struct {
		NewBlocks int   `json:"newBlocks"`
		NewSize   int64 `json:"newSize"`
		Missing   int   `json:"missing"`
	}
	for step, err := range d.Blocks(ctx, dag.WalkOptions{KeepGoing: true}) {
		switch {
		case errors.Is(err, block.ErrNotFound):
			shown.Missing++
			continue
		case err != nil:
			return err
		}
		if step.CID == after && after == before {
			continue
		}
		shown.NewBlocks++
		shown.NewSize += int64(step.Block.Size())
	}
	rest := ""
	if shown.Missing > 0 {
		rest = fmt.Sprintf(", %d missing", shown.Missing)
	}
	return a.show(shown, "%d new blocks, %s%s", shown.NewBlocks, formatSize(shown.NewSize), rest)
}
