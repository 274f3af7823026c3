package rpc

import (
	"context"
	"path/filepath"
)

func (c *call) backup() error {
	if !filepath.IsAbs(c.args[0]) {
		return badRequest("backup: %q is no absolute path", c.args[0])
	}
	return c.node.Store().Backup(c.ctx, c.args[0])
}

// Backup copies the daemon's repository to dir, an absolute path. Over TCP it is
// refused: dir is on the daemon's disk.
func (c *Client) Backup(ctx context.Context, dir string) error {
	return c.call(ctx, request{verb: "cairn/backup", args: []string{dir}}, nil)
}
