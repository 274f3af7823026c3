package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// What a repository's folder holds.
const (
	formatFile = "format" // formatLine
	lockFile   = "lock"   // held while the repository is open
	ownerFile  = "owner"  // the process that holds it, as JSON
	indexDir   = "index"  // Pebble
	packsDir   = "packs"

	// formatLine is the format that this version writes, and the only one it
	// reads.
	formatLine = "cairn repository 1\n"
)

// A repository is a folder that this process has locked.
type repository struct {
	fs   vfs.FS
	dir  string
	lock io.Closer
}

// owner is the content of the owner file.
type owner struct {
	Program string    `json:"program"`
	PID     int       `json:"pid"`
	Host    string    `json:"host"`
	Since   time.Time `json:"since"`
}

// openRepository locks the repository at dir, or makes it, and checks its format.
func openRepository(fs vfs.FS, dir, program string) (_ *repository, err error) {
	if err := makeDir(fs, dir); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	if fs == vfs.Default {
		// Within this process the lock goes by the path's name, and the process
		// may change its working directory.
		if dir, err = filepath.Abs(dir); err == nil {
			dir, err = filepath.EvalSymlinks(dir)
		}
		if err != nil {
			return nil, fmt.Errorf("find folder: %w", err)
		}
	}
	r := &repository{fs: fs, dir: dir}
	if r.lock, err = fs.Lock(r.path(lockFile)); err != nil {
		// If the file can't be made, no other process has it.
		if errors.As(err, new(*os.PathError)) && !errors.Is(err, syscall.EAGAIN) {
			return nil, fmt.Errorf("lock: %w", err)
		}
		return nil, fmt.Errorf("%w%s", ErrLocked, r.ownedBy())
	}
	defer func() {
		if err != nil {
			r.lock.Close()
		}
	}()
	if err := r.checkFormat(); err != nil {
		return nil, err
	}
	if program == "" {
		program = filepath.Base(os.Args[0])
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	text, err := json.Marshal(owner{Program: program, PID: os.Getpid(), Host: host, Since: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return nil, err
	}
	// The owner file only explains ErrLocked: no need to sync it.
	if err := r.write(ownerFile, append(text, '\n'), false); err != nil {
		return nil, err
	}
	return r, nil
}

// Close unlocks the repository.
func (r *repository) Close() error {
	r.fs.Remove(r.path(ownerFile))
	return r.lock.Close()
}

func (r *repository) path(name string) string { return r.fs.PathJoin(r.dir, name) }

// ownedBy says which process has the repository open, as far as that is known.
func (r *repository) ownedBy() string {
	text, err := r.read(ownerFile)
	var o owner
	if err != nil || json.Unmarshal([]byte(text), &o) != nil || o.PID == 0 {
		return " by another process"
	}
	return fmt.Sprintf(" by %s, process %d on %s, since %s", o.Program, o.PID, o.Host, o.Since.Format(time.RFC3339))
}

// checkFormat reads the format file, or writes it into a new repository.
func (r *repository) checkFormat() error {
	line, err := r.read(formatFile)
	switch {
	case errors.Is(err, os.ErrNotExist):
		names, err := r.fs.List(r.dir)
		if err != nil {
			return fmt.Errorf("list folder: %w", err)
		}
		for _, name := range names {
			if name == indexDir || name == packsDir {
				return fmt.Errorf("%w: there is a folder %q, but no file %q with its format", ErrFormat, name, formatFile)
			}
		}
		return r.write(formatFile, []byte(formatLine), true)
	case err != nil:
		return fmt.Errorf("read format: %w", err)
	case line != formatLine:
		return fmt.Errorf("%w %.80q: this version reads %q; use the version that wrote it", ErrFormat, strings.TrimSpace(line), strings.TrimSpace(formatLine))
	}
	return nil
}

// maxSmallFile bounds the bytes read of the format and owner files.
const maxSmallFile = 4 << 10

func (r *repository) read(name string) (string, error) {
	f, err := r.fs.Open(r.path(name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSmallFile))
	return string(text), err
}

// write writes a small file whole or not at all.
func (r *repository) write(name string, text []byte, durable bool) error {
	tmp := r.path(name + ".new")
	f, err := r.fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(text)
	if err == nil && durable {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = r.fs.Rename(tmp, r.path(name))
	}
	if err == nil && durable {
		err = syncDir(r.fs, r.dir)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// makeDir makes a folder and those above it, durably.
func makeDir(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(dir); err == nil {
		return nil
	}
	parent := fs.PathDir(dir)
	if parent != dir {
		if err := makeDir(fs, parent); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return syncDir(fs, parent)
}

// syncDir makes the entries of a folder durable.
func syncDir(fs vfs.FS, dir string) error {
	f, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
