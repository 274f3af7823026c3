package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/spf13/cobra"
)

func (a *app) statCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stat CID…",
		Short: "Tell what a CID names: a file or directory, its size, what is here of it",
		Long: `Tells what its first block says of what CID names, and how many blocks of it are
missing here. cairn dag stat counts blocks; cairn cid tells what the CID itself
says.`,
		Args:              arguments(1, -1),
		ValidArgsFunction: a.completeRef(-1),
		RunE: a.onRepo(func(ctx context.Context, s repo, args []string) error {
			for i, name := range args {
				if i > 0 && !a.json {
					fmt.Fprintln(a.out)
				}
				if err := a.stat(ctx, s, name); err != nil {
					return fmt.Errorf("stat %s: %w", name, err)
				}
			}
			return nil
		}),
	}
}

// A shownStat is the result of stat, in JSON.
type shownStat struct {
	CID       string `json:"cid"`
	Type      string `json:"type"` // file, directory, symlink, or node
	Size      int64  `json:"size"` // of a file's content
	Mode      string `json:"mode,omitempty"`
	Modified  string `json:"modified,omitempty"`
	Target    string `json:"target,omitempty"`
	Codec     string `json:"codec"`
	BlockSize int    `json:"blockSize"`
	Links     int    `json:"links"`
	Missing   int    `json:"missing"`
}

func (a *app) stat(ctx context.Context, s repo, name string) error {
	c, err := resolve(ctx, s, name)
	if err != nil {
		return err
	}
	b, inlined := block.Inlined(c)
	if !inlined {
		if b, err = s.Get(ctx, c); err != nil {
			return err
		}
	}
	shown := shownStat{CID: c.String(), Type: "node", Size: int64(b.Size()), Codec: codeName(c.Type()), BlockSize: b.Size()}
	info, err := unixfs.Stat(ctx, s, c)
	switch {
	case err == nil:
		shown.Type, shown.Size, shown.Target = strings.ToLower(info.Type.String()), info.Size, info.Target
		if info.Mode != 0 {
			shown.Mode = fmt.Sprintf("%04o", info.Mode)
		}
		if !info.Modified.IsZero() {
			shown.Modified = info.Modified.UTC().Format(time.RFC3339Nano)
		}
	case !errors.Is(err, block.ErrUnknownCodec) && !errors.Is(err, block.ErrMalformed):
		return err
	}
	links, err := dag.Links(b)
	if err != nil && !errors.Is(err, block.ErrUnknownCodec) {
		return err
	}
	shown.Links = len(links)
	for _, err := range control.ListMissing.Do(ctx, s.Target, control.RootArgs{Root: c}) {
		if err != nil {
			return err
		}
		shown.Missing++
	}
	if a.json {
		return a.show(shown, "")
	}
	return a.showTable(8, [][2]string{
		{"cid", shown.CID},
		{"type", shown.Type},
		{"size", fmt.Sprintf("%s (%d bytes)", formatSize(shown.Size), shown.Size)},
		{"mode", shown.Mode},
		{"modified", shown.Modified},
		{"target", shown.Target},
		{"block", fmt.Sprintf("%s, %d bytes, %d links", shown.Codec, shown.BlockSize, shown.Links)},
		{"missing", fmt.Sprintf("%d blocks", shown.Missing)},
	})
}
