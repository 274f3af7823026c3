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

// addProgressEvery is how many bytes of a file pass between two lines about its
// progress, as with Kubo.
const addProgressEvery = 1 << 20

// An addLine is one line of the answer to Kubo's add.
type addLine struct {
	Name  string
	Hash  string `json:",omitempty"`
	Bytes int64  `json:",omitempty"`
	Size  string `json:",omitempty"` // of all blocks
}

// A multipartAdd is one run of Kubo's add.
type multipartAdd struct {
	*call
	options                   unixfs.Options
	pin, wrap, progress       bool
	silent, quieter, hashOnly bool
	alias                     string
	batch                     *store.Batch
	put                       block.Putter
	get                       block.Getter
	tree                      *unixfs.Tree // of what lies in directories
	dirs                      map[string]bool
	roots                     []addRoot
	scratch                   *scratch        // nil: what is added is kept
	top                       map[string]bool // names at the top of tree
	count                     int
}

// An addRoot is one thing added at the top.
type addRoot struct {
	name string
	cid  cid.Cid
	size uint64
}

// addMultipart adds the files of the body. What lies in directories is told of
// as it comes; what is at the top when all is durable.
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
			err = a.take(p)
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
		if err := a.tell(r.name, r.cid, r.size, true); err != nil {
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
			return httpapi.BadRequest("add: %s isn't done with what comes in a request's body", name)
		}
	}
	for _, name := range []string{"to-files", "mode", "mtime"} {
		if c.Query.Get(name) != "" {
			return httpapi.BadRequest("add: the option %s isn't known here", name)
		}
	}
	p := unixfs.V0Profile() // what Kubo does unless told otherwise
	hash := c.Text("hash", "sha2-256")
	version := c.Number("cid-version", 0)
	if hash != "sha2-256" && c.Query.Get("cid-version") == "" {
		version = 1 // version 0 has no other
	}
	if version < 0 || version > 1 {
		return httpapi.BadRequest("option cid-version: there is no version %d", version)
	}
	p.CIDVersion = uint64(version)
	p.RawLeaves = c.Flag("raw-leaves", version == 1)
	if p.RawLeaves && version == 0 {
		// Kubo has raw leaves below nodes of version 0. Here one version is for
		// all of a tree.
		return httpapi.BadRequest("add: raw-leaves needs cid-version=1")
	}
	var code multicodec.Code
	if err := code.Set(hash); err != nil {
		return httpapi.BadRequest("option hash: %.64q is no hash function", hash)
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
	if _, err := unixfs.Import(c.Context(), nowhere{}, strings.NewReader(""), a.options); err != nil {
		return httpapi.BadRequest("add: %w", err)
	}
	return nil
}

// nowhere is where blocks go that nobody wants.
type nowhere struct{}

func (nowhere) Put(ctx context.Context, _ ...block.Block) error { return ctx.Err() }

// scratch is where blocks go that are not to be kept: it holds the last one,
// which is a file's root, or all, which are a tree's directories.
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

// take adds one part.
func (a *multipartAdd) take(p httpapi.Part) error {
	switch p.Kind {
	case directoryType:
		if p.Path == "" {
			return nil
		}
		if err := a.inTree(p.Path); err != nil {
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
		if err := a.inTree(p.Path); err != nil {
			return err
		}
		return a.tree.Symlink(a.Context(), p.Path, string(target))
	}
	return a.takeFile(p)
}

// The content types of parts that are no files, as Kubo's clients send them.
const (
	directoryType = "application/x-directory"
	symlinkType   = "application/symlink"
)

// maxTarget is the longest target of a symlink, in bytes (PATH_MAX).
const maxTarget = 4096

func (a *multipartAdd) takeFile(p httpapi.Part) error {
	var in io.Reader = p
	if a.progress && !a.silent {
		in = a.reporting(p)
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
	if err := a.inTree(name); err != nil {
		return err
	}
	if err := a.tree.Link(a.Context(), name, r.CID); err != nil {
		return err
	}
	return a.tell(name, r.CID, r.DAGSize, false)
}

// reporting tells of a file's progress as it is read.
func (a *multipartAdd) reporting(p httpapi.Part) io.Reader {
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

// inTree notes that something lies at a path of the tree.
func (a *multipartAdd) inTree(name string) error {
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

// closeTree builds the directories, and tells of them, the deepest first.
func (a *multipartAdd) closeTree() error {
	if a.tree == nil && a.wrap {
		if err := a.inTree("."); err != nil {
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
			if err := a.tellOf(root, name); err != nil {
				return err
			}
		}
	}
	if a.wrap {
		a.roots = nil
		return a.root(root, "")
	}
	for _, name := range slices.Sorted(maps.Keys(a.top)) {
		k, err := ipld.Resolve(a.Context(), a.get, root, name)
		if err == nil {
			err = a.root(k, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *multipartAdd) root(k cid.Cid, name string) error {
	size, err := dagSize(a.Context(), a.get, k)
	a.roots = append(a.roots, addRoot{name, k, size})
	return err
}

// tellOf tells of a directory below root.
func (a *multipartAdd) tellOf(root cid.Cid, name string) error {
	k, err := ipld.Resolve(a.Context(), a.get, root, name)
	if err != nil {
		return err
	}
	size, err := dagSize(a.Context(), a.get, k)
	if err != nil {
		return err
	}
	return a.tell(name, k, size, false)
}

// tell writes a line about something added.
func (a *multipartAdd) tell(name string, k cid.Cid, size uint64, root bool) error {
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
			return httpapi.BadRequest("add: a pin's name is for one root, got %d", len(a.roots))
		case a.alias != "":
			a.batch.Alias(a.alias, r.cid, store.AliasOptions{})
		default:
			a.batch.Alias(cairn.PinName(r.cid), r.cid, store.AliasOptions{})
		}
	}
	return a.batch.Commit(a.Context())
}

// dagSize is the size of all blocks below k, as k's own block says.
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
