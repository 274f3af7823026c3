package cairn

import (
	"context"
	"io"
	"io/fs"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// Errors of reading something of another type.
var (
	// ErrNotFile: it is a directory, a symlink, or not UnixFS.
	ErrNotFile = unixfs.ErrNotFile
	// ErrNotDirectory: it is a file, a symlink, or not UnixFS.
	ErrNotDirectory = unixfs.ErrNotDirectory
)

// A File is open for reading. It reads blocks as they are needed, and some ahead:
// from the store, or with Fetcher.OpenFile also from the network. ReadAt is safe for
// concurrent use. Read, Seek and WriteTo share one position and take turns.
type File struct{ file *unixfs.File }

var (
	_ io.ReadSeekCloser = (*File)(nil)
	_ io.ReaderAt       = (*File)(nil)
	_ io.WriterTo       = (*File)(nil)
)

// OpenFile opens a file. It reads one block. The File reads with ctx, and from the
// store only; see Fetcher. Close it when done. Errors, also of reading:
// block.ErrNotFound for a missing block; ErrNotFile; block.ErrMalformed;
// block.ErrUnknownCodec.
func (n *Node) OpenFile(ctx context.Context, c cid.Cid) (*File, error) {
	return openFile(ctx, store.Internal(access.Key{}).Reader(n.store), c)
}

func openFile(ctx context.Context, get block.Getter, c cid.Cid) (*File, error) {
	f, err := unixfs.Open(ctx, get, c)
	if err != nil {
		return nil, err
	}
	return &File{f}, nil
}

// CID returns the file's CID.
func (f *File) CID() cid.Cid { return f.file.CID() }

// Size returns the file's length in bytes, as its root declares it. Reading checks
// it.
func (f *File) Size() int64 { return f.file.Size() }

// Read implements io.Reader.
func (f *File) Read(p []byte) (int, error) { return f.file.Read(p) }

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.file.ReadAt(p, off) }

// Seek implements io.Seeker. A position beyond the end is allowed.
func (f *File) Seek(offset int64, whence int) (int64, error) { return f.file.Seek(offset, whence) }

// WriteTo implements io.WriterTo: it writes the rest of the file, a block at a time,
// without copying it.
func (f *File) WriteTo(w io.Writer) (int64, error) { return f.file.WriteTo(w) }

// Close ends the reading ahead, and waits for it.
func (f *File) Close() error { return f.file.Close() }

// FS returns a directory as a file system, for templates, http.FileServerFS,
// fs.WalkDir and os.CopyFS. It reads with ctx, from the store only (see Fetcher), and
// each block when it is needed. It is also an fs.ReadDirFS, fs.StatFS, fs.ReadFileFS
// and fs.ReadLinkFS; its files are io.ReadSeekers, io.ReaderAts and io.WriterTos. A
// directory too large for ReadDir can be read in parts through Open.
//
// Symlinks are followed within root; one that leads out of it is an error. Where the
// tree has none, permissions are 0444 and 0555, and modification times zero. Sys of a
// FileInfo returns the cid.Cid. Errors are *fs.PathErrors, which wrap fs.ErrNotExist
// for a missing name, and block.ErrNotFound for a missing block.
func (n *Node) FS(ctx context.Context, root cid.Cid) fs.FS {
	return unixfs.FS(ctx, n, root)
}
