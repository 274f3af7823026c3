package main

import (
	"fmt"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/spf13/cobra"
)

func (a *app) pingCommand() *cobra.Command {
	var count int
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "ping PEER",
		Short: "Measure how long a message takes to a peer and back",
		Long: `Sends messages to a peer, named by its id if its addresses are known, or by an
address that ends with its id, and prints how long each took there and back.`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := cairn.ParsePeerID(args[0])
			if err != nil {
				return fmt.Errorf("ping: %w", err)
			}
			if count < 1 || interval < 0 {
				return usageErrorf("ping: --count is 1 or more, and --interval no less than 0s")
			}
			return a.withRepo(cmd.Context(), func(s repo) error {
				var sum time.Duration
				n := 0
				for rtt, err := range control.Ping.Do(cmd.Context(), s.Target, control.PingArgs{Peer: args[0], Count: count, Interval: interval}) {
					if err != nil {
						return fmt.Errorf("ping %s: %w", id, err)
					}
					n++
					sum += rtt
					err := a.show(struct {
						PeerID string  `json:"peerId"`
						RTT    float64 `json:"rtt"` // in seconds
					}{id.String(), rtt.Seconds()}, "%s %s", id, rtt.Round(time.Microsecond))
					if err != nil {
						return err
					}
				}
				if n > 0 {
					a.remark("%s on average", (sum / time.Duration(n)).Round(time.Microsecond))
				}
				return nil
			})
		},
	}
	cmd.Flags().IntVarP(&count, "count", "n", 4, "how `often`")
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "how long to wait between")
	return cmd
}
