package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/spf13/cobra"
)

func (a *app) lsCommand() *cobra.Command {
	var long bool
	cmd := &cobra.Command{
		Use:   "ls CID",
		Short: "List a directory",
		Long: `Lists the names in a directory. With -l (or --json) it reads the first block of
each entry, too, and prints CID, type, size and name; "missing" is an entry
that isn't here.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: a.completeRef(1),
		RunE: a.onRepo(func(ctx context.Context, s repo, args []string) error {
			if err := a.ls(ctx, s, args[0], long || a.json); err != nil {
				return fmt.Errorf("ls %s: %w", args[0], err)
			}
			return nil
		}),
	}
	cmd.Flags().BoolVarP(&long, "long", "l", false, "print CID, type and size, too")
	return cmd
}

func (a *app) ls(ctx context.Context, s repo, name string, long bool) error {
	c, err := resolve(ctx, s, name)
	if err != nil {
		return err
	}
	for e, err := range unixfs.ReadDir(ctx, s, c) {
		if err != nil {
			return err
		}
		if !long {
			if err := a.show(nil, "%s", escape(e.Name)); err != nil {
				return err
			}
			continue
		}
		kind, size, err := a.entryKind(ctx, s, e)
		if err != nil {
			return err
		}
		err = a.show(struct {
			Name string `json:"name"`
			CID  string `json:"cid"`
			Type string `json:"type"`
			Size int64  `json:"size"`
		}{e.Name, e.CID.String(), kind, size}, "%s %-9s %9s %s", e.CID, kind, formatSize(size), escape(e.Name))
		if err != nil {
			return err
		}
	}
	return nil
}

// entryKind returns the type and size of an entry.
func (a *app) entryKind(ctx context.Context, s repo, e unixfs.Entry) (kind string, size int64, err error) {
	info, err := unixfs.Stat(ctx, s, e.CID)
	switch {
	case err == nil:
		return info.Type.String(), info.Size, nil
	case errors.Is(err, block.ErrNotFound):
		return "missing", 0, nil
	case errors.Is(err, block.ErrUnknownCodec), errors.Is(err, block.ErrMalformed):
		return "unknown", 0, nil
	}
	return "", 0, err
}
