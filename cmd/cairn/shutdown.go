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

// shutdownPoll is how often shutdown checks whether the daemon has ended.
const shutdownPoll = 10 * time.Millisecond

// maxShutdown is how long a daemon may take to end: it writes what it still
// holds, maybe to a slow disk.
const maxShutdown = 30 * time.Second

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
			// The owner file names the process that has the repository open. A new
			// daemon changes it. The file of a daemon elsewhere isn't visible.
			owner := filepath.Join(d.dir, "owner")
			before, _ := os.ReadFile(owner)
			if err := d.Shutdown(ctx); err != nil {
				return fmt.Errorf("shutdown: %w", err)
			}
			late := time.After(maxShutdown)
			for d.dir != "" {
				now, err := os.ReadFile(owner)
				if errors.Is(err, fs.ErrNotExist) || err == nil && before != nil && !bytes.Equal(now, before) {
					return nil
				}
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-late:
					return fmt.Errorf("shutdown: the daemon still has the repository open after %s", maxShutdown)
				case <-time.After(shutdownPoll):
				}
			}
			return nil
		},
	}
}
