package trustless

import (
	"errors"
	"fmt"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/ipfs/go-cid"
)

const (
	// unwantedFree and unwantedShare are how much a source may send that
	// nobody asked for: 4 MiB, or one byte in a hundred of what was accepted.
	unwantedFree  = 4 << 20
	unwantedShare = 100
)

// ErrUnwanted: a source sent too much that nobody asked for.
var ErrUnwanted = errors.New("too much that was not asked for")

// An Acceptor judges blocks of a DAG: it accepts the root, and what accepted
// blocks link to, each once.
type Acceptor struct {
	wanted   map[string]bool // keys of blocks that may come; false once they did
	missing  int
	most     int
	skip     func(c cid.Cid) bool
	accepted int64 // bytes
	unwanted int64 // bytes
}

// NewAcceptor accepts the DAG of root, but for what skip says, which may be
// nil. It holds at most most CIDs, each for some 150 bytes; 0 means
// dag.DefaultMaxBlocks.
func NewAcceptor(root cid.Cid, skip func(c cid.Cid) bool, most int) *Acceptor {
	if most == 0 {
		most = dag.DefaultMaxBlocks
	}
	return &Acceptor{wanted: map[string]bool{canonical(root): true}, missing: 1, most: most, skip: skip}
}

// Accept tells whether b is wanted, and then makes what it links to wanted. It
// fails with ErrUnwanted once too much wasn't, and with block.ErrTooLarge for
// a DAG too large to judge. A block that was accepted before isn't wanted
// again, and counts as what it is: a burden.
func (a *Acceptor) Accept(b block.Block) (bool, error) {
	k := canonical(b.CID())
	if !a.wanted[k] {
		a.unwanted += int64(b.Size()) + int64(len(k))
		if a.unwanted > max(unwantedFree, a.accepted/unwantedShare) {
			return false, fmt.Errorf("trustless: %d bytes: %w", a.unwanted, ErrUnwanted)
		}
		return false, nil
	}
	a.wanted[k] = false
	a.missing--
	a.accepted += int64(b.Size())
	links, err := linksOf(b)
	if err != nil {
		return true, err
	}
	for _, link := range links {
		k := canonical(link)
		if _, known := a.wanted[k]; known || a.skip != nil && a.skip(link) {
			continue
		}
		if len(a.wanted) >= a.most {
			return true, fmt.Errorf("trustless: a DAG of over %d blocks: %w", a.most, block.ErrTooLarge)
		}
		a.wanted[k] = true
		a.missing++
	}
	return true, nil
}

// Missing is how many blocks are wanted that didn't come yet: 0 once the DAG
// is whole.
func (a *Acceptor) Missing() int { return a.missing }
