package main

import (
	"context"
	"fmt"

	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
	"github.com/spf13/cobra"
)

func (a *app) aliasCommand() *cobra.Command {
	return group("alias", "Name what is to be kept",
		a.aliasSetCommand(), a.aliasLsCommand(), a.aliasRmCommand(), a.aliasWhyCommand())
}

func (a *app) aliasSetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "set NAME CID",
		Short: "Give a DAG a name, or a name another DAG",
		Long: `Sets the alias NAME, which from then on keeps all that is reachable from CID. It
may be incomplete, or not here at all: what comes of it later is kept, too.
What the name stood for before becomes garbage, unless something else keeps it.`,
		Args:              arguments(2, 2),
		ValidArgsFunction: a.completeRef(2),
		RunE: a.onRepo(func(ctx context.Context, s repo, args []string) error {
			c, err := resolveLatest(ctx, s, args[1])
			if err == nil {
				err = a.setAliases(ctx, s, map[string]cid.Cid{args[0]: c}, []string{args[0]})
			}
			if err != nil {
				return fmt.Errorf("alias set %s: %w", args[0], err)
			}
			return nil
		}),
	}
}

// A shownAlias is an alias in JSON.
type shownAlias struct {
	Name string  `json:"name"`
	CID  cid.Cid `json:"cid"`
}

func (a *app) showAlias(name string, root cid.Cid) error {
	return a.show(shownAlias{name, root}, "%s %s", escape(name), root)
}

// setAliases sets aliases, all or none, and shows them in order.
func (a *app) setAliases(ctx context.Context, s repo, aliases map[string]cid.Cid, order []string) error {
	batch := s.Batch()
	defer batch.Discard()
	for name, c := range aliases {
		batch.Alias(name, c, store.AliasOptions{})
	}
	if err := batch.Commit(ctx); err != nil {
		return err
	}
	for _, name := range order {
		c := aliases[name]
		if err := a.showAlias(name, c); err != nil {
			return err
		}
		if _, err := a.countMissing(ctx, s, c); err != nil {
			return err
		}
	}
	return nil
}

// countMissing counts the blocks that the store lacks of a DAG, and prints a
// remark if there are some.
func (a *app) countMissing(ctx context.Context, s repo, root cid.Cid) (int, error) {
	n := 0
	for _, err := range control.ListMissing.Do(ctx, s.Target, control.RootArgs{Root: root}) {
		if err != nil {
			return 0, err
		}
		n++
	}
	if n > 0 {
		a.remark("%s is incomplete: %d blocks are missing, or more below them", root, n)
	}
	return n, nil
}

func (a *app) aliasLsCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "ls [PREFIX]",
		Short:             "List the aliases whose names begin with PREFIX, or all",
		Args:              arguments(0, 1),
		ValidArgsFunction: a.completeRef(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			prefix := ""
			if len(args) > 0 {
				prefix = args[0]
			}
			return a.withRepo(cmd.Context(), func(s repo) error {
				for alias, err := range control.ListAliases.Do(cmd.Context(), s.Target, control.ListArgs{Prefix: prefix}) {
					if err != nil {
						return fmt.Errorf("alias ls: %w", err)
					}
					if err := a.showAlias(alias.Name, alias.Root); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func (a *app) aliasRmCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:               "rm NAME…",
		Short:             "Remove aliases: what they alone kept becomes garbage",
		Args:              arguments(1, -1),
		ValidArgsFunction: a.completeRef(-1),
		RunE: a.onRepo(func(ctx context.Context, s repo, args []string) error {
			if err := a.removeAliases(ctx, s, args, dryRun); err != nil {
				return fmt.Errorf("alias rm: %w", err)
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be removed, and remove nothing")
	return cmd
}

// removeAliases removes aliases, all or none.
func (a *app) removeAliases(ctx context.Context, s repo, names []string, dryRun bool) error {
	batch := s.Batch()
	defer batch.Discard()
	var removed []store.Alias
	for _, name := range names {
		alias, err := control.ResolveAlias.Do(ctx, s.Target, control.AliasArgs{Name: name})
		if err != nil {
			return err
		}
		removed = append(removed, alias)
		batch.RemoveAlias(name)
	}
	if !dryRun {
		if err := batch.Commit(ctx); err != nil {
			return err
		}
	}
	for _, alias := range removed {
		if err := a.showRemoved(alias.Root, alias.Name, dryRun); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) aliasWhyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "why CID",
		Short: "List the aliases that keep a block alive",
		Long: `Lists the aliases from which CID can be reached. It walks their DAGs: on a large
repository that takes its time.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: a.completeRef(1),
		RunE: a.onRepo(func(ctx context.Context, s repo, args []string) error {
			c, err := resolve(ctx, s, args[0])
			if err != nil {
				return fmt.Errorf("alias why: %w", err)
			}
			kept := false
			for alias, err := range control.ListKeepers.Do(ctx, s.Target, control.BlockArgs{CID: c}) {
				if err != nil {
					return fmt.Errorf("alias why %s: %w", c, err)
				}
				kept = true
				if err := a.showAlias(alias.Name, alias.Root); err != nil {
					return err
				}
			}
			if !kept {
				return fmt.Errorf("alias why %s: %w", c, errNotKept)
			}
			return nil
		}),
	}
}
