package cairn

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/store"
)

// fileBacking is the backing of AddOptions.NoCopy: it reads blocks from the user's
// files. A locator is the offset in a file, as an unsigned varint, and the file's
// absolute path.
type fileBacking struct{}

// fileBackingName is its name in the index.
const fileBackingName = "file"

var _ store.Backing = fileBacking{}

func fileLocator(path string, offset int64) []byte {
	return append(binary.AppendUvarint(nil, uint64(offset)), path...)
}

// ReadBlock implements store.Backing. A missing file is an error, not a lost block:
// its disk may be unmounted. Only changed bytes are a lost block.
func (fileBacking) ReadBlock(ctx context.Context, locator []byte, size int) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	offset, n := binary.Uvarint(locator)
	if n <= 0 || offset > 1<<62 {
		return nil, fmt.Errorf("a reference to a file: %w", block.ErrMalformed)
	}
	f, err := os.Open(string(locator[n:]))
	if err != nil {
		return nil, fmt.Errorf("it lies in a file added without a copy: %w", err)
	}
	defer f.Close()
	data := make([]byte, size)
	got, err := f.ReadAt(data, int64(offset))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("it lies in a file added without a copy: %w", err)
	}
	return data[:got], nil
}

// refer returns a function for unixfs.Options.Leaf that stores references in place
// of leaves, for an import of path into the directory wrap.
func (a *Adder) refer(path, wrap string) (func(context.Context, block.Block, string, int64) (bool, error), error) {
	root, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("cairn: add: %w", err)
	}
	return func(_ context.Context, leaf block.Block, path string, offset int64) (bool, error) {
		if wrap != "" {
			path = strings.TrimPrefix(strings.TrimPrefix(path, wrap), "/")
		}
		file := filepath.Join(root, filepath.FromSlash(path))
		return true, a.batch.Refer(leaf, fileBackingName, fileLocator(file, offset))
	}, nil
}
