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

// AddOptions say how files and directories are added. The zero value is fine.
type AddOptions struct {
	// Profile is the name of an IPIP-499 profile, which decides the CIDs:
	// "unixfs-v1-2025" or "unixfs-v0-2015". Empty: the former.
	Profile string `json:"profile,omitempty"`
	// Chunker says how files are cut, where that is to differ from the
	// profile: "size-N" (bytes), "rabin", "rabin-MIN-AVG-MAX" or "buzhash".
	Chunker string `json:"chunker,omitempty"`
	// Trickle arranges the leaves of files so that their beginnings need few
	// blocks. False: a balanced tree, as both profiles have it.
	Trickle bool `json:"trickle,omitempty"`

	// Alias is the name under which what is added is kept. Empty: "pin/" and
	// its CID (PinName).
	Alias string `json:"alias,omitempty"`
	// NoPin sets no alias: what is added is a cache.
	NoPin bool `json:"noPin,omitempty"`

	// Wrap, if not empty, puts what is added into a directory, under this
	// name.
	Wrap string `json:"wrap,omitempty"`
	// SkipHidden leaves out of directories what has a name that begins with a
	// dot.
	SkipHidden bool `json:"skipHidden,omitempty"`
	// Exclude leaves out what matches one of these patterns, in the manner of
	// gitignore: relative to what is added, "*" within a name, "**" across
	// directories, a slash at the end for directories alone, "!" to take back
	// an earlier one.
	Exclude []string `json:"exclude,omitempty"`
	// Include, if not empty, leaves out what matches none of these patterns
	// and lies below no directory that does.
	Include []string `json:"include,omitempty"`
	// IgnoreFiles are names of files (such as ".ipfsignore") that hold, in any
	// directory, patterns of what to leave out below it.
	IgnoreFiles []string `json:"ignoreFiles,omitempty"`
	// KeepMode and KeepTimes keep the permissions and the modification times
	// of files and directories, which changes the CIDs.
	KeepMode  bool `json:"keepMode,omitempty"`
	KeepTimes bool `json:"keepTimes,omitempty"`

	// NoCopy keeps the bytes of files where they are: AddPath puts nothing but
	// directories and the upper nodes of files into the store. The profile
	// must have raw leaves. A file that is changed afterwards is damaged
	// content, found out when it's read; add it again.
	NoCopy bool `json:"noCopy,omitempty"`

	// Rehash reads every file. False: AddPath passes over those that have not
	// changed since they were last added in the same manner, as far as size,
	// times and inode tell.
	Rehash bool `json:"rehash,omitempty"`

	// Progress, if not nil, is counted up as adding goes.
	Progress *AddProgress `json:"-"`
	// OnAdd, if not nil, is called for each file, symlink and directory when it
	// is complete; it's kept only when the whole is. Whoever adds waits for it.
	OnAdd func(AddEntry) `json:"-"`
}

// AddProgress counts what adding has done so far. It may be read at any time.
type AddProgress struct {
	// Bytes are those of file contents, Files whole files.
	Bytes, Files atomic.Int64
}

// An AddEntry is one file, directory or symlink of what is added.
type AddEntry struct {
	// Path is relative to what is added, with slashes; "." is that itself.
	Path string  `json:"path"`
	CID  cid.Cid `json:"cid"`
	// Type is 0 for a file, fs.ModeDir or fs.ModeSymlink.
	Type fs.FileMode `json:"type,omitempty"`
	// Size is the bytes of a file's content, or of those of all files in a
	// directory.
	Size int64 `json:"size"`
}

// AddResult is what was added.
type AddResult struct {
	// CID is the root.
	CID cid.Cid `json:"cid"`
	// Size is the bytes of all files' contents; DAGSize that of all blocks,
	// those that occur twice counted twice.
	Size    int64 `json:"size"`
	DAGSize int64 `json:"dagSize"`
	// HashedBytes are those of the files that were read: all, or those that
	// had changed.
	HashedBytes int64 `json:"hashedBytes"`
	// Files, Dirs and Symlinks count what was added.
	Files    int `json:"files"`
	Dirs     int `json:"dirs"`
	Symlinks int `json:"symlinks"`
}

