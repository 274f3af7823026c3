package kubo

import (
	"fmt"

	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/store"
)

// repoGC evicts all garbage. Unlike Kubo, it doesn't list the blocks.
func (c *call) repoGC() error {
	_, err := c.node.Store().Evict(c.Context(), store.EvictOptions{})
	return c.EndList(err)
}

// repoVersion is the version of the repository's format. Kubo's are plain numbers.
const repoVersion = "cairn@1"

func (c *call) repoVersion() error { return c.Value(struct{ Version string }{repoVersion}) }

func (c *call) repoStat() error {
	st, err := c.node.Store().Stats(c.Context())
	if err != nil {
		return err
	}
	return c.Value(struct {
		RepoSize, StorageMax uint64
		NumObjects           int64
		RepoPath, Version    string
	}{
		uint64(st.PackBytes + st.IndexBytes), uint64(st.PackBytes+st.IndexBytes) + st.FreeBytes,
		st.LiveBlocks + st.CachedBlocks, c.node.Store().Dir(), repoVersion,
	})
}

func (c *call) repoVerify() error {
	type progress struct {
		Msg      string
		Progress int64
	}
	report, err := c.node.Store().Verify(c.Context(), store.VerifyOptions{
		Data: true, Repair: c.Flag("drop", false) || c.Flag("heal", false),
		Progress: httpapi.Pace(func(done, _ int64) { _ = c.Line(progress{"", done}) }),
	})
	if err != nil {
		return err
	}
	for _, k := range report.Damaged {
		if err := c.Item(progress{"block " + k.String() + " was corrupt", report.Bytes}); err != nil {
			return err
		}
	}
	for _, w := range report.Wrong {
		if err := c.Item(progress{w, report.Bytes}); err != nil {
			return err
		}
	}
	if !report.OK() && !report.Repaired {
		return fmt.Errorf("verify: %d blocks are damaged, %d facts of the index wrong", report.DamagedBlocks, report.WrongFacts)
	}
	return c.Item(progress{"verify complete, all blocks validated.", report.Bytes})
}
