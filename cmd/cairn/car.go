package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
	"github.com/spf13/cobra"
)

func (a *app) dagImportCommand() *cobra.Command {
	var alias string
	var noPin bool
	cmd := &cobra.Command{
		Use:   "import PATH…|-",
		Short: "Take in the blocks of CARs",
		Long: `Takes in the blocks of CARs, of version 1 or 2, each verified, and prints the
CARs' roots. The roots are kept: each gets the alias pin/CID, or that of
--alias. When the command ends with status 0, all is on disk; when it ends
otherwise, nothing is kept. A CAR need not hold the whole of its DAGs.`,
		Args: arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if alias != "" && noPin {
				return usageErrorf("dag import: --alias and --no-pin contradict each other")
			}
			return a.withRepo(cmd.Context(), func(s repo) error {
				return a.dagImport(cmd.Context(), s, args, alias, noPin)
			})
		},
	}
	cmd.Flags().StringVar(&alias, "alias", "", "keep it under this `name`, instead of pin/CID")
	cmd.Flags().BoolVar(&noPin, "no-pin", false, "set no alias: it stays until the space is needed")
	return cmd
}

func (a *app) dagImport(ctx context.Context, s repo, paths []string, alias string, noPin bool) error {
	batch := s.Batch()
	defer batch.Discard()
	var read atomic.Int64
	total := sizeOfFiles(paths)
	stop := a.progress("importing", func() (int64, int64) { return read.Load(), total })
	defer stop()
	var roots []cid.Cid
	for _, path := range paths {
		found, err := a.importCAR(ctx, batch, path, &read)
		if err != nil {
			return fmt.Errorf("dag import %s: %w", path, err)
		}
		roots = append(roots, found...)
	}
	if alias != "" && len(roots) != 1 {
		return usageErrorf("dag import: --alias names one root, got %d", len(roots))
	}
	for _, c := range roots {
		switch {
		case alias != "":
			batch.Alias(alias, c, store.AliasOptions{})
		case !noPin:
			batch.Alias(cairn.PinName(c), c, store.AliasOptions{})
		}
	}
	if err := batch.Commit(ctx); err != nil {
		return fmt.Errorf("dag import: %w", err)
	}
	stop()
	if len(roots) == 0 {
		a.remark("no roots: the blocks are here, but nothing keeps them")
	}
	for _, c := range roots {
		missing, err := a.countMissing(ctx, s, c)
		if err != nil {
			return fmt.Errorf("dag import: %w", err)
		}
		err = a.show(struct {
			CID     string `json:"cid"`
			Missing int    `json:"missing"`
		}{c.String(), missing}, "%s", c)
		if err != nil {
			return err
		}
	}
	return nil
}

// sizeOfFiles returns the total size of files, 0 if it isn't known.
func sizeOfFiles(paths []string) (total int64) {
	for _, path := range paths {
		info, err := os.Stat(path)
		if path == "-" || err != nil || !info.Mode().IsRegular() {
			return 0
		}
		total += info.Size()
	}
	return total
}

// importCAR puts the blocks of a CAR and returns its roots.
func (a *app) importCAR(ctx context.Context, put block.Putter, path string, read *atomic.Int64) ([]cid.Cid, error) {
	f, err := a.open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return cairn.PutCAR(ctx, put, countingReader{f, read})
}

func (a *app) dagExportCommand() *cobra.Command {
	var output string
	var overwrite bool
	var version int
	cmd := &cobra.Command{
		Use:   "export CID",
		Short: "Print a DAG as a CAR, depth first",
		Long: `Writes the DAG below CID as a CAR, depth first, each block once: to stdout, or to
a file with -o. Version 2 has an index behind the blocks, and goes to a file
only. A block that isn't here is an error, never a short file.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: a.completeRef(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case version != 1 && version != 2:
				return usageErrorf("dag export: there is no version %d of CAR, only 1 and 2", version)
			case version == 2 && output == "":
				return usageErrorf("dag export: version 2 needs a file: name it with -o")
			}
			if output == "" && a.outTerminal {
				return withHint(errors.New("dag export: a CAR is not for a terminal"), "write it to a file with -o, or into a pipe")
			}
			return a.withRepo(cmd.Context(), func(s repo) error {
				var err error
				if output == "" {
					err = a.dagExport(cmd.Context(), s, args[0], nil, a.out)
				} else {
					err = writeFile(output, overwrite, 0o644, func(f *os.File) error {
						if version == 2 {
							return a.dagExport(cmd.Context(), s, args[0], f, nil)
						}
						return a.dagExport(cmd.Context(), s, args[0], nil, f)
					})
				}
				if errors.Is(err, fs.ErrExist) {
					err = withHint(err, "name another file, or say --overwrite")
				}
				if err != nil {
					return fmt.Errorf("dag export %s: %w", args[0], err)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to this `file`, which is there whole or not at all")
	cmd.Flags().IntVar(&version, "car-version", 1, "the `version` of the CAR: 1, or 2 with an index")
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "put it in the place of a file that is there")
	return cmd
}

// dagExport writes a CAR of version 2 to file, or one of version 1 to w.
func (a *app) dagExport(ctx context.Context, s repo, name string, file io.WriteSeeker, w io.Writer) error {
	root, err := resolve(ctx, s, name)
	if err != nil {
		return err
	}
	var written atomic.Int64
	defer a.progress("exporting", func() (int64, int64) { return written.Load(), 0 })()
	if file != nil {
		blocks, err := s.ReadDAG(ctx, root)
		if err != nil {
			return err
		}
		defer blocks.Close()
		return cairn.ExportCARv2(ctx, blocks, countingSeeker{countingWriter{file, &written}, file}, root)
	}
	return control.ExportCAR.Do(ctx, s.Target, control.RootArgs{Root: root}, countingWriter{w, &written}, nil)
}
