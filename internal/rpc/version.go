package rpc

import (
	"context"
	"runtime"
)

// A Version is what a program says of itself.
type Version struct {
	Version, Commit string
	Repo            string // of the repository's format
	System, Golang  string
}

func (c *call) version() error {
	config := c.server.config
	return c.value(Version{config.Version, config.Commit, repoVersion, runtime.GOARCH + "/" + runtime.GOOS, runtime.Version()})
}

// Version returns what the daemon is.
func (c *Client) Version(ctx context.Context) (v Version, err error) {
	err = c.call(ctx, request{verb: "version"}, &v)
	return v, err
}

func (c *call) shutdown() error {
	if c.server.config.Shutdown == nil {
		return forbidden("shutdown: this daemon can't be ended from here")
	}
	c.server.config.Shutdown()
	return nil
}

// Shutdown ends the daemon. It returns when the daemon has begun to close.
func (c *Client) Shutdown(ctx context.Context) error {
	return c.call(ctx, request{verb: "shutdown"}, nil)
}
