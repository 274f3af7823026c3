package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
	"github.com/spf13/cobra"
)

func (a *app) verifyCommand() *cobra.Command {
	var repair, onlyIndex bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read and check all that is here",
		Long: `Reads every block and hashes it, and checks the index against what it sums up.
It ends with status 4 if something is wrong. With --repair it puts the index
right, and gives up blocks whose bytes have gone bad, so that they can be had
again; then it ends with status 0.`,
		Args: arguments(0, 0),
		RunE: a.onRepo(func(ctx context.Context, s repo, _ []string) error {
			var read, size atomic.Int64
			stop := a.progress("verifying", func() (int64, int64) { return read.Load(), size.Load() })
			defer stop()
			for e, err := range control.Verify.Do(ctx, s.Target, store.VerifyOptions{Data: !onlyIndex, Repair: repair}) {
				switch {
				case err != nil:
					return fmt.Errorf("verify: %w", err)
				case e.Report != nil:
					stop()
					return a.showReport(e.Report)
				}
				read.Store(e.Done)
				size.Store(e.Total)
			}
			return errors.New("verify: the daemon sent no report")
		}),
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "put right what is wrong")
	cmd.Flags().BoolVar(&onlyIndex, "only-index", false, "check the index, and read no blocks")
	return cmd
}

// showReport prints the report of a verification. Errors that were found and not
// repaired are its error.
func (a *app) showReport(r *store.Report) error {
	if a.json {
		shown := struct {
			OK bool `json:"ok"`
			store.Report
		}{r.OK(), *r}
		// Empty lists, not null.
		shown.Damaged = append([]cid.Cid{}, r.Damaged...)
		shown.Wrong = append([]string{}, r.Wrong...)
		if err := a.show(shown, ""); err != nil {
			return err
		}
	} else {
		for _, c := range r.Damaged {
			fmt.Fprintf(a.out, "damaged: %s\n", c)
		}
		for _, w := range r.Wrong {
			fmt.Fprintf(a.out, "wrong: %s\n", escape(w))
		}
		state := "all is well"
		if !r.OK() {
			state = fmt.Sprintf("%d blocks are damaged, %d facts of the index wrong", r.DamagedBlocks, r.WrongFacts)
			if r.Repaired {
				state += "; repaired"
			}
		}
		if err := a.show(nil, "%d blocks, %s read: %s", r.Blocks, formatSize(r.Bytes), state); err != nil {
			return err
		}
	}
	if !r.OK() && !r.Repaired {
		return fmt.Errorf("verify: %w", errFoundWrong)
	}
	return nil
}
