package main

import (
	"fmt"

	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/spf13/cobra"
)

func (a *app) gcCommand() *cobra.Command {
	var target sizeFlag
	var o store.EvictOptions
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove garbage: what no alias reaches",
		Long: `Removes blocks that no alias reaches, and gives their space back to the disk:
all of them, or with --target as few as bring the packs down to that size, the
least recently read ones first.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Target = int64(target)
			return a.withRepo(cmd.Context(), func(s repo) error {
				done, err := control.Evict.Do(cmd.Context(), s.Target, o)
				if err != nil {
					return fmt.Errorf("gc: %w", err)
				}
				verb := "removed"
				if o.DryRun {
					verb = "would remove"
					if target > 0 {
						// Done counts all garbage, of which some may stay.
						st, err := control.Stats.Do(cmd.Context(), s.Target, struct{}{})
						if err != nil {
							return fmt.Errorf("gc: %w", err)
						}
						verb = "would remove at most"
						if st.PackBytes <= o.Target {
							done = store.EvictResult{}
						}
						done.Bytes = min(done.Bytes, max(0, st.PackBytes-o.Target))
					}
				}
				return a.show(struct {
					store.EvictResult
					DryRun bool `json:"dryRun"`
				}{done, o.DryRun}, "%s %d blocks, %s on disk", verb, done.Blocks, formatSize(done.Bytes))
			})
		},
	}
	cmd.Flags().Var(&target, "target", "remove only until the packs take no more than this")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "print what would be removed, and remove nothing")
	cmd.Flags().BoolVar(&o.Confirm, "confirm", false, "after a rebuild that found no aliases: no alias is missing")
	return cmd
}
