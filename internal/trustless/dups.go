package trustless

import (
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/ipld"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
)

// everyChild follows each link as often as it occurs in a block, for dups=y;
// allChildren follows it once. For codecs other than dag-pb and dag-cbor, whose
// blocks hardly repeat a link, both do the same.
func everyChild(b block.Block, at child) []child {
	var children []child
	switch b.CID().Type() {
	case block.DagPB:
		n, err := unixfs.DecodeNode(b.Data())
		if err != nil {
			return allChildren(b, at)
		}
		for _, l := range n.Links {
			children = append(children, child{cid: l.CID})
		}
	case block.DagCBOR:
		links, err := ipld.CBORLinks(b.Data())
		if err != nil {
			return allChildren(b, at)
		}
		for _, l := range links {
			children = append(children, child{cid: l})
		}
	default:
		return allChildren(b, at)
	}
	return children
}
