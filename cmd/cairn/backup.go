package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/spf13/cobra"
)

func (a *app) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "backup DIR",
		Short: "Copy the repository, as it is now, to a new folder",
		Long: `Copies the repository to DIR, which must not exist. On the same disk, packs that
no longer change are linked, not copied. The copy is a repository:
cairn --repo DIR ls … reads it.`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return fmt.Errorf("backup: %w", err)
			}
			return a.withRepo(cmd.Context(), func(s repo) error {
				_, err := control.Backup.Do(cmd.Context(), s.Target, control.BackupArgs{Dir: dir})
				if errors.Is(err, fs.ErrExist) {
					err = withHint(err, "name a folder that doesn't exist yet")
				}
				if err != nil {
					return fmt.Errorf("backup: %w", err)
				}
				return a.show(struct {
					Path string `json:"path"`
				}{dir}, "copied to %s", escape(dir))
			})
		},
	}
}
