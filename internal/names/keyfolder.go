package names

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cairn-ipfs/cairn/internal/atomicfile"
)

// A keyFolder stores the files of keys. Each change is atomic, and durable when
// it returns. For a missing file, read fails with fs.ErrNotExist.
type keyFolder interface {
	list() ([]string, error)
	read(file string) ([]byte, error)
	write(file string, data []byte) error
	rename(from, to string) error
	remove(file string) error
}

var (
	_ keyFolder = diskFolder("")
	_ keyFolder = (*memoryFolder)(nil)
)

// A diskFolder is a folder on disk that only its owner can read.
type diskFolder string

func openDiskFolder(dir string) (diskFolder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return "", err
	}
	// A temporary file from before a crash may contain half a key.
	d := diskFolder(dir)
	files, err := d.list()
	for _, file := range files {
		if strings.HasPrefix(file, tempPrefix) {
			err = errors.Join(err, os.Remove(d.path(file)))
		}
	}
	return d, err
}

func (d diskFolder) path(file string) string { return filepath.Join(string(d), file) }

func (d diskFolder) list() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	var files []string
	for _, entry := range entries {
		files = append(files, entry.Name())
	}
	return files, err
}

func (d diskFolder) read(file string) ([]byte, error) {
	f, err := os.Open(d.path(file))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 2*maxKeyData+1))
}

func (d diskFolder) write(file string, data []byte) error {
	if err := atomicfile.Write(d.path(file), tempPrefix+"*", 0o600, atomicfile.Data(data)); err != nil {
		return err
	}
	return d.sync()
}

func (d diskFolder) rename(from, to string) error {
	if err := os.Rename(d.path(from), d.path(to)); err != nil {
		return err
	}
	return d.sync()
}

func (d diskFolder) remove(file string) error {
	if err := os.Remove(d.path(file)); err != nil {
		return err
	}
	return d.sync()
}

// sync makes changes of the folder's entries durable.
func (d diskFolder) sync() error { return atomicfile.SyncDir(string(d)) }

// A memoryFolder is a keyFolder in memory.
type memoryFolder struct {
	mu    sync.Mutex // guards the following field
	files map[string][]byte
}

func (m *memoryFolder) list() ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var files []string
	for file := range m.files {
		files = append(files, file)
	}
	return files, nil
}

func (m *memoryFolder) read(file string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, found := m.files[file]
	if !found {
		return nil, fmt.Errorf("read %s: %w", file, fs.ErrNotExist)
	}
	return bytes.Clone(data), nil
}

func (m *memoryFolder) write(file string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files == nil {
		m.files = make(map[string][]byte)
	}
	m.files[file] = bytes.Clone(data)
	return nil
}

func (m *memoryFolder) rename(from, to string) error {
	data, err := m.read(from)
	if err == nil {
		err = m.write(to, data)
	}
	if err == nil {
		err = m.remove(from)
	}
	return err
}

func (m *memoryFolder) remove(file string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, file)
	return nil
}
