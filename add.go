package cairn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync/atomic"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/cairn-ipfs/cairn/internal/statcache"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// AddOptions configure adding. The zero value is fine.
type AddOptions struct {
	// Profile is the name of an IPIP-499 profile, which determines the CIDs:
	// "unixfs-v1-2025" or "unixfs-v0-2015". Empty: the former.
	Profile string `json:"profile,omitempty"`
	// Chunker cuts files: "size-N" (bytes), "rabin", "rabin-MIN-AVG-MAX" or
	// "buzhash". Empty: the profile's.
	Chunker string `json:"chunker,omitempty"`
	// Trickle arranges the leaves of a file so that reading its beginning needs few
	// blocks. False: a balanced tree, as in both profiles.
	Trickle bool `json:"trickle,omitempty"`

	// Alias is the name of the added root. Empty: PinName of its CID.
	Alias string `json:"alias,omitempty"`
	// NoPin sets no alias: the blocks are a cache.
	NoPin bool `json:"noPin,omitempty"`

	// Wrap, if not empty, puts the content into a directory, under this name.
	Wrap string `json:"wrap,omitempty"`
	// SkipHidden skips entries of directories whose names begin with a dot.
	SkipHidden bool `json:"skipHidden,omitempty"`
	// Exclude are patterns, as in gitignore, of paths to skip: relative to the added
	// directory, "*" within a name, "**" across directories, a slash at the end for
	// directories only, "!" to undo an earlier pattern.
	Exclude []string `json:"exclude,omitempty"`
	// Include, if not empty, skips paths that match none of these patterns and lie
	// below no directory that matches.
	Include []string `json:"include,omitempty"`
	// IgnoreFiles are names of files, such as ".ipfsignore", with patterns to skip
	// in and below their directory.
	IgnoreFiles []string `json:"ignoreFiles,omitempty"`
	// KeepMode and KeepTimes store the permissions and the modification times of
	// files and directories, which changes the CIDs.
	KeepMode  bool `json:"keepMode,omitempty"`
	KeepTimes bool `json:"keepTimes,omitempty"`

	// NoCopy leaves the bytes of files where they are: AddPath stores directories,
	// the upper nodes of files, and references to the rest. The profile must have
	// raw leaves. When a file changes later, its blocks are damaged until it is
	// added again.
	NoCopy bool `json:"noCopy,omitempty"`

	// Rehash reads every file. False: AddPath skips files with the size, times and
	// inode that they had when last added with the same options.
	Rehash bool `json:"rehash,omitempty"`

	// Progress, if not nil, is updated while adding.
	Progress *AddProgress `json:"-"`
	// OnAdd, if not nil, is called for each file, symlink and directory when it is
	// complete. Adding waits for it. Nothing is kept before the commit.
	OnAdd func(AddEntry) `json:"-"`
}

// AddProgress counts what was added so far. It may be read at any time.
type AddProgress struct {
	// Bytes counts file contents, Files complete files.
	Bytes, Files atomic.Int64
}

// An AddEntry is an added file, directory or symlink.
type AddEntry struct {
	// Path is relative to the added root, with slashes. "." is the root.
	Path string  `json:"path"`
	CID  cid.Cid `json:"cid"`
	// Type is 0 for a file, fs.ModeDir or fs.ModeSymlink.
	Type fs.FileMode `json:"type,omitempty"`
	// Size counts the bytes of the file, or of all files in the directory.
	Size int64 `json:"size"`
}

// An AddResult describes an added root.
type AddResult struct {
	// CID is the root.
	CID cid.Cid `json:"cid"`
	// Size counts the bytes of all files, DAGSize those of all blocks, repeated
	// blocks each time.
	Size    int64 `json:"size"`
	DAGSize int64 `json:"dagSize"`
	// HashedBytes counts the bytes of the files that were read: of all, or of those
	// that had changed.
	HashedBytes int64 `json:"hashedBytes"`
	// Files, Dirs and Symlinks count the entries.
	Files    int `json:"files"`
	Dirs     int `json:"dirs"`
	Symlinks int `json:"symlinks"`
}

