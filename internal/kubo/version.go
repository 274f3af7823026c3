package kubo

import (
	"runtime"

	"github.com/cairn-ipfs/cairn/internal/httpapi"
)

// A versionShape describes the program.
type versionShape struct {
	Version, Commit string
	Repo            string // the repository's format
	System, Golang  string
}

func (c *call) version() error {
	return c.Value(versionShape{c.config.Version, c.config.Commit, repoVersion, runtime.GOARCH + "/" + runtime.GOOS, runtime.Version()})
}

func (c *call) shutdown() error {
	if c.config.Shutdown == nil {
		return httpapi.Forbidden("shutdown: this daemon can't be ended from here")
	}
	c.config.Shutdown()
	return nil
}