// unixfs returns the options as the import pipeline has them.
func (o AddOptions) unixfs() (unixfs.Options, error) {
	p, err := profile(o.Profile, o.Chunker)
	if err != nil {
		return unixfs.Options{}, err
	}
	if o.NoCopy && !p.RawLeaves {
		return unixfs.Options{}, errors.New("without a copy only raw leaves can be kept, which the profile has none of")
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
	if told := o.OnAdd; told != nil {
		u.OnItem = func(a unixfs.ImportItem) {
			told(AddEntry{Path: a.Path, CID: a.CID, Type: modeOf(a.Type), Size: int64(a.Size)})
		}
	}
	return u, nil
}

// profile is the profile of that name, empty for the default, with the chunker
// changed if one is said.
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

// Add adds a file of what r holds, from where it stands to its end. When it
// returns without an error, the file is kept, under o.Alias or pin/CID, and
// survives any crash. On an error nothing of it is kept. See Adder for several
// files as one change.
func (n *Node) Add(ctx context.Context, r io.Reader, o AddOptions) (AddResult, error) {
	return n.addOne(ctx, o, func(a *Adder) (AddResult, error) { return a.Add(ctx, r) })
}

// AddFS adds a directory: fsys, whole. Files are opened by several goroutines
// at once, which fsys must allow; symlinks are kept as such. What is no file,
// directory or symlink is an error that names it, as is a file that isn't as
// long as fsys said.
func (n *Node) AddFS(ctx context.Context, fsys fs.FS, o AddOptions) (AddResult, error) {
	return n.addOne(ctx, o, func(a *Adder) (AddResult, error) { return a.AddFS(ctx, fsys) })
}

// AddPath adds what path names on disk: a file, a symlink, or a directory with
// all that is in it. What was added before and has not changed since is not
// read again, see AddOptions.Rehash.
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

// An Adder adds several files and directories as one change: after a crash all
// of them are there, or none. Make one with Node.Adder; end it with Commit or
// Discard. It is for one goroutine.
type Adder struct {
	put     block.Putter
	keep    keeper // of what is put; nil where nothing is kept here
	options unixfs.Options
	alias   string
	noPin   bool
	noCopy  bool
	rehash  bool

	// node and batch are those of Node.Adder, nil elsewhere.
	node   *Node
	batch  *store.Batch
	caches []*statcache.Cache // of the trees added
	roots  []cid.Cid
}

// A keeper is a Putter that keeps what was put, all or nothing.
type keeper interface {
	block.Putter
	Alias(name string, root cid.Cid, o store.AliasOptions)
	Commit(ctx context.Context) error
	Discard()
}

var _ keeper = (*store.Batch)(nil)

// Adder begins to add.
func (n *Node) Adder(o AddOptions) (*Adder, error) {
	a, err := newAdder(o)
	if err != nil {
		return nil, err
	}
	a.node, a.batch = n, n.store.Batch()
	a.put, a.keep = store.Internal(access.Key{}).Borrow(a.batch), a.batch
	return a, nil
}

// NewAdder returns an Adder that belongs to no node: it gives its blocks to put,
// and reads all files that it adds. If put has the methods Alias, Commit and
// Discard, too, as a store.Batch does, it's the Adder's to end: Commit names the
// roots in it and commits it, Discard discards it. Else Commit and Discard do
// nothing, and what is kept is for the caller to say. Without a copy
// (AddOptions.NoCopy) only Node.Adder adds.
func NewAdder(put block.Putter, o AddOptions) (*Adder, error) {
	if o.NoCopy {
		return nil, errors.New("cairn: add: without a copy only a node can keep files")
	}
	a, err := newAdder(o)
	if err != nil {
		return nil, err
	}
	a.put = put
	a.keep, _ = put.(keeper)
	return a, nil
}

// NewHasher returns an Adder that belongs to no node and stores nothing. It
// finds out which CIDs things have.
func NewHasher(o AddOptions) (*Adder, error) {
	a, err := newAdder(o)
	if err != nil {
		return nil, err
	}
	a.put = nowhere{}
	return a, nil
}

func newAdder(o AddOptions) (*Adder, error) {
	u, err := o.unixfs()
	if err != nil {
		return nil, fmt.Errorf("cairn: add: %w", err)
	}
	return &Adder{options: u, alias: o.Alias, noPin: o.NoPin, noCopy: o.NoCopy, rehash: o.Rehash}, nil
}

// nowhere is where a hasher puts blocks.
type nowhere struct{}

var _ unixfs.Releaser = nowhere{}

func (nowhere) Put(ctx context.Context, _ ...block.Block) error { return ctx.Err() }
func (nowhere) ReleasesBlocks() bool                            { return true }

// Add adds a file, as Node.Add does. After an error nothing of it is part of
// the change.
func (a *Adder) Add(ctx context.Context, r io.Reader) (AddResult, error) {
	return a.added(unixfs.Import(ctx, a.put, r, a.options))
}

// AddFS adds a directory, as Node.AddFS does.
func (a *Adder) AddFS(ctx context.Context, fsys fs.FS) (AddResult, error) {
	return a.added(unixfs.ImportFS(ctx, a.put, fsys, a.options))
}

// AddPath adds what path names on disk, as Node.AddPath does.
func (a *Adder) AddPath(ctx context.Context, path string) (AddResult, error) {
	return a.addPath(ctx, path, a.options)
}

// AddWrapped is AddPath with a name of its own for AddOptions.Wrap.
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

// cache opens the stat cache for path; nil where there is none.
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

// Commit makes the change: everything added is kept, each under pin/CID, or the
// one under AddOptions.Alias. When it returns nil, it's on disk.
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

// Discard ends the Adder without the change; after Commit it does nothing. Blocks
// that were added stay as a cache.
func (a *Adder) Discard() {
	if a.keep == nil {
		return
	}
	a.keep.Discard()
	// What was held for this change goes at the latest when the node closes.
	_ = a.close()
}

// close lets go of what the trees added hold.
func (a *Adder) close() error {
	var errs []error
	for _, c := range a.caches {
		errs = append(errs, c.Close(context.Background()))
	}
	a.caches, a.roots = nil, nil
	return errors.Join(errs...)
}
