package rpc

import (
	"context"
	"fmt"

	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// repoGC evicts all garbage. Unlike Kubo, it doesn't say which blocks went.
func (c *call) repoGC() error {
	_, err := c.node.Store().Evict(c.ctx, store.EvictOptions{})
	return c.lines(err)
}

// repoVersion is that of the repository's format, Kubo's being other numbers.
const repoVersion = "cairn@1"

func (c *call) repoVersion() error { return c.value(struct{ Version string }{repoVersion}) }

func (c *call) repoStat() error {
	st, err := c.node.Store().Stats(c.ctx)
	if err != nil {
		return err
	}
	return c.value(struct {
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
	report, err := c.node.Store().Verify(c.ctx, store.VerifyOptions{
		Data: true, Repair: c.flag("drop", false) || c.flag("heal", false),
		Progress: paced(func(done, _ int64) { _ = c.line(progress{"", done}) }),
	})
	if err != nil {
		return err
	}
	for _, k := range report.Damaged {
		if err := c.item(progress{"block " + k.String() + " was corrupt", report.Bytes}); err != nil {
			return err
		}
	}
	for _, w := range report.Wrong {
		if err := c.item(progress{w, report.Bytes}); err != nil {
			return err
		}
	}
	if !report.OK() && !report.Repaired {
		return fmt.Errorf("verify: %d blocks are damaged, %d facts of the index wrong", report.DamagedBlocks, report.WrongFacts)
	}
	return c.item(progress{"verify complete, all blocks validated.", report.Bytes})
}

// A verifyShape is one line of verify's answer: how far it has come, or the end.
type verifyShape struct {
	Done   int64         `json:"done,omitempty"`
	Total  int64         `json:"total,omitempty"`
	Report *store.Report `json:"report,omitempty"`
	// Damaged are Report's, as text.
	Damaged []string `json:"damaged,omitempty"`
}

func (c *call) verify() error {
	o := store.VerifyOptions{Data: c.flag("data", true), Repair: c.flag("repair", false)}
	if c.bad != nil {
		return c.bad
	}
	o.Progress = paced(func(done, total int64) { _ = c.line(verifyShape{Done: done, Total: total}) })
	report, err := c.node.Store().Verify(c.ctx, o)
	if err != nil {
		return err
	}
	var damaged []string
	for _, k := range report.Damaged {
		damaged = append(damaged, k.String())
	}
	end := *report
	end.Damaged = nil
	return c.line(verifyShape{Report: &end, Damaged: damaged})
}

// Verify checks the daemon's repository, as store.Store.Verify does.
func (c *Client) Verify(ctx context.Context, o store.VerifyOptions) (*store.Report, error) {
	r := request{verb: "cairn/verify"}
	r.option("data", o.Data)
	r.option("repair", o.Repair)
	var report *store.Report
	for line, err := range values[verifyShape](ctx, c, r) {
		if err != nil {
			return nil, err
		}
		if line.Report == nil {
			if o.Progress != nil {
				o.Progress(line.Done, line.Total)
			}
			continue
		}
		report = line.Report
		for _, text := range line.Damaged {
			k, err := cid.Decode(text)
			if err != nil {
				return nil, fmt.Errorf("verify: read the daemon's report: %w", err)
			}
			report.Damaged = append(report.Damaged, k)
		}
	}
	if report == nil {
		return nil, fmt.Errorf("verify: the daemon gave no report")
	}
	return report, nil
}
