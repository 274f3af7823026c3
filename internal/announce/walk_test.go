package announce

import (
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// TestInvalidLinks lists all entities of DAGs with links that can name no block.
// Anyone can make such a DAG.
func TestInvalidLinks(t *testing.T) {
	ctx := t.Context()
	s := newStore(t)
	invalid, err := multihash.Sum([]byte("x"), multihash.MD5, -1)
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[cid.Cid]bool)
	for _, codec := range []uint64{cid.Raw, cid.DagCBOR} {
		good := links(t)
		root := links(t, cid.NewCidV1(codec, invalid), good.CID())
		put(t, s, good, root)
		alias(t, s, root.CID().String(), root.CID())
		want[good.CID()], want[root.CID()] = true, true
	}
	for c, err := range newAnnouncer(t, Config{Store: s}).List(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		delete(want, c)
	}
	if len(want) > 0 {
		t.Errorf("got all but %v", want)
	}
}

// links returns a dag-cbor block: the list of these links.
func links(t *testing.T, to ...cid.Cid) block.Block {
	t.Helper()
	data := []byte{0x80 | byte(len(to))}
	for _, c := range to {
		raw := append([]byte{0}, c.Bytes()...)
		data = append(data, 0xd8, 0x2a, 0x58, byte(len(raw)))
		data = append(data, raw...)
	}
	b, err := block.New(block.DagCBOR, data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), "", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newAnnouncer(t *testing.T, c Config) *Announcer {
	t.Helper()
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func put(t *testing.T, s *store.Store, blocks ...block.Block) {
	t.Helper()
	if err := s.Put(t.Context(), blocks...); err != nil {
		t.Fatal(err)
	}
}

func alias(t *testing.T, s *store.Store, name string, root cid.Cid) {
	t.Helper()
	if err := s.SetAlias(t.Context(), name, root, store.AliasOptions{}); err != nil {
		t.Fatal(err)
	}
}
