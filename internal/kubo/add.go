package kubo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/internal/ipld"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multicodec"
)

// addProgressEvery is how many bytes of a file come between two lines of progress,
// as with Kubo.
const addProgressEvery = 1 << 20

// An addLine is one line of the answer to add.
type addLine struct {
	Name  string
	Hash  string `json:",omitempty"`
	Bytes int64  `json:",omitempty"`
	Size  string `json:",omitempty"` // of all blocks
}

// A multipartAdd is one run of add.
type multipartAdd struct {
	*call
	options                   unixfs.Options
	pin, wrap, progress       bool
	silent, quieter, hashOnly bool
	alias                     string
	batch                     *store.Batch
	put                       block.Putter
	get                       block.Getter
	tree                      *unixfs.Tree // of files in directories
	dirs                      map[string]bool
	roots                     []addRoot
	scratch                   *scratch        // of only-hash; nil: blocks are kept
	top                       map[string]bool // names at the top of tree
	count                     int
}

// An addRoot is a file or directory at the top.
type addRoot struct {
	name string
	cid  cid.Cid
	size uint64
}

// addMultipart adds the files of the body. It answers with a line for each file in
// a directory when it is read, and for each root when all is durable.
func (c *call) addMultipart() error {
	a := &multipartAdd{call: c, dirs: make(map[string]bool), top: make(map[string]bool)}
	if err := a.readOptions(); err != nil {
		return err
	}
	a.batch = c.node.Batch()
	defer a.batch.Discard()
	a.put, a.get = store.Internal(access.Key{}).Borrow(a.batch), c.node
	if a.hashOnly {
		a.scratch = &scratch{blocks: make(map[cid.Cid]block.Block)}
		a.put, a.get = a.scratch, a.scratch
	}
	for p, err := range c.Parts() {
		if err == nil {
			err = a.addPart(p)
		}
		if err != nil {
			return err
		}
		if a.count++; a.count > httpapi.MaxParts {
			return httpapi.BadRequest("add: more than %d files in one request", httpapi.MaxParts)
		}
	}
	if err := a.closeTree(); err != nil {
		return err
	}
	if err := a.commit(); err != nil {
		return err
	}
	for _, r := range a.roots {
		if err := a.show(r.name, r.cid, r.size, true); err != nil {
			return err
		}
	}
	return c.EndList(nil)
}

func (a *multipartAdd) readOptions() error {
	c := a.call
	a.pin, a.wrap, a.progress = c.Flag("pin", true), c.Flag("wrap-with-directory", false), c.Flag("progress", false)
	a.silent, a.quieter, a.hashOnly = c.Flag("silent", false), c.Flag("quieter", false), c.Flag("only-hash", false)
	a.alias = c.Query.Get("pin-name")
	for _, name := range []string{"nocopy", "fscache", "inline", "preserve-mode", "preserve-mtime"} {
		if c.Flag(name, false) {
			return httpapi.BadRequest("add: the option %s isn't supported for files in a request", name)
		}
	}
	for _, name := range []string{"to-files", "mode", "mtime"} {
		if c.Query.Get(name) != "" {
			return httpapi.BadRequest("add: the option %s isn't supported", name)
		}
	}
	p := unixfs.V0Profile() // Kubo's default
	hash := c.Text("hash", "sha2-256")
	version := c.Number("cid-version", 0)
	if hash != "sha2-256" && c.Query.Get("cid-version") == "" {
		version = 1 // version 0 allows no other
	}
	if version < 0 || version > 1 {
		return httpapi.BadRequest("invalid option cid-version: %d: want 0 or 1", version)
	}
	p.CIDVersion = uint64(version)
	p.RawLeaves = c.Flag("raw-leaves", version == 1)
	if p.RawLeaves && version == 0 {
		// Kubo puts raw leaves below nodes of version 0. Here a tree has one version.
		return httpapi.BadRequest("add: raw-leaves needs cid-version=1")
	}
	var code multicodec.Code
	if err := code.Set(hash); err != nil {
		return httpapi.BadRequest("invalid option hash: %.64q: want the name of a hash function", hash)
	}
	p.Hash = uint64(code)
	if version != 0 {
		p.Name = ""
	}
	if spec := c.Query.Get("chunker"); spec != "" {
		if err := p.SetChunker(spec); err != nil {
			return httpapi.BadRequest("option chunker: %w", err)
		}
	}
	if c.Flag("trickle", false) {
		p.Name, p.Layout = "", unixfs.Trickle
	}
	for name, field := range map[string]*int{"max-file-links": &p.Width, "max-hamt-fanout": &p.ShardFanout} {
		if c.Query.Get(name) != "" {
			p.Name, *field = "", int(c.Number(name, 0))
		}
	}
	a.options = unixfs.Options{Profile: p}
	if c.Invalid() != nil {
		return c.Invalid()
	}
	if _, err := unixfs.Import(c.Context(), discard{}, strings.NewReader(""), a.options); err != nil {
		return httpapi.BadRequest("add: %w", err)
	}
	return nil
}

