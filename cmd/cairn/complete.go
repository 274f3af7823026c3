package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/spf13/cobra"
)

// maxCompletions bounds the names that a shell is offered.
const maxCompletions = 200

type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// completeFlag offers the values of a flag.
func completeFlag(cmd *cobra.Command, flag string, values ...string) {
	// It fails only for a flag that isn't there.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// completeRef offers the names of aliases, for commands that take at most so
// many CIDs. Below zero: any number.
func (a *app) completeRef(most int) completion {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if most >= 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.aliasNames(cmd, begun), cobra.ShellCompDirectiveNoFileComp
	}
}

// aliasNames returns the names of aliases that begin with begun.
func (a *app) aliasNames(cmd *cobra.Command, begun string) []string {
	return a.complete(cmd, begun, func(ctx context.Context, s repo, offer func(string) bool) error {
		for alias, err := range control.ListAliases.Do(ctx, s.Target, control.ListArgs{Prefix: begun}) {
			if err != nil || !offer(alias.Name) {
				return err
			}
		}
		return nil
	})
}

// complete returns the names of list that begin with begun. If the repository
// can't be read there are none: a shell prints no errors here.
func (a *app) complete(
	cmd *cobra.Command, begun string, list func(ctx context.Context, s repo, offer func(string) bool) error,
) (names []string) {
	if a.loadSettings() != nil {
		return nil
	}
	dir, err := a.repoDir()
	if err != nil {
		return nil
	}
	if _, err := os.Stat(filepath.Join(dir, "format")); err != nil {
		return nil
	}
	_ = a.withRepo(cmd.Context(), func(s repo) error {
		return list(cmd.Context(), s, func(name string) bool {
			// Shells give tabs and line ends a meaning.
			if strings.HasPrefix(name, begun) && !strings.ContainsAny(name, "\t\n") {
				names = append(names, name)
			}
			return len(names) < maxCompletions
		})
	})
	return names
}

// completeKey offers the keys of the configuration.
func completeKey(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, k := range keys {
		names = append(names, k.name+"\t"+k.help)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
