package main

import (
	"os"
	"path/filepath"

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
			return a.withRepo(cmd.Context(), func(s repo) error {
				dir, err := s.folder(cmd.Context())
				if err != nil {
					return err
				}
				shown := struct {
					Path string `json:"path"`
					Made bool   `json:"made"`
				}{dir, made}
				if made {
					return a.show(shown, "made a repository at %s", escape(dir))
				}
				return a.show(shown, "there is a repository at %s", escape(dir))
			})
		},
	}
}
