package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/spf13/cobra"
)

// leaving is how often shutdown looks whether the daemon has left.
const leaving = 10 * time.Millisecond

// leavingAtMost is how long that may take: what a closing daemon takes, and the
// writing of what it still holds on a slow disk.
const leavingAtMost = 30 * time.Second

func (a *app) shutdownCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "shutdown",
		Short: "End the daemon, and wait until it has closed the repository",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			d, err := a.daemon()
			if err != nil {
				return err
			}
			if d == nil {
				return fmt.Errorf("shutdown: %w for this repository", control.ErrNoDaemon)
			}
			defer d.Close()
			// Who has a repository open says so in its owner file: another process
			// soon, if somebody starts the daemon again. That of a daemon elsewhere
			// can't be seen.
			owner := filepath.Join(d.dir, "owner")
			before, _ := os.ReadFile(owner)
			if err := d.Shutdown(ctx); err != nil {
				return fmt.Errorf("shutdown: %w", err)
			}
			late := time.After(leavingAtMost)
			for d.dir != "" {
				now, err := os.ReadFile(owner)
				if errors.Is(err, fs.ErrNotExist) || err == nil && before != nil && !bytes.Equal(now, before) {
					return nil
				}
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-late:
					return fmt.Errorf("shutdown: the daemon still has the repository open after %s", leavingAtMost)
				case <-time.After(leaving):
				}
			}
			return nil
		},
	}
}
