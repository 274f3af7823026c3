package trustless

import (
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// probe is the CID that asks whether there is a trustless gateway.
var probe = cid.MustParse("bafkqaaa")

func identityHash(t testing.TB, data []byte) multihash.Multihash {
	t.Helper()
	mh, err := multihash.Sum(data, multihash.IDENTITY, -1)
	if err != nil {
		t.Fatal(err)
	}
	return mh
}
