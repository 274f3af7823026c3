package main

import (
	"context"
	"fmt"

	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/spf13/cobra"
)

func (a *app) idCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "id",
		Short: "Print who the node is among its peers, and where it listens",
		Args:  arguments(0, 0),
		RunE: a.onRepo(func(ctx context.Context, s repo, _ []string) error {
			me, err := control.Identify.Do(ctx, s.Target, struct{}{})
			if err != nil {
				return fmt.Errorf("id: %w", err)
			}
			if a.json {
				return a.show(me, "")
			}
			rows := [][2]string{{"peer", me.PeerID.String()}, {"agent", me.Agent}}
			for _, addr := range me.Addresses {
				rows = append(rows, [2]string{"address", addr})
			}
			for _, p := range me.Protocols {
				rows = append(rows, [2]string{"protocol", p})
			}
			return a.showTable(8, rows)
		}),
	}
}
