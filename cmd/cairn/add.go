package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/ipfs/go-cid"
	"github.com/spf13/cobra"
)

// addFlags are the flags of the command add.
type addFlags struct {
	recursive, onlyRoots, onlyHash, wrap bool
	chunker                              string
	cairn.AddOptions
}

func (a *app) addCommand() *cobra.Command {
	var f addFlags
	cmd := &cobra.Command{
		Use:   "add PATH…|-",
		Short: "Add files and directories",
		Long: `Adds files, and directories with -r, and prints their CIDs. "-" is stdin.

What is added is kept: each PATH gets the alias pin/CID, or that of --alias.
When the command ends with status 0, all of it is on disk and survives a crash;
when it ends otherwise, none of it is kept.

Files that have not changed since they were last added, by their size, times
and inode, are not read again, unless --rehash is given.

Patterns of --exclude, --include and --ignore-file are those of gitignore,
relative to PATH.`,
		Args: arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.add(cmd.Context(), args, f)
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.recursive, "recursive", "r", false, "add directories with all that is in them")
	fl.BoolVarP(&f.onlyRoots, "only-roots", "Q", false, "print nothing but the CID of each PATH")
	fl.BoolVarP(&f.onlyHash, "only-hash", "n", false, "print CIDs, and add nothing")
	fl.BoolVarP(&f.wrap, "wrap", "w", false, "put each PATH into a directory, which keeps its name")
	fl.BoolVar(&f.NoCopy, "nocopy", false, "leave the bytes in the files, which must stay as they are, and keep no second copy")
	fl.BoolVar(&f.Rehash, "rehash", false, "read all files, also those that seem unchanged")
	fl.StringVar(&f.Profile, "profile", "", "how files become blocks: unixfs-v1-2025 or unixfs-v0-2015 (key add.profile)")
	fl.StringVar(&f.chunker, "chunker", "", "cut files into chunks so: a `size` (1MiB, or size-1048576), rabin-MIN-AVG-MAX, or buzhash")
	fl.BoolVar(&f.Trickle, "trickle", false, "arrange chunks so that the beginning of a file is found at once")
	fl.StringVar(&f.Alias, "alias", "", "keep it under this `name`, instead of pin/CID")
	fl.BoolVar(&f.NoPin, "no-pin", false, "set no alias: it stays until the space is needed")
	fl.StringArrayVar(&f.Exclude, "exclude", nil, "leave out what matches this `pattern` (may be repeated)")
	fl.StringArrayVar(&f.Include, "include", nil, "leave out what matches no such `pattern` (may be repeated)")
	fl.StringArrayVar(&f.IgnoreFiles, "ignore-file", nil, "files of this `name` say what to leave out of their directory (may be repeated)")
	fl.BoolVar(&f.SkipHidden, "skip-hidden", false, "leave out of directories what begins with a dot")
	fl.BoolVar(&f.KeepMode, "preserve-mode", false, "keep permissions (this changes CIDs)")
	fl.BoolVar(&f.KeepTimes, "preserve-mtime", false, "keep modification times (this changes CIDs)")
	completeFlag(cmd, "profile", "unixfs-v1-2025", "unixfs-v0-2015")
	completeFlag(cmd, "chunker", "1MiB", "256KiB", "rabin", "buzhash")
	return cmd
}

func (f *addFlags) check(paths []string) error {
	switch {
	case f.Alias != "" && f.NoPin:
		return usageErrorf("add: --alias and --no-pin contradict each other")
	case f.Alias != "" && f.onlyHash:
		return usageErrorf("add: --alias and --only-hash contradict each other")
	case f.Alias != "" && len(paths) > 1:
		return usageErrorf("add: --alias names one PATH, got %d", len(paths))
	}
	stdin := 0
	for _, p := range paths {
		if p == "-" {
			stdin++
		}
	}
	if stdin > 1 {
		return usageErrorf("add: stdin can be read once")
	}
	if stdin > 0 && f.NoCopy {
		return usageErrorf("add: --nocopy leaves the bytes where they are, and stdin is gone afterwards")
	}
	if stdin > 0 && f.wrap {
		return usageErrorf("add: --wrap keeps a name, and stdin has none")
	}
	return nil
}

