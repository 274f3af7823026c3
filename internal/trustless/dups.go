package trustless

import (
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
)

// everyChild follows every link as often as it stands in a block, for dups=y,
// where allChildren follows it once. (Of codecs other than dag-pb and
// dag-cbor, in which doubles within one block aren't heard of, it does so
// too.)
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
		// A list or map is a head with its items behind it, so a look at all
		// heads in turn finds all links.
		for r := (cborReader{b.Data()}); len(r.p) > 0; {
			major, arg, err := r.head()
			switch {
			case err != nil:
			case major == cborTag && arg == linkTag:
				l, errLink := r.link()
				children, err = append(children, child{cid: l}), errLink
			case major == cborBytes || major == cborText:
				_, err = r.take(arg)
			}
			if err != nil {
				return allChildren(b, at)
			}
		}
	default:
		return allChildren(b, at)
	}
	return children
}
