package main

import (
	"fmt"

	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/spf13/cobra"
)

func (a *app) statsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stats",
		Short: "Count what the repository holds",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withRepo(cmd.Context(), func(s repo) error {
				st, err := control.Stats.Do(cmd.Context(), s.Target, struct{}{})
				if err != nil {
					return fmt.Errorf("stats: %w", err)
				}
				if s.dir != "" {
					st.Path = s.dir // as the user knows it
				}
				return a.stats(st)
			})
		},
	}
}

func (a *app) stats(st control.StatsResult) error {
	if a.json {
		return a.show(struct {
			Path         string `json:"path"`
			LiveBlocks   int64  `json:"liveBlocks"`
			LiveBytes    int64  `json:"liveBytes"`
			CachedBlocks int64  `json:"cachedBlocks"`
			CachedBytes  int64  `json:"cachedBytes"`
			DeadBytes    int64  `json:"deadBytes"`
			Packs        int    `json:"packs"`
			PackBytes    int64  `json:"packBytes"`
			IndexBytes   int64  `json:"indexBytes"`
			FreeBytes    uint64 `json:"freeBytes"`
			EvictionHeld bool   `json:"evictionHeld"`
		}{
			st.Path, st.LiveBlocks, st.LiveBytes, st.CachedBlocks, st.CachedBytes, st.DeadBytes,
			st.Packs, st.PackBytes, st.IndexBytes, st.FreeBytes, st.EvictionHeld,
		}, "")
	}
	for _, row := range [][2]string{
		{"repository", printable(st.Path)},
		{"live", fmt.Sprintf("%d blocks, %s", st.LiveBlocks, formatSize(st.LiveBytes))},
		{"cached", fmt.Sprintf("%d blocks, %s", st.CachedBlocks, formatSize(st.CachedBytes))},
		{"dead", formatSize(st.DeadBytes)},
		{"packs", fmt.Sprintf("%d, %s on disk", st.Packs, formatSize(st.PackBytes))},
		{"index", formatSize(st.IndexBytes) + " on disk"},
		{"disk", formatSize(int64(min(st.FreeBytes, 1<<62))) + " free"},
	} {
		if err := a.show(nil, "%-11s %s", row[0], row[1]); err != nil {
			return err
		}
	}
	if st.EvictionHeld {
		a.remark("nothing is evicted: after the rebuild, confirm that no alias is missing (cairn gc --confirm)")
	}
	return nil
}
