package control

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/store"
)

// TestVerifyFindsDamage expects the report to come through whole.
func TestVerifyFindsDamage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	n := newNode(t, cairn.Config{Dir: dir, Offline: true})
	text := []byte("bytes that are easily found again")
	b := newBlock(t, block.Raw, text)
	if err := errors.Join(n.Put(t.Context(), b), n.Store().Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	packs, err := filepath.Glob(filepath.Join(dir, "packs", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, pack := range packs {
		data, err := os.ReadFile(pack)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(data, text); at >= 0 {
			f, err := os.OpenFile(pack, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteAt([]byte{'B'}, int64(at))
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	d := serve(t, n)
	want, err := n.Store().Verify(t.Context(), store.VerifyOptions{Data: true})
	if err != nil || want.OK() {
		t.Fatalf("got %+v, %v, want damage", want, err)
	}
	for e, err := range Verify.Do(t.Context(), d.tcp, store.VerifyOptions{Data: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Report; got != nil && (!slices.Equal(got.Damaged, want.Damaged) || got.DamagedBlocks != want.DamagedBlocks || got.Blocks != want.Blocks) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}
