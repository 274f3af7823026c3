package cairn

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/cairn-ipfs/cairn/internal/crashfs"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

func open(t *testing.T, c Config) *Node {
	t.Helper()
	n, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func encode(t *testing.T, v any) block.Block {
	t.Helper()
	b, err := Encode(v)
	ok(t, err)
	return b
}

// A link is a block of a chain, with links to the one before and to some earlier
// ones.
type link struct {
	Number int       `ipld:"number"`
	Prev   *cid.Cid  `ipld:"prev"`
	Loops  []cid.Cid `ipld:"loops"`
}

func TestTwoNodes(t *testing.T) {
	ctx := t.Context()
	a, b := open(t, Config{}), open(t, Config{Dir: t.TempDir()})
	k := encode(t, "only in a")
	ok(t, a.Put(ctx, k))
	if _, err := b.Get(ctx, k.CID()); !errors.Is(err, block.ErrNotFound) {
		t.Errorf("get from the other node: got %v, want ErrNotFound", err)
	}
	got, err := a.Get(ctx, k.CID())
	ok(t, err)
	if v, err := Decode[string](got); err != nil || v != "only in a" {
		t.Errorf("got %q, %v", v, err)
	}
}

func TestCAR(t *testing.T) {
	ctx := t.Context()
	n := open(t, Config{})
	leaf := encode(t, "leaf")
	root := encode(t, map[string]any{"a": leaf.CID(), "b": []cid.Cid{leaf.CID()}})
	batch := n.Batch()
	ok(t, batch.Put(ctx, leaf, root))
	batch.Alias("root", root.CID(), store.AliasOptions{})
	ok(t, batch.Commit(ctx))

	var v1 bytes.Buffer
	ok(t, n.ExportCAR(ctx, &v1, root.CID()))
	f, err := os.Create(filepath.Join(t.TempDir(), "x.car"))
	ok(t, err)
	defer f.Close()
	ok(t, ExportCARv2(ctx, n, f, root.CID()))
	v2, err := os.ReadFile(f.Name())
	ok(t, err)
	for name, data := range map[string][]byte{"v1": v1.Bytes(), "v2": v2} {
		m := open(t, Config{})
		roots, err := m.ImportCAR(ctx, bytes.NewReader(data))
		ok(t, err)
		if len(roots) != 1 || roots[0] != root.CID() {
			t.Fatalf("%s: got roots %v, want %s", name, roots, root.CID())
		}
		if c, err := m.Resolve(ctx, PinName(root.CID())); err != nil || c != root.CID() {
			t.Errorf("%s: resolve: got %s, %v", name, c, err)
		}
		_, err = m.Store().Evict(ctx, store.EvictOptions{})
		ok(t, err)
		for _, want := range []block.Block{leaf, root} {
			got, err := m.Get(ctx, want.CID())
			if err != nil || !bytes.Equal(got.Data(), want.Data()) {
				t.Errorf("%s: get %s: %v", name, want.CID(), err)
			}
		}
		// A CAR cut anywhere within its data is an error, and nothing is kept.
		end := len(data)
		if name == "v2" {
			end = bytes.LastIndex(data, leaf.Data()) // the index behind may be cut
		}
		cut := open(t, Config{})
		if _, err := cut.ImportCAR(ctx, bytes.NewReader(data[:end-1])); err == nil {
			t.Errorf("%s: cut short: got no error", name)
		}
		if _, err := cut.Resolve(ctx, PinName(root.CID())); !errors.Is(err, store.ErrNoAlias) {
			t.Errorf("%s: cut short: got an alias, %v", name, err)
		}
	}
	// A missing block is an error.
	ok(t, n.RemoveAlias(ctx, "root"))
	ok(t, n.Store().Delete(ctx, leaf.CID()))
	if err := n.ExportCAR(ctx, &v1, root.CID()); !errors.Is(err, block.ErrNotFound) {
		t.Errorf("export without a leaf: got %v, want ErrNotFound", err)
	}
}

// onDisk returns options for a store on that disk, with small packs.
func onDisk(disk *crashfs.FS) store.Options {
	return store.Internal(access.Key{}).OnFS(disk, store.Options{PackSize: 64 << 10})
}

// TestChain extends a chain as ipfs-embed does: the alias TMP_ROOT keeps a new head
// until the alias ROOT moves to it. After a crash at any moment one of the two has a
// head whose chain is whole.
func TestChain(t *testing.T) {
	ctx := context.Background()
	const length = 24
	var blocks []block.Block
	for i := range length {
		l := link{Number: i}
		if i > 0 {
			prev := blocks[i-1].CID()
			l.Prev = &prev
		}
		for j := i / 2; j > 0; j /= 2 {
			l.Loops = append(l.Loops, blocks[j].CID())
		}
		blocks = append(blocks, encode(t, l))
	}
	grow := func(n *Node, from int, reached func(int)) error {
		for i := from; i < length; i++ {
			b := n.Batch()
			err := b.Put(ctx, blocks[i])
			b.Alias("TMP_ROOT", blocks[i].CID(), store.AliasOptions{})
			if err == nil {
				err = b.Commit(ctx)
			}
			if err == nil {
				err = n.SetAlias(ctx, "ROOT", blocks[i].CID())
			}
			if err != nil {
				return err
			}
			reached(i)
		}
		return nil
	}
	check := func(t *testing.T, n *Node, acknowledged int) (head int) {
		head = -1
		for _, name := range []string{"ROOT", "TMP_ROOT"} {
			c, err := n.Resolve(ctx, name)
			if errors.Is(err, store.ErrNoAlias) {
				continue
			}
			ok(t, err)
			count := 0
			for at := &c; at != nil; count++ {
				b, err := n.Get(ctx, *at)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				l, err := Decode[link](b)
				ok(t, err)
				if count == 0 {
					head = max(head, l.Number)
				}
				at = l.Prev
			}
		}
		if head < acknowledged {
			t.Fatalf("head: got %d, want at least %d, which was acknowledged", head, acknowledged)
		}
		return head
	}

	for after := 1; ; after++ {
		fs := crashfs.New(uint64(after))
		fs.Hang()
		config := Config{Dir: "repo", Store: onDisk(fs)}
		n, err := Open(ctx, config)
		ok(t, err)
		acknowledged := make(chan int, length)
		fs.CrashAfter(after * 7)
		finished := make(chan error, 1)
		go func() { finished <- grow(n, 0, func(i int) { acknowledged <- i }) }()
		select {
		case err := <-finished:
			ok(t, err)
			if fs.CrashAfter(0); fs.Crashed() {
				break
			}
			check(t, n, length-1)
			ok(t, n.Close())
			if after < 10 {
				t.Fatalf("it was done after %d crashes; want some more", after)
			}
			return
		case <-fs.Dead():
		}
		last := -1
		for len(acknowledged) > 0 {
			last = <-acknowledged
		}
		config.Store = onDisk(fs.Crash())
		n, err = Open(ctx, config)
		ok(t, err)
		head := check(t, n, last)
		_, err = n.Store().Evict(ctx, store.EvictOptions{})
		ok(t, err)
		// The chain can be extended again.
		ok(t, grow(n, head+1, func(int) {}))
		check(t, n, length-1)
		rep, err := n.Store().Verify(ctx, store.VerifyOptions{Data: true})
		ok(t, err)
		if !rep.OK() {
			t.Fatalf("verify: %+v", rep)
		}
		ok(t, n.Close())
	}
}
