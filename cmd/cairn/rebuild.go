package main

import (
	"fmt"
	"sync/atomic"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/spf13/cobra"
)

func (a *app) rebuildCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rebuild",
		Short: "Make the index anew from the packs",
		Long: `Makes the index anew from the packs: where the blocks are, the aliases, and the
names that are published or followed, with their sequences. The old index is
kept beside it, so nothing is lost. Blocks that had been removed may be back,
until the space is needed.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := a.usableDir()
			if err != nil {
				return err
			}
			o, err := a.storeOptions()
			if err != nil {
				return err
			}
			var read, size atomic.Int64
			stop := a.progress("reading packs", func() (int64, int64) { return read.Load(), size.Load() })
			r, err := cairn.Rebuild(cmd.Context(), cairn.Config{Dir: dir, Store: o}, func(done, total int64) {
				read.Store(done)
				size.Store(total)
			})
			stop()
			if err != nil {
				return fmt.Errorf("rebuild: %w", err)
			}
			return a.showRebuild(r)
		},
	}
}

func (a *app) showRebuild(r store.RebuildResult) error {
	if err := a.show(r, "%d packs, %d blocks, %s, %d aliases", r.Packs, r.Blocks, formatSize(r.Bytes), r.Aliases); err != nil {
		return err
	}
	if r.Damaged > 0 {
		a.remark("%d blocks or places in packs could not be read", r.Damaged)
	}
	if r.EvictionHeld {
		a.remark("no aliases were found: nothing is evicted until you confirm that none is missing (cairn gc --confirm)")
	}
	if r.OldIndex != "" {
		a.remark("the old index is at %s; remove it when all is well", escape(r.OldIndex))
	}
	return nil
}
