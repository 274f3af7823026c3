package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/store"
)

// program names the process to others who find the repository in use.
const program = "cairn"

// repoDir is the repository's folder.
func (a *app) repoDir() (string, error) {
	if a.repo != "" {
		return a.repo, nil
	}
	if dir, _ := a.env("CAIRN_PATH"); dir != "" {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", hinted(fmt.Errorf("find the repository: %w", err), "say where it is with --repo or $CAIRN_PATH")
	}
	return filepath.Join(home, ".cairn"), nil
}

// withNode opens the repository, making it where there is none, for as long as
// do runs.
func (a *app) withNode(ctx context.Context, do func(*cairn.Node) error) error {
	dir, err := a.usableDir()
	if err != nil {
		return err
	}
	o, err := a.storeOptions()
	if err != nil {
		return err
	}
	n, err := cairn.Open(ctx, cairn.Config{Dir: dir, Store: o})
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	err = do(n)
	if cerr := n.Close(); cerr != nil && err == nil {
		err = fmt.Errorf("close %s: %w", dir, cerr)
	}
	return err
}

// withStore is withNode for who needs no more than the store.
func (a *app) withStore(ctx context.Context, do func(*store.Store) error) error {
	return a.withNode(ctx, func(n *cairn.Node) error { return do(n.Store()) })
}

// usableDir is repoDir, if it is a repository or may become one.
func (a *app) usableDir() (string, error) {
	dir, err := a.repoDir()
	if err != nil {
		return "", err
	}
	return dir, checkDir(dir)
}

// ourFiles are what a folder may hold before it is a repository: what an
// interrupted making of one leaves, and the configuration.
var ourFiles = []string{"lock", "owner", "owner.new", "format.new", configFile}

// checkDir keeps a slip of the hand from filling somebody's folder with packs.
func checkDir(dir string) error {
	f, err := os.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open repository: %w", err)
	}
	defer f.Close()
	if _, err := os.Stat(filepath.Join(dir, "format")); err == nil {
		return nil
	}
	for {
		names, err := f.Readdirnames(64)
		for _, name := range names {
			// Of these the store says better what is wrong.
			if name == "index" || name == "packs" {
				return nil
			}
			if !slices.Contains(ourFiles, name) && !strings.HasPrefix(name, configFile) {
				return hinted(fmt.Errorf("open repository: %s is no repository, and not empty", dir),
					"name an empty folder or a new one with --repo")
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("open repository: %w", err)
		}
	}
}

func (a *app) storeOptions() (store.Options, error) {
	level, err := a.set.level("log.level")
	if err != nil {
		return store.Options{}, err
	}
	return store.Options{
		Program:   program,
		Logger:    slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level})),
		PackSize:  a.set.size("store.pack-size"),
		Target:    a.set.size("store.target"),
		Reserve:   a.set.size("store.reserve"),
		CacheSize: a.set.size("store.cache-size"),
		MaxCached: a.set.number("store.max-cached"),
	}, nil
}