// unixfs returns the options of package unixfs.
func (o AddOptions) unixfs() (unixfs.Options, error) {
	p, err := profile(o.Profile, o.Chunker)
	if err != nil {
		return unixfs.Options{}, err
	}
	if o.NoCopy && !p.RawLeaves {
		return unixfs.Options{}, errors.New("without a copy: invalid profile: want one with raw leaves")
	}
	if o.Trickle {
		p.Name, p.Layout = "", unixfs.Trickle
	}
	u := unixfs.Options{
		Profile: p, Wrap: o.Wrap,
		SkipHidden: o.SkipHidden, Exclude: o.Exclude, Include: o.Include, IgnoreFiles: o.IgnoreFiles,
		KeepMode: o.KeepMode, KeepTimes: o.KeepTimes,
		Progress: (*unixfs.Progress)(o.Progress),
	}
	if onAdd := o.OnAdd; onAdd != nil {
		u.OnItem = func(a unixfs.ImportItem) {
			onAdd(AddEntry{Path: a.Path, CID: a.CID, Type: modeOf(a.Type), Size: int64(a.Size)})
		}
	}
	return u, nil
}

// profile returns the profile of that name, empty for the default. A chunker
// replaces the profile's.
func profile(name, chunker string) (unixfs.Profile, error) {
	p := unixfs.V1Profile()
	if name != "" {
		var err error
		if p, err = unixfs.ProfileByName(name); err != nil {
			return p, err
		}
	}
	if chunker != "" {
		if err := p.SetChunker(chunker); err != nil {
			return p, err
		}
	}
	return p, nil
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

// Add adds the rest of r as a file. When it returns nil, the file is durable, and
// kept under o.Alias or PinName. After an error nothing of it is kept. An Adder
// adds several files as one change.
func (n *Node) Add(ctx context.Context, r io.Reader, o AddOptions) (AddResult, error) {
	return n.addOne(ctx, o, func(a *Adder) (AddResult, error) { return a.Add(ctx, r) })
}

// AddFS adds fsys as a directory. Several goroutines open files at once, which fsys
// must allow. Symlinks stay symlinks. Anything else than a file, directory or
// symlink is an error that names it, and so is a file of another length than fsys
// reported.
func (n *Node) AddFS(ctx context.Context, fsys fs.FS, o AddOptions) (AddResult, error) {
	return n.addOne(ctx, o, func(a *Adder) (AddResult, error) { return a.AddFS(ctx, fsys) })
}

// AddPath adds a file, a symlink, or a directory with all its content from disk.
// Files that have not changed since they were last added are not read again; see
// AddOptions.Rehash.
func (n *Node) AddPath(ctx context.Context, path string, o AddOptions) (AddResult, error) {
	return n.addOne(ctx, o, func(a *Adder) (AddResult, error) { return a.AddPath(ctx, path) })
}

func (n *Node) addOne(ctx context.Context, o AddOptions, add func(*Adder) (AddResult, error)) (AddResult, error) {
	a, err := n.Adder(o)
	if err != nil {
		return AddResult{}, err
	}
	defer a.Discard()
	added, err := add(a)
	if err == nil {
		err = a.Commit(ctx)
	}
	if err != nil {
		return AddResult{}, err
	}
	return added, nil
}

// An Adder adds several files and directories as one change: after a crash all are
// there, or none. Make one with Node.Adder, and end it with Commit or Discard. It is
// not safe for concurrent use.
type Adder struct {
	put     block.Putter
	keep    keeper // put, if it can name roots; otherwise nil
	options unixfs.Options
	alias   string
	noPin   bool
	noCopy  bool
	rehash  bool

	// node and batch are set by Node.Adder only.
	node   *Node
	batch  *store.Batch
	caches []*statcache.Cache // of the trees added
	roots  []cid.Cid
}

// A keeper is a Putter that makes what was put durable, all or nothing.
type keeper interface {
	block.Putter
	Alias(name string, root cid.Cid, o store.AliasOptions)
	Commit(ctx context.Context) error
	Discard()
}

var _ keeper = (*store.Batch)(nil)

// Adder returns a new Adder.
func (n *Node) Adder(o AddOptions) (*Adder, error) {
	a, err := newAdder(o)
	if err != nil {
		return nil, err
	}
	a.node, a.batch = n, n.store.Batch()
	a.put, a.keep = store.Internal(access.Key{}).Borrow(a.batch), a.batch
	return a, nil
}

// NewAdder returns an Adder without a node, which puts its blocks into put and reads
// all files. If put also has the methods Alias, Commit and Discard, as a store.Batch
// has, the Adder owns it: Commit names the roots and commits it, Discard discards it.
// Otherwise Commit and Discard do nothing. AddOptions.NoCopy needs Node.Adder.
func NewAdder(put block.Putter, o AddOptions) (*Adder, error) {
	if o.NoCopy {
		return nil, errors.New("cairn: add: without a copy: want an Adder of a node")
	}
	a, err := newAdder(o)
	if err != nil {
		return nil, err
	}
	a.put = put
	a.keep, _ = put.(keeper)
	return a, nil
}

// NewHasher returns an Adder that stores nothing: it computes CIDs.
func NewHasher(o AddOptions) (*Adder, error) {
	a, err := newAdder(o)
	if err != nil {
		return nil, err
	}
	a.put = discard{}
	return a, nil
}

func newAdder(o AddOptions) (*Adder, error) {
	u, err := o.unixfs()
	if err != nil {
		return nil, fmt.Errorf("cairn: add: %w", err)
	}
	return &Adder{options: u, alias: o.Alias, noPin: o.NoPin, noCopy: o.NoCopy, rehash: o.Rehash}, nil
}

// discard is the Putter of a hasher: it stores nothing.
type discard struct{}

var _ unixfs.Releaser = discard{}

func (discard) Put(ctx context.Context, _ ...block.Block) error { return ctx.Err() }
func (discard) ReleasesBlocks() bool                            { return true }

// Add adds a file, as Node.Add does. After an error the change has nothing of it.
func (a *Adder) Add(ctx context.Context, r io.Reader) (AddResult, error) {
	return a.added(unixfs.Import(ctx, a.put, r, a.options))
}

// AddFS adds a directory, as Node.AddFS does.
func (a *Adder) AddFS(ctx context.Context, fsys fs.FS) (AddResult, error) {
	return a.added(unixfs.ImportFS(ctx, a.put, fsys, a.options))
}

// AddPath adds a path on disk, as Node.AddPath does.
func (a *Adder) AddPath(ctx context.Context, path string) (AddResult, error) {
	return a.addPath(ctx, path, a.options)
}

// AddWrapped is AddPath with another AddOptions.Wrap.
func (a *Adder) AddWrapped(ctx context.Context, path, wrap string) (AddResult, error) {
	o := a.options
	o.Wrap = wrap
	return a.addPath(ctx, path, o)
}

func (a *Adder) addPath(ctx context.Context, path string, o unixfs.Options) (AddResult, error) {
	cache, err := a.cache(ctx, path, o)
	if err != nil {
		return AddResult{}, err
	}
	if cache != nil {
		o.StatCache = cache
		a.caches = append(a.caches, cache)
	}
	if a.noCopy && a.node != nil {
		if o.OfferLeaf, err = a.refer(path, o.Wrap); err != nil {
			return AddResult{}, err
		}
	}
	r, err := unixfs.ImportPath(ctx, a.put, path, o)
	if err == nil && cache != nil {
		err = cache.Finish(ctx, r.CID)
	}
	return a.added(r, err)
}

// cache opens the stat cache of path. Nil: there is none, or it is in use.
func (a *Adder) cache(ctx context.Context, path string, o unixfs.Options) (*statcache.Cache, error) {
	if a.node == nil || a.rehash {
		return nil, nil
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("cairn: add: %w", err)
	}
	return a.node.statCaches.Open(ctx, a.batch, abs, o.CacheKey())
}

func (a *Adder) added(r unixfs.Result, err error) (AddResult, error) {
	if err != nil {
		return AddResult{}, err
	}
	if a.alias != "" && len(a.roots) > 0 {
		return AddResult{}, fmt.Errorf("cairn: add: the alias %q can name one root only", a.alias)
	}
	a.roots = append(a.roots, r.CID)
	return AddResult{
		CID: r.CID, Size: int64(r.Size), DAGSize: int64(r.DAGSize), HashedBytes: int64(r.Hashed),
		Files: r.Files, Dirs: r.Dirs, Symlinks: r.Symlinks,
	}, nil
}

// Commit names each root, with PinName or AddOptions.Alias, and makes all that was
// added durable.
func (a *Adder) Commit(ctx context.Context) error {
	if a.keep == nil {
		return nil
	}
	for _, root := range a.roots {
		switch {
		case a.alias != "":
			a.keep.Alias(a.alias, root, store.AliasOptions{})
		case !a.noPin:
			a.keep.Alias(PinName(root), root, store.AliasOptions{})
		}
	}
	return errors.Join(a.keep.Commit(ctx), a.close())
}

// Discard ends the Adder without naming the roots. The added blocks stay as a cache.
// After Commit it does nothing.
func (a *Adder) Discard() {
	if a.keep == nil {
		return
	}
	a.keep.Discard()
	// A pin that could not be released ends with the node.
	_ = a.close()
}

// close closes the stat caches.
func (a *Adder) close() error {
	var errs []error
	for _, c := range a.caches {
		errs = append(errs, c.Close(context.Background()))
	}
	a.caches, a.roots = nil, nil
	return errors.Join(errs...)
}
