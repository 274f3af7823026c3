package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/spf13/cobra"
)

func (a *app) getCommand() *cobra.Command {
	var output string
	var overwrite bool
	cmd := &cobra.Command{
		Use:   "get CID",
		Short: "Write a file or a directory to disk",
		Long: `Writes the file, symlink or directory that CID names to disk: to the path
that -o says, or in the current directory, under the last part of the path or
the CID.

What is there already stays, unless --overwrite is given: then files take the
place of files, and directories are put together. A file has its name only once
it is whole.`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd.Context(), func(s *store.Store) error {
				if err := a.get(cmd.Context(), s, args[0], output, overwrite); err != nil {
					return fmt.Errorf("get %s: %w", args[0], err)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to this `path`")
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "put files in the place of those that are there")
	return cmd
}

func (a *app) get(ctx context.Context, s *store.Store, name, output string, overwrite bool) error {
	c, err := find(ctx, s, name)
	if err != nil {
		return err
	}
	if output == "" {
		if output = path.Base(path.Clean("/" + name)); output == "/" {
			output = c.String()
		}
	}
	var done unixfs.Progress
	stop := a.progress("writing", func() (int64, int64) { return done.Bytes.Load(), 0 })
	err = unixfs.Export(ctx, s, c, output, unixfs.ExportOptions{Overwrite: overwrite, Progress: &done})
	stop()
	if errors.Is(err, fs.ErrExist) {
		return hinted(err, "name another path with -o, or say --overwrite")
	}
	if err != nil {
		return err
	}
	return a.show(struct {
		CID   string `json:"cid"`
		Path  string `json:"path"`
		Files int64  `json:"files"`
		Size  int64  `json:"size"`
	}{c.String(), output, done.Files.Load(), done.Bytes.Load()}, "%s", printable(output))
}
