package cairn

import (
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// TestEntitiesOfOddDAGs lists what is below the roots, also where one links to
// what can name no block here: anybody may have made such a DAG.
func TestEntitiesOfOddDAGs(t *testing.T) {
	ctx := t.Context()
	n, err := Open(ctx, Config{Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	broken, err := multihash.Sum([]byte("x"), multihash.MD5, -1)
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[cid.Cid]bool)
	for _, codec := range []uint64{cid.Raw, cid.DagCBOR} {
		good, err := Encode([]any{"beside", codec})
		if err != nil {
			t.Fatal(err)
		}
		root, err := Encode([]any{cid.NewCidV1(codec, broken), good.CID()})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Put(ctx, good, root); err != nil {
			t.Fatal(err)
		}
		if err := n.SetAlias(ctx, root.CID().String(), root.CID()); err != nil {
			t.Fatal(err)
		}
		want[good.CID()], want[root.CID()] = true, true
	}
	for c, err := range n.entities(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		delete(want, c)
	}
	if len(want) > 0 {
		t.Errorf("got all but %v", want)
	}
}
