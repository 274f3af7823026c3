package control

import (
	"context"
	"iter"
	"path/filepath"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/store"
)

// A StatsResult is what a repository holds, and its folder at the daemon.
type StatsResult struct {
	Path string `json:"path"`
	store.Stats
}

// Stats counts what the repository holds.
var Stats = Call[struct{}, StatsResult]{
	Path: "stats",
	Run: func(ctx context.Context, n *cairn.Node, _ struct{}) (StatsResult, error) {
		st, err := n.Store().Stats(ctx)
		return StatsResult{n.Store().Dir(), st}, err
	},
}

// Evict removes garbage, as store.Store.Evict does.
var Evict = Call[store.EvictOptions, store.EvictResult]{
	Path: "gc",
	Run: func(ctx context.Context, n *cairn.Node, o store.EvictOptions) (store.EvictResult, error) {
		if o.Target < 0 {
			return store.EvictResult{}, httpapi.BadRequest("invalid target %d: want a size in bytes", o.Target)
		}
		return n.Store().Evict(ctx, o)
	},
}

// A VerifyEvent is the progress of a verification, in bytes, or its report, which
// comes last.
type VerifyEvent struct {
	Done   int64         `json:"done,omitempty"`
	Total  int64         `json:"total,omitempty"`
	Report *store.Report `json:"report,omitempty"`
}

// Verify checks the repository, as store.Store.Verify does.
var Verify = Stream[store.VerifyOptions, VerifyEvent]{
	Path: "verify",
	Run: func(ctx context.Context, n *cairn.Node, o store.VerifyOptions) iter.Seq2[VerifyEvent, error] {
		return gathered(ctx, func(ctx context.Context, emit func(VerifyEvent) bool) error {
			o.Progress = httpapi.Pace(func(done, total int64) { emit(VerifyEvent{Done: done, Total: total}) })
			report, err := n.Store().Verify(ctx, o)
			if err == nil {
				emit(VerifyEvent{Report: report})
			}
			return err
		})
	},
}

// BackupArgs name a folder that doesn't exist yet, by an absolute path on the
// daemon's disk.
type BackupArgs struct {
	Dir string `json:"path"`
}

// Backup copies the repository.
var Backup = Call[BackupArgs, struct{}]{
	Path:  "backup",
	Scope: httpapi.SameUser,
	Run: func(ctx context.Context, n *cairn.Node, a BackupArgs) (struct{}, error) {
		if !filepath.IsAbs(a.Dir) {
			return struct{}{}, httpapi.BadRequest("backup: %q is no absolute path", a.Dir)
		}
		return struct{}{}, n.Store().Backup(ctx, a.Dir)
	},
}

// Events yields what happens in the store, until the context ends.
var Events = Stream[struct{}, store.Event]{
	Path:         "events",
	Subscription: true,
	Run: func(ctx context.Context, n *cairn.Node, _ struct{}) iter.Seq2[store.Event, error] {
		return n.Events(ctx)
	},
}
