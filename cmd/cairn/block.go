package main

import (
	"context"
	"fmt"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multicodec"
	"github.com/spf13/cobra"
)

func (a *app) blockCommand() *cobra.Command {
	return group("block", "Put, get and remove single blocks",
		a.blockPutCommand(), a.blockGetCommand(), a.blockStatCommand(), a.blockRmCommand())
}

// A shownBlock is a block in JSON.
type shownBlock struct {
	CID  cid.Cid `json:"cid"`
	Size int     `json:"size"`
}

func (a *app) blockPutCommand() *cobra.Command {
	var codec, hash string
	cmd := &cobra.Command{
		Use:   "put PATH…|-",
		Short: "Put files in as they are, each a block",
		Long: `Puts each file in as one block, of 2 MiB at most. The blocks are on disk when
the command ends, but get no alias: they stay until the space is needed.`,
		Args: arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p := cid.Prefix{Version: 1, MhLength: -1}
			for _, c := range []struct {
				name string
				code *uint64
			}{{codec, &p.Codec}, {hash, &p.MhType}} {
				var code multicodec.Code
				if err := code.Set(c.name); err != nil {
					return usageErrorf("block put: %q is neither a codec nor a hash function", c.name)
				}
				*c.code = uint64(code)
			}
			return a.withRepo(cmd.Context(), func(s repo) error {
				return a.blockPut(cmd.Context(), s, p, args)
			})
		},
	}
	cmd.Flags().StringVar(&codec, "codec", "raw", "the `codec` that the bytes are in: raw, dag-pb, dag-cbor, …")
	cmd.Flags().StringVar(&hash, "hash", "sha2-256", "the hash `function` that names them: sha2-256, blake3, …")
	return cmd
}

func (a *app) blockPut(ctx context.Context, s repo, p cid.Prefix, paths []string) error {
	batch := s.Batch()
	defer batch.Discard()
	var blocks []shownBlock
	for _, path := range paths {
		data, err := a.readFile(ctx, path, block.MaxSize)
		if err != nil {
			return fmt.Errorf("block put: %w", err)
		}
		b, err := block.NewWithPrefix(p, data)
		if err == nil {
			err = batch.Put(ctx, b)
		}
		if err != nil {
			return fmt.Errorf("block put %s: %w", path, err)
		}
		blocks = append(blocks, shownBlock{b.CID(), b.Size()})
	}
	if err := batch.Commit(ctx); err != nil {
		return fmt.Errorf("block put: %w", err)
	}
	for _, b := range blocks {
		if err := a.show(b, "%s", b.CID); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) blockGetCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "get CID",
		Short:             "Print a block's bytes",
		Args:              arguments(1, 1),
		ValidArgsFunction: a.completeRef(1),
		RunE: a.onRepo(func(ctx context.Context, s repo, args []string) error {
			c, err := resolve(ctx, s, args[0])
			if err != nil {
				return fmt.Errorf("block get: %w", err)
			}
			b, err := s.Get(ctx, c)
			if err != nil {
				return fmt.Errorf("block get: %w", err)
			}
			_, err = a.out.Write(b.Data())
			return err
		}),
	}
}

func (a *app) blockStatCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "stat CID…",
		Short:             "Print blocks' sizes, without reading them",
		Args:              arguments(1, -1),
		ValidArgsFunction: a.completeRef(-1),
		RunE: a.onRepo(func(ctx context.Context, s repo, args []string) error {
			for _, name := range args {
				c, err := resolve(ctx, s, name)
				if err != nil {
					return fmt.Errorf("block stat: %w", err)
				}
				size, err := s.Size(ctx, c)
				if err != nil {
					return fmt.Errorf("block stat: %w", err)
				}
				if err := a.show(shownBlock{c, size}, "%s %dB", c, size); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func (a *app) blockRmCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:               "rm CID…",
		Short:             "Remove blocks that nothing keeps alive",
		Args:              arguments(1, -1),
		ValidArgsFunction: a.completeRef(-1),
		RunE: a.onRepo(func(ctx context.Context, s repo, args []string) error {
			return a.blockRm(ctx, s, args, dryRun)
		}),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be removed, and remove nothing")
	return cmd
}

func (a *app) blockRm(ctx context.Context, s repo, names []string, dryRun bool) error {
	var cids []cid.Cid
	for _, name := range names {
		c, err := resolve(ctx, s, name)
		if err == nil {
			_, err = s.Size(ctx, c) // a typing error is an error
		}
		if err != nil {
			return fmt.Errorf("block rm: %w", err)
		}
		cids = append(cids, c)
	}
	if dryRun {
		for _, c := range cids {
			for alias, err := range control.ListKeepers.Do(ctx, s.Target, control.BlockArgs{CID: c}) {
				if err != nil {
					return fmt.Errorf("block rm: %w", err)
				}
				return fmt.Errorf("block rm %s: %w: alias %s keeps it", c, store.ErrLive, quote(alias.Name))
			}
		}
	} else if _, err := control.DeleteBlocks.Do(ctx, s.Target, control.DeleteArgs{CIDs: cids}); err != nil {
		return fmt.Errorf("block rm: %w", err)
	}
	for _, c := range cids {
		if err := a.showRemoved(c, "", dryRun); err != nil {
			return err
		}
	}
	return nil
}

// showRemoved prints a block or an alias that was removed, or would be.
func (a *app) showRemoved(c cid.Cid, name string, dryRun bool) error {
	what, done := name, "removed"
	if what == "" {
		what = c.String()
	}
	if dryRun {
		done = "would remove"
	}
	return a.show(struct {
		CID    cid.Cid `json:"cid"`
		Name   string  `json:"name,omitempty"`
		DryRun bool    `json:"dryRun"`
	}{c, name, dryRun}, "%s %s", done, escape(what))
}
