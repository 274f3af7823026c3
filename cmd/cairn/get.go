package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/ipfs/go-cid"
	"github.com/spf13/cobra"
)

func (a *app) getCommand() *cobra.Command {
	var output string
	var overwrite, archive bool
	cmd := &cobra.Command{
		Use:   "get CID",
		Short: "Write a file or a directory to disk",
		Long: `Writes the file, symlink or directory that CID names to disk: to the path
that -o says, or in the current directory, under the last part of the path or
the CID.

What is there already stays, unless --overwrite is given: then files take the
place of files, and directories are put together. A file has its name only once
it is whole.

With --archive it writes a tar archive, and -o - means stdout.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: a.completeRef(1),
		RunE: a.onRepo(func(ctx context.Context, s repo, args []string) error {
			get := a.get
			if archive {
				get = a.getArchive
			}
			err := get(ctx, s, args[0], output, overwrite)
			if errors.Is(err, fs.ErrExist) {
				err = withHint(err, "name another path with -o, or say --overwrite")
			}
			if err != nil {
				return fmt.Errorf("get %s: %w", args[0], err)
			}
			return nil
		}),
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to this `path`")
	cmd.Flags().BoolVar(&archive, "archive", false, "write a tar archive")
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "put files in the place of those that are there")
	return cmd
}

func (a *app) get(ctx context.Context, s repo, name, output string, overwrite bool) error {
	c, err := resolve(ctx, s, name)
	if err != nil {
		return err
	}
	if output == "" {
		output = outputName(name, c)
	}
	blocks, err := s.ReadDAG(ctx, c)
	if err != nil {
		return err
	}
	defer blocks.Close()
	var done unixfs.Progress
	stop := a.exportProgress(ctx, blocks, c, &done)
	err = unixfs.Export(ctx, blocks, c, output, unixfs.ExportOptions{Overwrite: overwrite, Progress: &done})
	stop()
	if err != nil {
		return err
	}
	return a.showWritten(c, output, &done)
}

// showWritten prints what was written.
func (a *app) showWritten(c cid.Cid, output string, done *unixfs.Progress) error {
	return a.show(struct {
		CID   string `json:"cid"`
		Path  string `json:"path"`
		Files int64  `json:"files"`
		Size  int64  `json:"size"`
	}{c.String(), output, done.Files.Load(), done.Bytes.Load()}, "%s", escape(output))
}

// outputName returns the file name for the content of a name, without -o.
func outputName(name string, c cid.Cid) string {
	if base := path.Base(path.Clean("/" + name)); base != "/" {
		return base
	}
	return c.String()
}

// exportProgress shows the progress of writing c. The total is known only for a
// file.
func (a *app) exportProgress(ctx context.Context, get block.Getter, c cid.Cid, done *unixfs.Progress) (stop func()) {
	total := int64(0)
	if info, err := unixfs.Stat(ctx, get, c); err == nil {
		total = info.Size
	}
	return a.progress("writing", func() (int64, int64) { return done.Bytes.Load(), total })
}

// getArchive writes a tar archive.
func (a *app) getArchive(ctx context.Context, s repo, name, output string, overwrite bool) error {
	c, err := resolve(ctx, s, name)
	if err != nil {
		return err
	}
	inside := outputName(name, c)
	var done unixfs.Progress
	write := func(w io.Writer) error {
		blocks, err := s.ReadDAG(ctx, c)
		if err != nil {
			return err
		}
		defer blocks.Close()
		defer a.exportProgress(ctx, blocks, c, &done)()
		return unixfs.ExportTar(ctx, blocks, c, inside, w, unixfs.ExportOptions{Progress: &done})
	}
	if output == "-" {
		if a.outTerminal {
			return withHint(errors.New("an archive is not for a terminal"), "write it to a file with -o, or into a pipe")
		}
		return write(a.out)
	}
	if output == "" {
		output = inside + ".tar"
	}
	if err := writeFile(output, overwrite, 0o644, func(f *os.File) error { return write(f) }); err != nil {
		return err
	}
	return a.showWritten(c, output, &done)
}
