package unixfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"unicode/utf8"

	"github.com/cairn-ipfs/cairn/block"
)

type opKind uint8

const (
	opBeginDir opKind = iota // a directory begins
	opEndDir                 // the innermost directory is complete
	opFile                   // a file of one leaf
	opChunk                  // one leaf of a larger file
	opFileEnd                // the larger file is complete
	opCached                 // a file that is as it was when it was remembered
	opSymlink
)

// An op is one operation of an import. A worker runs it, which fills in blk
// and err; the builder then takes it in order.
type op struct {
	kind opKind
	path string // of the entry, from the imported root
	name string // by which dir opens it
	// dir is where a file or symlink is opened; size what it should have.
	dir  *openDir
	size int
	// about is what was seen of a file or a directory; nil of what no file
	// system told of.
	state *fileState
	// A chunk was read already (leaf, filled), or is to be read from at. The
	// end of a larger file has at, too, to look at it once more.
	leaf   leafBuffer
	filled bool
	at     *sharedReader
	offset int64
	// probe: the chunk is the file's last, nothing may follow it.
	probe  bool
	cached CachedResult

	blk block.Block
	err error
}

// about is what an import saw of a file or directory before it read it.
type fileState struct {
	attributes attributes
	stat       FileStat
	// racy: the file is too fresh to be remembered.
	racy bool
	// rooted: blk of a file of one leaf has the attributes itself.
	attributesInBlock bool
}

// attributes returns what is to be kept of an operation's file or directory.
func (o *op) attributes() attributes {
	if o.state == nil {
		return attributes{}
	}
	return o.state.attributes
}

// run does the operation's share of the work that needs no order.
func (o *op) run(ctx context.Context, pool *leafPool) {
	var err error
	switch o.kind {
	case opFile:
		defer o.dir.release()
		if err = ctx.Err(); err == nil {
			err = o.readFile(pool)
		}
	case opChunk:
		if err = ctx.Err(); err == nil && !o.filled {
			err = o.readChunk(pool)
		}
		if o.at != nil {
			o.at.release()
		}
		if err == nil {
			o.blk, err = pool.makeBlock(o.leaf)
		}
	case opSymlink:
		defer o.dir.release()
		if err = ctx.Err(); err == nil {
			err = o.readLink(pool.profile)
		}
	}
	if err != nil {
		o.err = addPath(o.path, err)
	}
}

// drop lets go of what an operation that was run holds for the builder.
func (o *op) release() {
	if o.kind == opFileEnd && o.at != nil {
		o.at.release()
	}
}

// named puts the path of an entry before an error. The root needs none.
func addPath(path string, err error) error {
	if path == "." || err == nil {
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}

var (
	errShrank  = errors.New("shorter than when the import looked at it: it is being changed, or its size is not what it seems")
	errGrew    = errors.New("longer than when the import looked at it: it is being changed, or its size is not what it seems")
	errChanged = errors.New("changed while it was read: add it again when nothing writes to it")
)

// readFile reads a whole small file into its leaf.
func (o *op) readFile(pool *leafPool) error {
	f, err := o.dir.source.open(o.name)
	if err != nil {
		return err
	}
	defer f.Close()
	o.leaf = pool.get(o.size)
	if _, err := io.ReadFull(f, o.leaf.chunk()); err != nil {
		return explainEOF(err)
	}
	if err := probeEnd(f); err != nil {
		return err
	}
	if err := o.state.checkUnchanged(f); err != nil {
		return err
	}
	if pool.profile.RawLeaves || pool.profile.Layout == Trickle || o.attributes().isZero() {
		o.blk, err = pool.makeBlock(o.leaf)
		return err
	}
	n := Node{Type: TypeFile, Data: o.leaf.chunk(), FileSize: uint64(o.size)}
	o.attributes().set(&n)
	o.state.attributesInBlock = true
	o.blk, err = n.block(pool.profile)
	return err
}

// unchanged fails if a file is not what it was when it was seen.
func (a *fileState) checkUnchanged(f interface{ Stat() (fs.FileInfo, error) }) error {
	if a == nil {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.ModTime().Equal(a.stat.Modified) || info.Size() != a.stat.Size {
		return errChanged
	}
	return nil
}

// readChunk reads a chunk of a larger file from its place.
func (o *op) readChunk(pool *leafPool) error {
	o.leaf = pool.get(o.size)
	n, err := o.at.ReadAt(o.leaf.chunk(), o.offset)
	if n < o.size {
		return explainEOF(err)
	}
	if !o.probe {
		return nil
	}
	return probeEnd(io.NewSectionReader(o.at, o.offset+int64(o.size), 1))
}

// cutShort says of an early end what it means.
func explainEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errShrank
	}
	return err
}

// probeEnd fails unless r is at its end.
func probeEnd(r io.Reader) error {
	var b [1]byte
	switch n, err := io.ReadFull(r, b[:]); {
	case n > 0:
		return errGrew
	case err == io.EOF:
		return nil
	default:
		return err
	}
}

func (o *op) readLink(p Profile) error {
	target, err := o.dir.source.readLink(o.name)
	if err != nil {
		return err
	}
	o.blk, err = symlinkBlock(target, p)
	return err
}

func symlinkBlock(target string, p Profile) (block.Block, error) {
	if !utf8.ValidString(target) {
		return block.Block{}, fmt.Errorf("the symlink's target %q is not UTF-8", target)
	}
	n := Node{Type: TypeSymlink, Data: []byte(target)}
	return n.block(p)
}