// addOptions returns the options that the flags and the configuration set.
func (a *app) addOptions(f addFlags) cairn.AddOptions {
	o := f.AddOptions
	if o.Profile == "" {
		o.Profile = a.set.text("add.profile")
	}
	o.Chunker = f.chunker
	if size, err := parseSize(f.chunker); err == nil {
		o.Chunker = fmt.Sprintf("size-%d", size)
	}
	return o
}

func (a *app) add(ctx context.Context, paths []string, f addFlags) error {
	if err := f.check(paths); err != nil {
		return err
	}
	ad := &addRun{app: a, flags: f, paths: paths}
	r := control.AddRequest{Wrap: f.wrap, Options: a.addOptions(f), Entry: ad.entry}
	if f.onlyRoots {
		r.Entry = nil
	}
	var done cairn.AddProgress
	if a.errTerminal && !a.quiet {
		r.Options.Progress = &done
	}
	for _, p := range paths {
		if p == "-" {
			r.Items = append(r.Items, control.AddItem{In: a.stdin(ctx)})
			continue
		}
		r.Items = append(r.Items, control.AddItem{Path: p})
	}
	// Invalid options are reported before the repository is opened.
	if _, err := cairn.NewHasher(r.Options); err != nil {
		return asUsageError(fmt.Errorf("add: %w", err))
	}
	total, err := checkPaths(paths, f.recursive)
	if err != nil {
		return err
	}
	stop := func() {}
	if !ad.printsEntries() {
		stop = a.progress("adding", func() (int64, int64) { return done.Bytes.Load(), total })
	}
	defer stop()
	if f.onlyHash {
		all, err := control.Hash(ctx, r)
		stop()
		return ad.finish(all, err)
	}
	return a.withRepo(ctx, func(s repo) error {
		// One batch: all is added, or nothing.
		all, err := control.AddAll(ctx, s.Target, r)
		stop()
		return ad.finish(all, err)
	})
}

// checkPaths returns an error for paths that can't be added, and the files' total
// size: 0 if that takes a walk.
func checkPaths(paths []string, recursive bool) (total int64, err error) {
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
			return 0, withHint(fmt.Errorf("add %s: it is a directory", p), "add it with all that is in it with -r")
		}
		known = known && !info.IsDir()
		total += info.Size()
	}
	if !known {
		return 0, nil
	}
	return total, nil
}

// An addRun is one run of the command add.
type addRun struct {
	*app
	flags addFlags
	paths []string
}

// printsEntries reports whether the entries of directories are printed to the
// terminal: they show progress, and a bar would disturb them.
func (ad *addRun) printsEntries() bool {
	return ad.flags.recursive && !ad.flags.onlyRoots && ad.outTerminal
}

// entry prints an entry below a path that is added. The roots follow when they
// are kept.
func (ad *addRun) entry(item int, e cairn.AddEntry) error {
	if e.Path == "." {
		return nil
	}
	name := e.Path
	if !ad.flags.wrap {
		name = path.Join(ad.name(item), e.Path)
	}
	return ad.print(name, e.CID, e.Size)
}

// name returns the name of an item, empty for stdin.
func (ad *addRun) name(item int) string {
	p := ad.paths[item]
	if p == "-" {
		return ""
	}
	if abs, err := filepath.Abs(p); err == nil {
		p = abs
	}
	return filepath.Base(p)
}

// finish prints the roots, or returns the error of an item.
func (ad *addRun) finish(all []cairn.AddResult, err error) error {
	var of *control.AddError
	switch {
	case errors.As(err, &of) && ad.paths[of.Item] == "-":
		return fmt.Errorf("add stdin: %w", err)
	case errors.As(err, &of):
		return fmt.Errorf("add %s: %w", ad.paths[of.Item], err)
	case err != nil:
		return fmt.Errorf("add: %w", err)
	}
	for i, added := range all {
		name := ad.name(i)
		if ad.flags.wrap {
			name = "" // the directory around it has none
		}
		if err := ad.print(name, added.CID, added.Size); err != nil {
			return err
		}
	}
	return nil
}

func (ad *addRun) print(name string, c cid.Cid, size int64) error {
	shown := struct {
		CID  string `json:"cid"`
		Name string `json:"name"`
		Size int64  `json:"size"`
	}{c.String(), name, size}
	switch {
	case ad.flags.onlyRoots || ad.quiet:
		return ad.show(shown, "%s", shown.CID)
	case name == "":
		return ad.show(shown, "added %s", shown.CID)
	}
	return ad.show(shown, "added %s %s", shown.CID, escape(name))
}
