package unixfs

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/cairn-ipfs/cairn/block"
)

// restore sets the permissions and the modification time of a file or directory,
// if its node has them.
func restore(dir *os.Root, name string, n Node) error {
	if n.Mode != 0 {
		if err := dir.Chmod(name, fs.FileMode(n.Mode&0o777)); err != nil {
			return err
		}
	}
	if n.Modified.IsZero() {
		return nil
	}
	t := fileTime(n.Modified)
	return dir.Chtimes(name, t, t)
}

// fileTime returns the time nearest to t that Chtimes takes: it counts nanoseconds
// in an int64, in which the year 2300 becomes one before 1970.
func fileTime(t time.Time) time.Time {
	if first := time.Unix(0, math.MinInt64); t.Before(first) {
		return first
	}
	if last := time.Unix(0, math.MaxInt64); t.After(last) {
		return last
	}
	return t
}

// bounds are the bytes and entries that an export still may write.
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

// count subtracts one entry of size bytes.
func (b *bounds) count(size uint64) error {
	if b.entries == 0 {
		return fmt.Errorf("%w: more entries than the export's bound", block.ErrTooLarge)
	}
	if size > uint64(b.bytes) {
		return fmt.Errorf("%w: more bytes than the export's bound", block.ErrTooLarge)
	}
	b.entries--
	b.bytes -= int64(size)
	return nil
}

// fileBytes returns the declared size of a file, 0 for other nodes.
func (n *Node) fileBytes() uint64 {
	if n.Type == TypeFile || n.Type == TypeRaw {
		return n.FileSize
	}
	return 0
}

// errClash: two entries of a directory would become one file.
var errClash = errors.New("the name clashes with another entry's: the file system treats the two as one; export to one that distinguishes them")

// foldedNames maps folded names of a directory's entries to the names; nil if
// the file system is case-sensitive.
type foldedNames map[string]string

// newFoldedNames makes the foldedNames of an existing directory. A fresh one
// needs none: there lstat detects clashes.
func (e *exporter) newFoldedNames(dir *os.Root) (foldedNames, error) {
	folds, err := e.folds(dir)
	if err != nil || !folds {
		return nil, err
	}
	return foldedNames{}, nil
}

// add fails if an added name differs from this one only in case.
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

// fold returns the least rune that differs from r only in case.
func fold(r rune) rune {
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	return least
}

// foldsNames reports whether a file system ignores case, by making a file.
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
