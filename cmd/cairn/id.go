package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) idCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "id",
		Short: "Print who the node is among its peers, and where it listens",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withRepo(cmd.Context(), func(s repo) error {
				me, err := s.Identity(cmd.Context())
				if err != nil {
					return fmt.Errorf("id: %w", err)
				}
				if a.json {
					return a.show(struct {
						PeerID    string   `json:"peerId"`
						Addresses []string `json:"addresses"`
						Agent     string   `json:"agent"`
						Protocols []string `json:"protocols"`
					}{me.ID.String(), append([]string{}, me.Addrs...), me.Agent, append([]string{}, me.Protocols...)}, "")
				}
				rows := [][2]string{{"peer", me.ID.String()}, {"agent", me.Agent}}
				for _, addr := range me.Addrs {
					rows = append(rows, [2]string{"address", addr})
				}
				for _, p := range me.Protocols {
					rows = append(rows, [2]string{"protocol", p})
				}
				for _, row := range rows {
					if err := a.show(nil, "%-8s %s", row[0], printable(row[1])); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}
