package main

import (
	"context"
	"fmt"

	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/spf13/cobra"
)

func (a *app) statsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stats",
		Short: "Count what the repository holds",
		Args:  arguments(0, 0),
		RunE: a.onRepo(func(ctx context.Context, s repo, _ []string) error {
			st, err := control.Stats.Do(ctx, s.Target, struct{}{})
			if err != nil {
				return fmt.Errorf("stats: %w", err)
			}
			if s.dir != "" {
				st.Path = s.dir // as the user knows it
			}
			return a.showStats(st)
		}),
	}
}

func (a *app) showStats(st control.StatsResult) error {
	if a.json {
		return a.show(struct {
			control.StatsResult
			LossEpoch uint64 `json:"lossEpoch,omitempty"` // hides the store's: users have no use for it
		}{StatsResult: st}, "")
	}
	err := a.showTable(11, [][2]string{
		{"repository", st.Path},
		{"live", fmt.Sprintf("%d blocks, %s", st.LiveBlocks, formatSize(st.LiveBytes))},
		{"cached", fmt.Sprintf("%d blocks, %s", st.CachedBlocks, formatSize(st.CachedBytes))},
		{"dead", formatSize(st.DeadBytes)},
		{"packs", fmt.Sprintf("%d, %s on disk", st.Packs, formatSize(st.PackBytes))},
		{"index", formatSize(st.IndexBytes) + " on disk"},
		{"disk", formatSize(int64(min(st.FreeBytes, 1<<62))) + " free"},
	})
	if err == nil && st.EvictionHeld {
		a.remark("nothing is evicted: after the rebuild, confirm that no alias is missing (cairn gc --confirm)")
	}
	return err
}
