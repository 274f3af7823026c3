package main

import (
	"os"
	"path/filepath"

	"github.com/cairn-ipfs/cairn/store"
	"github.com/spf13/cobra"
)

func (a *app) initCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Make the repository now, rather than on first use",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := a.usableDir()
			if err != nil {
				return err
			}
			_, err = os.Stat(filepath.Join(dir, "format"))
			made := err != nil
			return a.withStore(cmd.Context(), func(s *store.Store) error {
				shown := struct {
					Path string `json:"path"`
					Made bool   `json:"made"`
				}{s.Dir(), made}
				if made {
					return a.show(shown, "made a repository at %s", s.Dir())
				}
				return a.show(shown, "there is a repository at %s", s.Dir())
			})
		},
	}
}
