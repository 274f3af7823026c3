package unixfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unicode"

	"github.com/cairn-ipfs/cairn/block"
)

// restore gives a file or directory the permissions and the modification time
// that its node says, if any.
func restore(dir *os.Root, name string, n Node) error {
	if n.Mode != 0 {
		if err := dir.Chmod(name, fs.FileMode(n.Mode&0o777)); err != nil {
			return err
		}
	}
	if n.Modified.IsZero() {
		return nil
	}
	return dir.Chtimes(name, n.Modified, n.Modified)
}

// bounds count what an export still may write.
type bounds struct{ bytes, entries int64 }

// unbounded is more than any export writes.
const unbounded = 1<<63 - 1

func (o ExportOptions) bounds() bounds {
	b := bounds{o.MaxBytes, o.MaxEntries}
	if b.bytes == 0 {
		b.bytes = unbounded
	}
	if b.entries == 0 {
		b.entries = unbounded
	}
	return b
}

// take counts one entry of so many bytes.
func (b *bounds) count(size uint64) error {
	if b.entries == 0 {
		return fmt.Errorf("%w: more entries than may be exported", block.ErrTooLarge)
	}
	if size > uint64(b.bytes) {
		return fmt.Errorf("%w: more bytes than may be exported", block.ErrTooLarge)
	}
	b.entries--
	b.bytes -= int64(size)
	return nil
}

// fileBytes is how many bytes a file says it has, 0 for all else.
func (n *Node) fileBytes() uint64 {
	if n.Type == TypeFile || n.Type == TypeRaw {
		return n.FileSize
	}
	return 0
}

// errClash: two entries of a directory would be one file.
var errClash = errors.New("the name clashes with that of another entry: the file system takes the two for one; export to one that tells them apart")

// foldedNames are those of the entries of a directory, in one case; nil where
// the file system tells cases apart.
type foldedNames map[string]string

// foldedNames prepares for the entries of a directory that was there before:
// of a fresh one, the file system itself tells what clashes.
func (e *exporter) newFoldedNames(dir *os.Root) (foldedNames, error) {
	folds, err := e.folds(dir)
	if err != nil || !folds {
		return nil, err
	}
	return foldedNames{}, nil
}

// add fails if the name is, but for its case, one that was added before.
func (f foldedNames) add(name string) error {
	if f == nil {
		return nil
	}
	folded := strings.Map(fold, name)
	if other, there := f[folded]; there {
		return fmt.Errorf("%q and %q: %w", other, name, errClash)
	}
	f[folded] = name
	return nil
}

// fold returns the least rune that differs from r in case alone.
func fold(r rune) rune {
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	return least
}

// foldsNames tells whether a file system takes names of different case for
// one. It tries.
func foldsNames(dir *os.Root) (bool, error) {
	name := tempName()
	f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, err
	}
	if err := f.Close(); err != nil {
		return false, err
	}
	_, err = dir.Lstat(strings.ToLower(name))
	if gone := dir.Remove(name); gone != nil {
		return false, gone
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
