package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
	"github.com/spf13/cobra"
)

// addFlags are the flags of add.
type addFlags struct {
	recursive, onlyRoots, onlyHash, noPin bool
	profile, chunker, alias               string
}

func (a *app) addCommand() *cobra.Command {
	var f addFlags
	cmd := &cobra.Command{
		Use:   "add PATH…|-",
		Short: "Add files and directories",
		Long: `Adds files, and directories with -r, and prints their CIDs. "-" is stdin.

What is added is kept: each PATH gets the alias pin/CID, or that of --alias.
When the command ends with status 0, all of it is on disk and survives a crash;
when it ends otherwise, none of it is kept.`,
		Args: arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.add(cmd.Context(), args, f)
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.recursive, "recursive", "r", false, "add directories with all that is in them")
	fl.BoolVarP(&f.onlyRoots, "only-roots", "Q", false, "print nothing but the CID of each PATH")
	fl.BoolVarP(&f.onlyHash, "only-hash", "n", false, "print CIDs, and add nothing")
	fl.StringVar(&f.profile, "profile", "", "how files become blocks: unixfs-v1-2025 or unixfs-v0-2015 (key add.profile)")
	fl.StringVar(&f.chunker, "chunker", "", "cut files into chunks so: a `size` (1MiB, or size-1048576), rabin-MIN-AVG-MAX, or buzhash")
	fl.StringVar(&f.alias, "alias", "", "keep it under this `name`, instead of pin/CID")
	fl.BoolVar(&f.noPin, "no-pin", false, "set no alias: it stays until the space is needed")
	return cmd
}

func (f *addFlags) check(paths []string) error {
	switch {
	case f.alias != "" && f.noPin:
		return conflict("add: --alias and --no-pin contradict each other")
	case f.alias != "" && f.onlyHash:
		return conflict("add: --alias and --only-hash contradict each other")
	case f.alias != "" && len(paths) > 1:
		return conflict("add: --alias names one PATH, got %d", len(paths))
	}
	stdin := 0
	for _, p := range paths {
		if p == "-" {
			stdin++
		}
	}
	if stdin > 1 {
		return conflict("add: stdin can be read once")
	}
	return nil
}

// chosenProfile is what --profile, --chunker and the configuration make.
func (a *app) chosenProfile(f addFlags) (unixfs.Profile, error) {
	name := f.profile
	if name == "" {
		name = a.set.text("add.profile")
	}
	p, err := unixfs.ProfileByName(name)
	if err != nil {
		return p, usage(fmt.Errorf("add: %w", err))
	}
	if f.chunker == "" {
		return p, nil
	}
	chunker := f.chunker
	if size, err := parseSize(chunker); err == nil {
		chunker = fmt.Sprintf("size-%d", size)
	}
	if err := p.SetChunker(chunker); err != nil {
		return p, usage(fmt.Errorf("add: %w", err))
	}
	return p, nil
}

func (a *app) add(ctx context.Context, paths []string, f addFlags) error {
	if err := f.check(paths); err != nil {
		return err
	}
	profile, err := a.chosenProfile(f)
	if err != nil {
		return err
	}
	total, err := sizeOf(paths, f.recursive)
	if err != nil {
		return err
	}
	ad := &adding{app: a, flags: f, progress: new(unixfs.Progress)}
	ad.options = unixfs.Options{Profile: profile, Progress: ad.progress}
	stop := func() {}
	if !ad.prints() {
		stop = a.progress("adding", func() (int64, int64) { return ad.progress.Bytes.Load(), total })
	}
	defer stop()
	if f.onlyHash {
		if err := ad.all(ctx, discard{}, paths); err != nil {
			return err
		}
		stop()
		return ad.printRoots()
	}
	return a.withStore(ctx, func(s *store.Store) error {
		// One batch for all: it is added whole, or not at all.
		batch := s.Batch()
		defer batch.Discard()
		if err := ad.all(ctx, batch.Borrow(), paths); err != nil {
			return err
		}
		for _, r := range ad.roots {
			switch {
			case f.alias != "":
				batch.Alias(f.alias, r.cid, store.AliasOptions{})
			case !f.noPin:
				batch.Alias(cairn.PinName(r.cid), r.cid, store.AliasOptions{})
			}
		}
		if err := batch.Commit(ctx); err != nil {
			return fmt.Errorf("add: %w", err)
		}
		stop()
		return ad.printRoots()
	})
}

