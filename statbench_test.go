package cairn

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/cairn-ipfs/cairn/store"
)

// BenchmarkAddAgain adds the source tree of Go again after 1 % of its files
// have changed, beside its yardstick: a walk that asks for the stat of every
// file.
func BenchmarkAddAgain(b *testing.B) {
	root := filepath.Join(b.TempDir(), "src")
	if err := os.CopyFS(root, os.DirFS(goSource(b))); err != nil {
		b.Fatal(err)
	}
	ctx, s := b.Context(), statStore(b)
	add := func() unixfs.Result {
		batch := s.store.Batch()
		defer batch.Discard()
		o := unixfs.Options{}
		cache, err := s.open(ctx, batch, root, o.Manner())
		if err != nil {
			b.Fatal(err)
		}
		o.Remembers = cache
		r, err := unixfs.ImportPath(ctx, batch.Borrow(), root, o)
		if err == nil {
			err = cache.Finish(ctx, r.CID)
		}
		if err == nil {
			batch.Alias("src", r.CID, store.AliasOptions{})
			err = batch.Commit(ctx)
		}
		if err = errors.Join(err, cache.Close(ctx)); err != nil {
			b.Fatal(err)
		}
		return r
	}
	var files []string
	stat := func() {
		files = files[:0]
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			files = append(files, path)
			_, err = d.Info()
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	stat()
	// Until no file is too fresh to be trusted.
	for add().Hashed > 0 {
	}
	b.Run("stat walk", func(b *testing.B) {
		for b.Loop() {
			stat()
		}
	})
	b.Run("nothing changed", func(b *testing.B) {
		for b.Loop() {
			add()
		}
	})
	b.Run("1 % changed", func(b *testing.B) {
		hashed := uint64(0)
		for b.Loop() {
			b.StopTimer()
			for i := 0; i < len(files); i += 100 {
				if err := os.WriteFile(files[i], fmt.Appendf(nil, "changed %d", b.N+i), 0o644); err != nil {
					b.Fatal(err)
				}
			}
			b.StartTimer()
			hashed += add().Hashed
		}
		b.ReportMetric(float64(hashed)/float64(b.N), "hashed/op")
	})
}

// goSource is the source tree of the Go that runs the tests.
func goSource(b *testing.B) string {
	b.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		b.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "src")
}
