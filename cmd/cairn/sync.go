package main

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/spf13/cobra"
)

func (a *app) syncCommand() *cobra.Command {
	var o control.SyncArgs
	cmd := &cobra.Command{
		Use:   "sync CID",
		Short: "Get a DAG from whoever has it, and keep it",
		Long: `Gets what is missing of the DAG below CID, from connected peers, from whoever is
found to have it, and from those that --from names: peers, by an address that
ends with their id, or gateways, by URL.
Every block is checked. When the command ends with status 0, all of it is here
and on disk, and kept, under the alias pin/CID, or that of --alias. What came
before an error or an interruption stays: run it again, and it goes on.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: a.completeRef(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Alias != "" && o.NoPin {
				return usageErrorf("sync: --alias and --no-pin contradict each other")
			}
			if o.OnlyFrom && len(o.From) == 0 {
				return usageErrorf("sync: --only-from needs --from")
			}
			return a.withRepo(cmd.Context(), func(s repo) error {
				r, err := resolveRefAs(cmd.Context(), s, args[0], cairn.ResolveOptions{Latest: true})
				if err != nil {
					return fmt.Errorf("sync: %w", err)
				}
				if r.path != "" {
					return usageErrorf("sync: takes a CID, and no path below it")
				}
				o.Root = r.root
				return a.sync(cmd.Context(), s, o)
			})
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&o.From, "from", nil, "ask this peer or gateway, by its `address` (may be repeated)")
	fl.BoolVar(&o.OnlyFrom, "only-from", false, "ask nobody else")
	fl.StringVar(&o.Alias, "alias", "", "keep it under this `name`, instead of pin/CID")
	fl.BoolVar(&o.NoPin, "no-pin", false, "set no alias: it stays until the space is needed")
	return cmd
}

func (a *app) sync(ctx context.Context, s repo, o control.SyncArgs) error {
	var bytes, total atomic.Int64
	stop := func() {}
	if !a.json {
		stop = a.progress("syncing", func() (int64, int64) { return bytes.Load(), total.Load() })
	}
	defer stop()
	var last cairn.SyncProgress
	for p, err := range control.Sync.Do(ctx, s.Target, o) {
		if err != nil {
			stop()
			for _, source := range last.Sources {
				if source.Err != nil {
					a.remark("%s: %s", escape(source.Name), escape(source.Err.Error()))
				}
			}
			return err // which says "sync CID: …"
		}
		last = p
		bytes.Store(p.Bytes)
		total.Store(0)
		if p.Left > 0 {
			total.Store(p.Bytes + int64(p.Rate*p.Left.Seconds()))
		}
		if a.json {
			shown := struct {
				CID string `json:"cid"`
				cairn.SyncProgress
			}{o.Root.String(), p}
			if err := a.show(shown, ""); err != nil {
				return err
			}
			if err := a.out.Flush(); err != nil { // a reader may be waiting
				return fmt.Errorf("write to stdout: %w", err)
			}
		}
	}
	stop()
	if a.json {
		return nil
	}
	return a.show(nil, "synced %s: %d blocks, %s", o.Root, last.Blocks, formatSize(last.Bytes))
}