// discard is a block.Putter that discards blocks.
type discard struct{}

func (discard) Put(ctx context.Context, _ ...block.Block) error { return ctx.Err() }

// A scratch holds blocks for only-hash: the last one, which is a file's root, or
// all, which are a tree's directories.
type scratch struct {
	all    bool
	blocks map[cid.Cid]block.Block
}

func (s *scratch) Put(ctx context.Context, blocks ...block.Block) error {
	for _, b := range blocks {
		if !s.all {
			clear(s.blocks)
		}
		s.blocks[block.V1(b.CID())] = b
	}
	return ctx.Err()
}

func (s *scratch) Get(_ context.Context, k cid.Cid) (block.Block, error) {
	b, ok := s.blocks[block.V1(k)]
	if !ok {
		return block.Block{}, notFoundError{k}
	}
	return b.WithCID(k)
}

// addPart adds one part.
func (a *multipartAdd) addPart(p httpapi.Part) error {
	switch p.Kind {
	case directoryType:
		if p.Path == "" {
			return nil
		}
		if err := a.makeParents(p.Path); err != nil {
			return err
		}
		a.dirs[p.Path] = true
		return a.tree.Mkdir(a.Context(), p.Path)
	case symlinkType:
		target, err := io.ReadAll(io.LimitReader(p, maxTarget+1))
		if err != nil {
			return err
		}
		if len(target) > maxTarget || p.Path == "" {
			return httpapi.BadRequest("add: a symlink without a name, or with a target of more than %d bytes", maxTarget)
		}
		if err := a.makeParents(p.Path); err != nil {
			return err
		}
		return a.tree.Symlink(a.Context(), p.Path, string(target))
	}
	return a.addFile(p)
}

// The content types of directories and symlinks, as Kubo's clients send them.
const (
	directoryType = "application/x-directory"
	symlinkType   = "application/symlink"
)

// maxTarget is the longest target of a symlink, in bytes (PATH_MAX).
const maxTarget = 4096

func (a *multipartAdd) addFile(p httpapi.Part) error {
	var in io.Reader = p
	if a.progress && !a.silent {
		in = a.withProgress(p)
	}
	r, err := unixfs.Import(a.Context(), a.put, in, a.options)
	if err != nil {
		return err
	}
	name := p.Path
	if name == "" {
		name = r.CID.String()
	}
	if !a.wrap && !strings.Contains(name, "/") {
		a.roots = append(a.roots, addRoot{name, r.CID, r.DAGSize})
		return nil
	}
	if err := a.makeParents(name); err != nil {
		return err
	}
	if err := a.tree.Link(a.Context(), name, r.CID); err != nil {
		return err
	}
	return a.show(name, r.CID, r.DAGSize, false)
}

// withProgress returns a reader that sends lines about the progress of p.
func (a *multipartAdd) withProgress(p httpapi.Part) io.Reader {
	var read, told int64
	return readerFunc(func(buffer []byte) (int, error) {
		n, err := p.Read(buffer)
		read += int64(n)
		if read-told >= addProgressEvery || err == io.EOF && (read > told || read == 0) {
			told = read
			if lerr := a.Line(addLine{Name: p.Path, Bytes: read}); lerr != nil {
				return n, lerr
			}
		}
		return n, err
	})
}

