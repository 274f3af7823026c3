package main

import (
	"fmt"

	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/spf13/cobra"
)

func (a *app) provideCommand() *cobra.Command {
	var stop bool
	cmd := &cobra.Command{
		Use:   "provide CID",
		Short: "Announce that this node has something",
		Long: `Tells the network that this node has what CID names, now, and then once in 22
hours for as long as a daemon runs, until --stop. What aliases stand for is
announced without being told (key routing.provide).

Others find this node only while it can be called: where no daemon runs, it
listens (key swarm.listen) until the command ends.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: a.completeRef(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			listen, local, err := listenAddrs(a.set.list("swarm.listen"))
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			return a.withRepoAs(ctx, a.nodeConfig(listen, local), func(s repo) error {
				c, err := resolve(ctx, s, args[0])
				if err != nil {
					return fmt.Errorf("provide: %w", err)
				}
				done := "announced"
				if stop {
					done = "no longer announced"
					_, err = control.Unprovide.Do(ctx, s.Target, control.BlockArgs{CID: c})
				} else if _, err = s.Size(ctx, c); err == nil {
					_, err = control.Provide.Do(ctx, s.Target, control.BlockArgs{CID: c})
				}
				if err != nil {
					return fmt.Errorf("provide %s: %w", c, err)
				}
				return a.show(struct {
					CID       string `json:"cid"`
					Announced bool   `json:"announced"`
				}{c.String(), !stop}, "%s %s", c, done)
			})
		},
	}
	cmd.Flags().BoolVar(&stop, "stop", false, "end announcing it")
	return cmd
}
