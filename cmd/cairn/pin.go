package main

import (
	"context"
	"fmt"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/ipfs/go-cid"
	"github.com/spf13/cobra"
)

func (a *app) pinCommand() *cobra.Command {
	return group("pin", "Keep DAGs that need no name (aliases pin/CID)",
		a.pinAddCommand(), a.pinLsCommand(), a.pinRmCommand())
}

func (a *app) pinAddCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "add CID…",
		Short:             "Keep all that is reachable from CID",
		Args:              arguments(1, -1),
		ValidArgsFunction: a.completeRef(-1),
		RunE: a.onRepo(func(ctx context.Context, s repo, args []string) error {
			pins := make(map[string]cid.Cid)
			var order []string
			for _, name := range args {
				c, err := resolveLatest(ctx, s, name)
				if err != nil {
					return fmt.Errorf("pin add: %w", err)
				}
				if _, twice := pins[cairn.PinName(c)]; !twice {
					order = append(order, cairn.PinName(c))
				}
				pins[cairn.PinName(c)] = c
			}
			if err := a.setAliases(ctx, s, pins, order); err != nil {
				return fmt.Errorf("pin add: %w", err)
			}
			return nil
		}),
	}
}

func (a *app) pinLsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List what is pinned",
		Args:  arguments(0, 0),
		RunE: a.onRepo(func(ctx context.Context, s repo, _ []string) error {
			for alias, err := range control.ListAliases.Do(ctx, s.Target, control.ListArgs{Prefix: cairn.PinPrefix}) {
				if err != nil {
					return fmt.Errorf("pin ls: %w", err)
				}
				if err := a.show(shownAlias{alias.Name, alias.Root}, "%s", alias.Root); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func (a *app) pinRmCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:               "rm CID…",
		Short:             "Unpin: what the pins alone kept becomes garbage",
		Args:              arguments(1, -1),
		ValidArgsFunction: a.completeRef(-1),
		RunE: a.onRepo(func(ctx context.Context, s repo, args []string) error {
			var names []string
			for _, name := range args {
				c, err := resolve(ctx, s, name)
				if err != nil {
					return fmt.Errorf("pin rm: %w", err)
				}
				names = append(names, cairn.PinName(c))
			}
			if err := a.removeAliases(ctx, s, names, dryRun); err != nil {
				return fmt.Errorf("pin rm: %w", err)
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be unpinned, and change nothing")
	return cmd
}