// sizeOf is the size of all files named, 0 where that can't be told without
// walking. It also refuses what can't be added, before anything is.
func sizeOf(paths []string, recursive bool) (total int64, err error) {
	known := true
	for _, p := range paths {
		if p == "-" {
			known = false
			continue
		}
		info, err := os.Lstat(p)
		if err != nil {
			return 0, fmt.Errorf("add: %w", err)
		}
		if info.IsDir() && !recursive {
			return 0, hinted(fmt.Errorf("add %s: it is a directory", p), "add it with all that is in it with -r")
		}
		known = known && !info.IsDir()
		total += info.Size()
	}
	if !known {
		return 0, nil
	}
	return total, nil
}

// adding is one run of add.
type adding struct {
	*app
	flags    addFlags
	options  unixfs.Options
	progress *unixfs.Progress
	roots    []addedRoot
}

// prints tells whether lines about what is in directories go to the terminal,
// where they are progress enough, and a bar would be in their way.
func (ad *adding) prints() bool {
	return ad.flags.recursive && !ad.flags.onlyRoots && ad.outTerminal
}

type addedRoot struct {
	name string
	cid  cid.Cid
	size uint64
}

// all imports the paths.
func (ad *adding) all(ctx context.Context, put block.Putter, paths []string) error {
	for _, p := range paths {
		if p == "-" {
			r, err := unixfs.Import(ctx, put, ad.stdin(ctx), ad.options)
			if err != nil {
				return fmt.Errorf("add stdin: %w", err)
			}
			ad.roots = append(ad.roots, addedRoot{"", r.CID, r.Size})
			continue
		}
		name := rootName(p)
		o := ad.options
		var perr error
		o.Added = func(added unixfs.Added) {
			// The root is told of when it is kept.
			if added.Path != "." && !ad.flags.onlyRoots && perr == nil {
				perr = ad.print(addedRoot{path.Join(name, added.Path), added.CID, added.Size})
			}
		}
		r, err := unixfs.ImportPath(ctx, put, p, o)
		if err := errors.Join(err, perr); err != nil {
			return fmt.Errorf("add %s: %w", p, err)
		}
		ad.roots = append(ad.roots, addedRoot{name, r.CID, r.Size})
	}
	return nil
}

// rootName is what a path is called once added.
func rootName(p string) string {
	if abs, err := filepath.Abs(p); err == nil {
		p = abs
	}
	return filepath.Base(p)
}

func (ad *adding) printRoots() error {
	for _, r := range ad.roots {
		if err := ad.print(r); err != nil {
			return err
		}
	}
	return nil
}

func (ad *adding) print(r addedRoot) error {
	shown := struct {
		CID  string `json:"cid"`
		Name string `json:"name"`
		Size uint64 `json:"size"`
	}{r.cid.String(), r.name, r.size}
	switch {
	case ad.flags.onlyRoots || ad.quiet:
		return ad.show(shown, "%s", shown.CID)
	case r.name == "":
		return ad.show(shown, "added %s", shown.CID)
	}
	return ad.show(shown, "added %s %s", shown.CID, printable(r.name))
}

// discard is for add -n.
type discard struct{}

var _ unixfs.Releaser = discard{}

func (discard) Put(ctx context.Context, _ ...block.Block) error { return ctx.Err() }
func (discard) ReleasesBlocks() bool                            { return true }

// quoted is a name as messages have it.
func quoted(name string) string { return strconv.QuoteToGraphic(name) }
