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
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/spf13/cobra"
)

// program names the owner of an open repository, agent the node to its peers.
const (
	program = "cairn"
	agent   = program + "/" + version
)

// The files of a daemon in its repository: its socket, and the address of its API
// over TCP, for Kubo's tools.
const (
	socketFile = "api.sock"
	apiFile    = "api"
)

// repoDir returns the repository's folder.
func (a *app) repoDir() (string, error) {
	if a.repo != "" {
		return a.repo, nil
	}
	if dir, _ := a.env("CAIRN_PATH"); dir != "" {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", withHint(fmt.Errorf("find the repository: %w", err), "say where it is with --repo or $CAIRN_PATH")
	}
	return filepath.Join(home, ".cairn"), nil
}

// withNode opens the repository while do runs, and makes it if there is none.
func (a *app) withNode(ctx context.Context, c cairn.Config, do func(*cairn.Node) error) error {
	var err error
	if c.Dir, err = a.usableDir(); err != nil {
		return err
	}
	if c.Store, err = a.storeOptions(); err != nil {
		return err
	}
	c.Logger = c.Store.Logger
	c.UserAgent = agent
	defer redirectLibraryLogs(c.Logger)()
	c.DNS = a.set.dns()
	if c.KeyPassphrase, err = a.passphrase(); err != nil {
		return err
	}
	n, err := cairn.Open(ctx, c)
	if err != nil {
		return fmt.Errorf("open %s: %w", c.Dir, err)
	}
	err = do(n)
	if cerr := n.Close(); cerr != nil && err == nil {
		err = fmt.Errorf("close %s: %w", c.Dir, cerr)
	}
	return err
}

// A repo is the repository that a command works on: one that this process has
// open, or a daemon's.
type repo struct {
	*control.Target
	// dir is its folder. Empty: only the daemon knows it.
	dir string
}

// folder returns the repository's folder, on the daemon's disk.
func (r repo) folder(ctx context.Context) (string, error) {
	if r.dir != "" {
		return r.dir, nil
	}
	st, err := control.Stats.Do(ctx, r.Target, struct{}{})
	return st.Path, err
}

// withRepo runs do with the repository of the daemon that --daemon names, or of
// the daemon that serves the repository. Without one it opens the repository
// while do runs.
func (a *app) withRepo(ctx context.Context, do func(repo) error) error {
	return a.withRepoAs(ctx, a.nodeConfig(nil, false), do)
}

// onRepo makes the function of a command that works with the repository.
func (a *app) onRepo(do func(ctx context.Context, s repo, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return a.withRepo(cmd.Context(), func(s repo) error { return do(cmd.Context(), s, args) })
	}
}

// withRepoAs is withRepo, with a config for a repository that is opened here.
func (a *app) withRepoAs(ctx context.Context, c cairn.Config, do func(repo) error) error {
	d, err := a.daemon()
	if err != nil {
		return err
	}
	if d != nil {
		defer d.Close()
		if a.passphraseFile != "" {
			return usageErrorf("--passphrase-file: a daemon has its own, which cairn serve is given")
		}
		return do(*d)
	}
	return a.withNode(ctx, c, func(n *cairn.Node) error {
		return do(repo{control.Local(n), n.Store().Dir()})
	})
}

// daemon returns the repository of the daemon to ask, nil if there is none.
func (a *app) daemon() (*repo, error) {
	address := a.daemonAddress
	if address == "" && a.repo == "" {
		address, _ = a.env("CAIRN_DAEMON")
	}
	if address != "" {
		t, err := control.Dial(address)
		if err != nil {
			return nil, asUsageError(err)
		}
		return &repo{Target: t}, nil
	}
	dir, err := a.repoDir()
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, socketFile)
	if !control.Answers(socket) {
		return nil, nil // no socket, or one that a killed daemon left
	}
	t, err := control.Dial("unix:" + socket)
	if err != nil {
		return nil, err
	}
	return &repo{t, dir}, nil
}

// usableDir returns repoDir, if it is a repository or may become one.
func (a *app) usableDir() (string, error) {
	dir, err := a.repoDir()
	if err != nil {
		return "", err
	}
	return dir, checkDir(dir)
}

// repoFiles are the files that a folder may hold before it is a repository: the
// configuration, and those of an interrupted init.
var repoFiles = []string{"lock", "owner", "owner.new", "format.new", configFile, socketFile, apiFile}

// checkDir returns an error for a folder that has other files: a typing error in
// --repo must not fill it with packs.
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
			// The store has the better error for these.
			if name == "index" || name == "packs" {
				return nil
			}
			if !slices.Contains(repoFiles, name) && !strings.HasPrefix(name, configFile) {
				return withHint(fmt.Errorf("open repository: %s is no repository, and not empty", dir),
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

// logger returns a logger to stderr, of the level of --log-level.
func (a *app) logger() (*slog.Logger, error) {
	level, err := a.set.level("log.level")
	if err != nil {
		return nil, err
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level})), nil
}

func (a *app) storeOptions() (store.Options, error) {
	logger, err := a.logger()
	if err != nil {
		return store.Options{}, err
	}
	return store.Options{
		Program:   program,
		Logger:    logger,
		PackSize:  a.set.size("store.pack-size"),
		Target:    a.set.size("store.target"),
		Reserve:   a.set.size("store.reserve"),
		CacheSize: a.set.size("store.cache-size"),
		MaxCached: a.set.number("store.max-cached"),
	}, nil
}
