package main

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/cairn-ipfs/cairn/store"
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
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withRepo(cmd.Context(), func(s repo) error {
				var read, size atomic.Int64
				stop := a.progress("verifying", func() (int64, int64) { return read.Load(), size.Load() })
				defer stop()
				for e, err := range control.Verify.Do(cmd.Context(), s.Target, store.VerifyOptions{Data: !onlyIndex, Repair: repair}) {
					switch {
					case err != nil:
						return fmt.Errorf("verify: %w", err)
					case e.Report != nil:
						stop()
						return a.reported(e.Report)
					}
					read.Store(e.Done)
					size.Store(e.Total)
				}
				return errors.New("verify: the daemon sent no report")
			})
		},
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "put right what is wrong")
	cmd.Flags().BoolVar(&onlyIndex, "only-index", false, "check the index, and read no blocks")
	return cmd
}

// reported prints what a verification found, and fails if that was wrong and
// still is.
func (a *app) reported(r *store.Report) error {
	shown := struct {
		OK            bool     `json:"ok"`
		Blocks        int64    `json:"blocks"`
		Bytes         int64    `json:"bytes"`
		Damaged       []string `json:"damaged"`
		DamagedBlocks int64    `json:"damagedBlocks"`
		Wrong         []string `json:"wrong"`
		WrongFacts    int64    `json:"wrongFacts"`
		Repaired      bool     `json:"repaired"`
	}{r.OK(), r.Blocks, r.Bytes, []string{}, r.DamagedBlocks, append([]string{}, r.Wrong...), r.WrongFacts, r.Repaired}
	for _, c := range r.Damaged {
		shown.Damaged = append(shown.Damaged, c.String())
	}
	if a.json {
		if err := a.show(shown, ""); err != nil {
			return err
		}
	} else {
		for _, c := range shown.Damaged {
			fmt.Fprintf(a.out, "damaged: %s\n", c)
		}
		for _, w := range shown.Wrong {
			fmt.Fprintf(a.out, "wrong: %s\n", printable(w))
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
