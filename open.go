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

// Errors of reading what is something else.
var (
	// ErrNotFile: a directory, a symlink, or nothing of UnixFS.
	ErrNotFile = unixfs.ErrNotFile
	// ErrNotDirectory: a file, a symlink, or nothing of UnixFS.
	ErrNotDirectory = unixfs.ErrNotDirectory
)

// A File is open for reading. It reads blocks as they are needed, and some
// ahead: those that are here, or with Fetcher.OpenFile others, too. ReadAt may be called at any time by several goroutines; Read,
// Seek and WriteTo share one place in the file and take turns.
type File struct{ file *unixfs.File }

var (
	_ io.ReadSeekCloser = (*File)(nil)
	_ io.ReaderAt       = (*File)(nil)
	_ io.WriterTo       = (*File)(nil)
)

// OpenFile opens the file that c names. It reads one block. The File reads with
// ctx; close it when done. Errors: block.ErrNotFound, also later in reading, if a
// block isn't here; ErrNotFile; block.ErrMalformed; block.ErrUnknownCodec.
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

// CID names the file.
func (f *File) CID() cid.Cid { return f.file.CID() }

// Size is the file's length in bytes, as its root says; reading checks it.
func (f *File) Size() int64 { return f.file.Size() }

// Read implements io.Reader.
func (f *File) Read(p []byte) (int, error) { return f.file.Read(p) }

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.file.ReadAt(p, off) }

// Seek implements io.Seeker. Beyond the end is allowed; nothing is read there.
func (f *File) Seek(offset int64, whence int) (int64, error) { return f.file.Seek(offset, whence) }

// WriteTo implements io.WriterTo: it writes what follows, a block at a time,
// without a copy.
func (f *File) WriteTo(w io.Writer) (int64, error) { return f.file.WriteTo(w) }

// Close ends what reading began.
func (f *File) Close() error { return f.file.Close() }

// FS returns the directory that root names as a file system, for templates,
// http.FileServerFS, fs.WalkDir and os.CopyFS. It reads with ctx, and nothing
// before it's needed. It is also an fs.ReadDirFS, fs.StatFS, fs.ReadFileFS and
// fs.ReadLinkFS; its files are io.ReadSeekers, io.ReaderAts and io.WriterTos. A
// directory too large to be listed as a whole is read through Open.
//
// Symlinks are followed within root; one that leads out of it is an error. What
// the tree does not say: permissions are 0444 and 0555, modification times zero.
// Sys of a FileInfo is the CID, a cid.Cid. Errors are *fs.PathErrors, which wrap
// fs.ErrNotExist for a name that isn't there, and block.ErrNotFound for a block
// that isn't.
func (n *Node) FS(ctx context.Context, root cid.Cid) fs.FS {
	return unixfs.FS(ctx, n, root)
}
