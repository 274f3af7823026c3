// Package atomicfile writes files that are there whole or not at all. A reader
// finds the former content or the new one, never a part of either, also after a
// crash. Keys, the node's identity and the command line's output files are
// written with it.
//
// [Write] makes a file, [SyncDir] makes its name durable. The functions keep no
// state and may be called by any number of goroutines. The package is not for
// blocks or the index, which lie below the store's own file system.
package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Write makes or replaces the file at path. The function write fills a temporary
// file in the same folder, which is then synced and renamed. The pattern names
// the temporary file, as for os.CreateTemp; a crash may leave it behind. Until
// SyncDir returns, a power cut may bring back the former file.
func Write(path, pattern string, mode fs.FileMode, write func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), pattern) // with mode 0600
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Data returns a function for Write that writes data.
func Data(data []byte) func(*os.File) error {
	return func(f *os.File) error {
		_, err := f.Write(data)
		return err
	}
}

// SyncDir makes new, renamed and removed entries of a folder durable.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // it cannot sync folders; NTFS logs the change itself
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
