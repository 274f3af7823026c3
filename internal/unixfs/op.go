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
	opCached                 // an unchanged file, found in the StatCache
	opSymlink
)

// An op is one operation of an import. A worker runs it, which sets blk and err.
// Then the builder takes it in order.
type op struct {
	kind opKind
	path string // of the entry, from the imported root
	name string // in dir
	// dir is the directory to open a file or symlink in; size is a file's or
	// chunk's expected size.
	dir  *openDir
	size int
	// state is the file's or directory's state before the import read it; nil
	// if it is from no file system.
	state *fileState
	// A chunk was read (leaf, filled), or is to be read from at. The end of a
	// larger file has at, too, to check the file once more.
	leaf   leafBuffer
	filled bool
	at     *sharedReader
	offset int64
	// probe: the chunk is the file's last; the end of the file must follow.
	probe  bool
	cached CachedResult

	blk block.Block
	err error
}

// A fileState is the state of a file or directory before the import read it.
type fileState struct {
	attributes attributes
	stat       FileStat
	// racy: the file is too new to be cached.
	racy bool
	// attributesInBlock: the block of a file of one leaf has the attributes.
	attributesInBlock bool
}

// attributes returns the attributes of an operation's file or directory.
func (o *op) attributes() attributes {
	if o.state == nil {
		return attributes{}
	}
	return o.state.attributes
}

// run does the part of the operation that needs no order: reading and hashing.
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
		o.err = wrapPath(o.path, err)
	}
}

// release releases what an operation holds for the builder after run.
func (o *op) release() {
	if o.kind == opFileEnd && o.at != nil {
		o.at.release()
	}
}

// wrapPath prefixes an error with an entry's path, except the root's.
func wrapPath(path string, err error) error {
	if path == "." || err == nil {
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}

var (
	errShrank  = errors.New("shorter than its size: it is being changed, or the file system reports a wrong size")
	errGrew    = errors.New("longer than its size: it is being changed, or the file system reports a wrong size")
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

// checkUnchanged fails if a file's state has changed.
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

// readChunk reads a chunk of a larger file at its offset.
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

// explainEOF replaces an early end of a file by errShrank.
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
		return block.Block{}, fmt.Errorf("invalid symlink target %q: want UTF-8", target)
	}
	n := Node{Type: TypeSymlink, Data: []byte(target)}
	return n.block(p)
}
