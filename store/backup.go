package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cairn-ipfs/cairn/internal/pack"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Backup makes a copy of the repository, as it is at one moment, in the folder
// dir, which must not exist yet. The store can be used meanwhile. Sealed packs
// are hard-linked if possible, so that a backup on the same disk takes little
// space and time.
func (s *Store) Backup(ctx context.Context, dir string) error {
	s.evicting.Lock()
	defer s.evicting.Unlock()
	if err := s.backup(ctx, dir); err != nil {
		return fmt.Errorf("store: backup to %s: %w", dir, err)
	}
	return nil
}

func (s *Store) backup(ctx context.Context, dir string) (err error) {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	if _, err := s.fs.Stat(dir); err == nil {
		return os.ErrExist
	}
	defer func() {
		if err != nil {
			s.fs.RemoveAll(dir)
		}
	}()
	if err := makeDir(s.fs, s.fs.PathJoin(dir, packsDir)); err != nil {
		return err
	}
	release := s.packs.Hold()
	defer release()
	var packs []packInfo
	var indexErr error // of the backup's disk, not of the store's
	err = s.do(&op{durable: true, frees: true, apply: func(c *committer) error {
		if err := c.publish(); err != nil {
			return err
		}
		if err := c.flush(true); err != nil {
			return err
		}
		for _, info := range c.infos {
			packs = append(packs, *info)
		}
		indexErr = c.s.index.db.Checkpoint(s.fs.PathJoin(dir, indexDir), pebble.WithFlushedWAL())
		return nil
	}})
	if err = errors.Join(err, indexErr); err != nil {
		return err
	}
	for _, v := range packs {
		if err := s.copyPack(ctx, v, s.fs.PathJoin(dir, packsDir, v.id.Name())); err != nil {
			return err
		}
	}
	r := &repository{fs: s.fs, dir: dir}
	if err := r.write(formatFile, []byte(formatLine), true); err != nil {
		return err
	}
	return syncDir(s.fs, s.fs.PathJoin(dir, packsDir))
}

// copyPack copies a pack up to its mark. An open pack must not be linked: two
// stores would write into the same file.
func (s *Store) copyPack(ctx context.Context, v packInfo, name string) error {
	length := v.end
	if v.state == packSealed {
		if s.fs.Link(s.packs.Path(v.id), name) == nil {
			return nil
		}
		size, err := s.packs.Size(v.id)
		if err != nil {
			return err
		}
		length = size
	}
	to, err := s.fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, io.NewSectionReader(readerAt{ctx, s.packs, v.id}, 0, length))
	if err == nil {
		err = to.Sync()
	}
	if cerr := to.Close(); err == nil {
		err = cerr
	}
	return err
}

// readerAt reads a pack as an io.ReaderAt.
type readerAt struct {
	ctx  context.Context
	dir  *pack.Dir
	pack pack.ID
}

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if err := r.dir.ReadAt(r.pack, p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}
