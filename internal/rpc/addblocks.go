package rpc

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/cairn-ipfs/cairn/store"
)

// addBlocks adds through a batch: the blocks are made here.
func (c *Client) addBlocks(ctx context.Context, r AddRequest) ([]cairn.Added, error) {
	o, err := importOptions(r.Options)
	if err != nil {
		return nil, err
	}
	batch := c.Batch()
	defer batch.Discard()
	var all []cairn.Added
	for i, item := range r.Items {
		var told error
		if r.Entry != nil {
			o.Added = func(e unixfs.Added) {
				if told == nil {
					told = r.Entry(i, cairn.AddedEntry{Path: e.Path, CID: e.CID, Type: modeOf(e.Type), Size: int64(e.Size)})
				}
			}
		}
		added, err := importItem(ctx, batch, item, r.Wrap, o)
		if err = errors.Join(err, told); err != nil {
			return nil, &AddError{i, err}
		}
		switch {
		case r.Options.Alias != "" && i > 0:
			return nil, badRequest("add: the alias %q can name one root only", r.Options.Alias)
		case r.Options.Alias != "":
			batch.Alias(r.Options.Alias, added.CID, store.AliasOptions{})
		case !r.Options.NoPin:
			batch.Alias(cairn.PinName(added.CID), added.CID, store.AliasOptions{})
		}
		all = append(all, added)
	}
	return all, batch.Commit(ctx)
}

func importItem(ctx context.Context, put *Batch, item AddItem, wrap bool, o unixfs.Options) (cairn.Added, error) {
	var r unixfs.Result
	var err error
	if item.Path == "" {
		r, err = unixfs.Import(ctx, put, item.In, o)
	} else {
		if wrap {
			o.Wrap = filepath.Base(item.Path)
		}
		r, err = unixfs.ImportPath(ctx, put, item.Path, o)
	}
	return cairn.Added{
		CID: r.CID, Size: int64(r.Size), DAGSize: int64(r.DAGSize), HashedBytes: int64(r.Hashed),
		Files: r.Files, Dirs: r.Dirs, Symlinks: r.Symlinks,
	}, err
}

// importOptions returns the options as package unixfs has them.
func importOptions(o cairn.AddOptions) (unixfs.Options, error) {
	if o.NoCopy {
		return unixfs.Options{}, forbidden("add: without a copy, the daemon has to see the files: ask it over its Unix socket")
	}
	p := unixfs.V1Profile()
	if o.Profile != "" {
		var err error
		if p, err = unixfs.ProfileByName(o.Profile); err != nil {
			return unixfs.Options{}, err
		}
	}
	if o.Chunker != "" {
		if err := p.SetChunker(o.Chunker); err != nil {
			return unixfs.Options{}, err
		}
	}
	if o.Trickle {
		p.Name, p.Layout = "", unixfs.Trickle
	}
	return unixfs.Options{
		Profile:    p,
		SkipHidden: o.SkipHidden, Exclude: o.Exclude, Include: o.Include, IgnoreFiles: o.IgnoreFiles,
		KeepMode: o.KeepMode, KeepTimes: o.KeepTimes,
		Progress: (*unixfs.Progress)(o.Progress),
	}, nil
}

func modeOf(t unixfs.Type) fs.FileMode {
	switch t {
	case unixfs.TypeDirectory, unixfs.TypeHAMTShard:
		return fs.ModeDir
	case unixfs.TypeSymlink:
		return fs.ModeSymlink
	}
	return 0
}
