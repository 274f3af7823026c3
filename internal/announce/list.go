package announce

import (
	"context"
	"iter"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// List lists all that is to be announced, some of it more than once. It ends after
// an error.
func (a *Announcer) List(ctx context.Context) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		for _, list := range []iter.Seq2[cid.Cid, error]{a.kept(ctx), a.listed(ctx)} {
			for c, err := range list {
				if !yield(c, err) || err != nil {
					return
				}
			}
		}
	}
}

// listed lists the node's own list, or what the strategy finds.
func (a *Announcer) listed(ctx context.Context) iter.Seq2[cid.Cid, error] {
	switch {
	case a.own != nil:
		return a.own(ctx)
	case a.strategy == Entities:
		return a.entities(ctx)
	case a.strategy == Roots:
		return a.roots(ctx)
	case a.strategy == All:
		return a.store.Blocks(ctx)
	}
	return all(nil)
}

// all lists the CIDs of a slice.
func all(cids []cid.Cid) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		for _, c := range cids {
			if !yield(c, nil) {
				return
			}
		}
	}
}

// kept lists what Keep recorded.
func (a *Announcer) kept(ctx context.Context) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		for item, err := range a.store.Space(space).All(ctx, []byte(keptKey)) {
			if err != nil {
				yield(cid.Undef, err)
				return
			}
			if !yield(cid.NewCidV1(cid.Raw, multihash.Multihash(item.Key[len(keptKey):])), nil) {
				return
			}
		}
	}
}

// roots lists the roots of aliases.
func (a *Announcer) roots(ctx context.Context) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		for alias, err := range a.store.Aliases(ctx, "") {
			if err == nil && a.skips(alias.Name) {
				continue
			}
			if !yield(alias.Root, err) {
				return
			}
		}
	}
}

// entities lists the entities below all aliases.
func (a *Announcer) entities(ctx context.Context) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		var roots []cid.Cid
		for root, err := range a.roots(ctx) {
			if err != nil {
				yield(cid.Undef, err)
				return
			}
			roots = append(roots, root)
		}
		for c, err := range a.entitiesBelow(ctx, roots) {
			if !yield(c, err) {
				return
			}
		}
	}
}