// makeParents makes the directories above a path of the tree.
func (a *multipartAdd) makeParents(name string) error {
	if a.tree == nil {
		var err error
		if a.tree, err = unixfs.Edit(a.Context(), a.get, a.put, cid.Undef, a.options); err != nil {
			return err
		}
	}
	first, _, _ := strings.Cut(name, "/")
	a.top[first] = true
	dir := path.Dir(name)
	if dir == "." {
		return nil
	}
	for d := dir; d != "." && !a.dirs[d]; d = path.Dir(d) {
		a.dirs[d] = true
	}
	return a.tree.Mkdir(a.Context(), dir)
}

// closeTree builds the directories, and sends a line for each, the deepest first.
func (a *multipartAdd) closeTree() error {
	if a.tree == nil && a.wrap {
		if err := a.makeParents("."); err != nil {
			return err
		}
		delete(a.top, ".")
	}
	if a.tree == nil {
		return nil
	}
	if a.scratch != nil {
		a.scratch.all = true
	}
	root, err := a.tree.Commit(a.Context())
	if err != nil {
		return err
	}
	names := slices.Collect(maps.Keys(a.dirs))
	slices.SortFunc(names, func(x, y string) int {
		if d := strings.Count(y, "/") - strings.Count(x, "/"); d != 0 {
			return d
		}
		return strings.Compare(x, y)
	})
	for _, name := range names {
		if strings.Contains(name, "/") || a.wrap {
			if err := a.showDir(root, name); err != nil {
				return err
			}
		}
	}
	if a.wrap {
		a.roots = nil
		return a.appendRoot(root, "")
	}
	for _, name := range slices.Sorted(maps.Keys(a.top)) {
		k, err := ipld.Resolve(a.Context(), a.get, root, name)
		if err == nil {
			err = a.appendRoot(k, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *multipartAdd) appendRoot(k cid.Cid, name string) error {
	size, err := dagSize(a.Context(), a.get, k)
	a.roots = append(a.roots, addRoot{name, k, size})
	return err
}

// showDir sends the line of a directory below root.
func (a *multipartAdd) showDir(root cid.Cid, name string) error {
	k, err := ipld.Resolve(a.Context(), a.get, root, name)
	if err != nil {
		return err
	}
	size, err := dagSize(a.Context(), a.get, k)
	if err != nil {
		return err
	}
	return a.show(name, k, size, false)
}

// show sends the line of a file or directory.
func (a *multipartAdd) show(name string, k cid.Cid, size uint64, root bool) error {
	if a.silent || a.quieter && !root {
		return nil
	}
	return a.Line(addLine{Name: name, Hash: k.String(), Size: fmt.Sprint(size)})
}

// commit keeps what was added.
func (a *multipartAdd) commit() error {
	if a.hashOnly {
		return nil
	}
	for _, r := range a.roots {
		switch {
		case !a.pin:
		case a.alias != "" && len(a.roots) > 1:
			return httpapi.BadRequest("add: got %d roots: want one for a pin's name", len(a.roots))
		case a.alias != "":
			a.batch.Alias(a.alias, r.cid, store.AliasOptions{})
		default:
			a.batch.Alias(cairn.PinName(r.cid), r.cid, store.AliasOptions{})
		}
	}
	return a.batch.Commit(a.Context())
}

// dagSize returns the size of all blocks below k, by the sizes in k's own block.
func dagSize(ctx context.Context, get block.Getter, k cid.Cid) (uint64, error) {
	b, err := get.Get(ctx, k)
	if err != nil {
		return 0, err
	}
	size := uint64(b.Size())
	if k.Type() != block.DagPB {
		return size, nil
	}
	n, err := unixfs.DecodeNode(b.Data())
	if errors.Is(err, block.ErrMalformed) {
		return size, nil
	}
	for _, l := range n.Links {
		size += l.Tsize
	}
	return size, err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
