package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/ipfs/go-cid"
	"github.com/spf13/cobra"
)

func (a *app) dagDiffCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Tell what a DAG has that another one has not",
		Long: `Compares two DAGs: prints the paths that are new (+), gone (-) or different (~),
where both are directories, and how many blocks of NEW are not in OLD.`,
		Args:              arguments(2, 2),
		ValidArgsFunction: a.completeRef(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withRepo(cmd.Context(), func(s repo) error {
				if err := a.dagDiff(cmd.Context(), s, args[0], args[1]); err != nil {
					return fmt.Errorf("dag diff: %w", err)
				}
				return nil
			})
		},
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
			_, err = s.Size(ctx, c) // what isn't here can't be compared
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
		if err := a.change(c); err != nil {
			return err
		}
	}
	return a.newBlocks(ctx, s, roots[0], roots[1])
}

// change tells of one path. That the roots differ is no news.
func (a *app) change(c unixfs.Change) error {
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
	return a.show(shown, "%s %s %s", sign, now, printable(c.Path))
}

// newBlocks tells how much of a DAG another one has not.
func (a *app) newBlocks(ctx context.Context, s repo, before, after cid.Cid) error {
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
