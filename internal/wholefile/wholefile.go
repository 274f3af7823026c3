// Package wholefile writes files that are there whole or not at all: whoever
// reads one while it is written, or after a crash, finds what was there before or
// all of what is new. Files of keys, the node's identity, and what the command
// line writes out are written by it.
package wholefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Write makes the file at path, or replaces it: what write writes goes into a new
// file beside it, which is synced and renamed. The pattern is that file's name, as
// for os.CreateTemp; after a crash it may be left. Until SyncDir, a power cut may
// bring back what was at path before.
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

// Data writes data, for Write.
func Data(data []byte) func(*os.File) error {
	return func(f *os.File) error {
		_, err := f.Write(data)
		return err
	}
}

// SyncDir makes what happened to the entries of a folder durable.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // which can't sync folders, and has logged the change
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
