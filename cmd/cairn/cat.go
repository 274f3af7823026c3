package main

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/spf13/cobra"
)

func (a *app) catCommand() *cobra.Command {
	var offset, length sizeFlag
	cmd := &cobra.Command{
		Use:               "cat CID…",
		Short:             "Print files",
		Args:              arguments(1, -1),
		ValidArgsFunction: a.completeRef(-1),
		RunE: func(cmd *cobra.Command, args []string) error {
			fl := cmd.Flags()
			part := fl.Changed("offset") || fl.Changed("length")
			if part && len(args) > 1 {
				return usageErrorf("cat: --offset and --length are for one file, got %d", len(args))
			}
			var most *int64
			if fl.Changed("length") {
				most = (*int64)(&length)
			}
			return a.withRepo(cmd.Context(), func(s repo) error {
				for _, name := range args {
					if err := a.cat(cmd.Context(), s, name, int64(offset), most); err != nil {
						return fmt.Errorf("cat %s: %w", name, err)
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().Var(&offset, "offset", "begin after so many bytes")
	cmd.Flags().Var(&length, "length", "print so many bytes at most")
	cmd.Flags().Lookup("length").DefValue = "0B" // pflag doesn't print this as a default
	return cmd
}

// cat prints a file from offset on; without a length to the end.
func (a *app) cat(ctx context.Context, s repo, name string, offset int64, length *int64) error {
	c, err := resolve(ctx, s, name)
	if err != nil {
		return err
	}
	var written, total atomic.Int64
	if !a.outTerminal {
		defer a.progress("reading", func() (int64, int64) { return written.Load(), total.Load() })()
	}
	part := control.CatArgs{CID: c, Offset: offset, Length: length}
	return control.Cat.Do(ctx, s.Target, part, countingWriter{a.out, &written}, total.Store)
}
