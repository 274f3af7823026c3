package cairn

import (
	"context"
	"iter"

	"github.com/cairn-ipfs/cairn/internal/names"
	"github.com/cairn-ipfs/cairn/internal/routing"
	"github.com/cairn-ipfs/cairn/internal/swarm"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/libp2p/go-libp2p/core/peer"
)

// addressSpace is the space of the store that holds the address book.
const addressSpace = "addresses"

// An addressBook keeps the swarm's addresses in a space, by peer.
type addressBook struct{ store *store.Store }

var _ swarm.AddressStore = addressBook{}

func (b addressBook) LoadAddresses(ctx context.Context) iter.Seq2[swarm.AddressRecord, error] {
	return func(yield func(swarm.AddressRecord, error) bool) {
		for item, err := range b.store.Space(addressSpace).All(ctx, nil) {
			if !yield(swarm.AddressRecord{Peer: peer.ID(item.Key), Data: item.Value}, err) {
				return
			}
		}
	}
}

func (b addressBook) SaveAddresses(ctx context.Context, records []swarm.AddressRecord) error {
	set := b.store.Batch()
	for _, r := range records {
		if r.Data == nil {
			set.Unset(addressSpace, []byte(r.Peer))
		} else {
			set.Set(addressSpace, []byte(r.Peer), r.Data)
		}
	}
	return set.Commit(ctx)
}

// routingSpace is the space of the store that holds the router's state.
const routingSpace = "routing"

// routingRows keeps the router's state in a space.
type routingRows struct{ store *store.Store }

var _ routing.Datastore = routingRows{}

func (r routingRows) Get(ctx context.Context, key []byte) ([]byte, bool, error) {
	return r.store.Space(routingSpace).Get(ctx, key)
}

func (r routingRows) Set(ctx context.Context, changes []routing.Change) error {
	set := r.store.Batch()
	for _, c := range changes {
		if c.Value == nil {
			set.Unset(routingSpace, c.Key)
		} else {
			set.Set(routingSpace, c.Key, c.Value)
		}
	}
	return set.Commit(ctx)
}

func (r routingRows) All(ctx context.Context, prefix []byte) iter.Seq2[routing.Change, error] {
	return func(yield func(routing.Change, error) bool) {
		for item, err := range r.store.Space(routingSpace).All(ctx, prefix) {
			if !yield(routing.Change(item), err) {
				return
			}
		}
	}
}

// nameSpace is the space of the store that holds what is remembered of names,
// and keptNameSpace what a rebuild must restore of it.
const (
	nameSpace     = "names"
	keptNameSpace = "names/kept"
)

// A nameState keeps that, by the name's routing key.
type nameState struct{ store *store.Store }

var _ names.State = nameState{}

func spaceOf(area names.Area) string {
	if area == names.AreaKept {
		return keptNameSpace
	}
	return nameSpace
}

func (s nameState) Set(ctx context.Context, changes ...names.Change) error {
	set := s.store.Batch()
	for _, c := range changes {
		if c.Value == nil {
			set.Unset(spaceOf(c.Area), c.Key)
		} else {
			set.Set(spaceOf(c.Area), c.Key, c.Value)
		}
	}
	return set.Commit(ctx)
}

func (s nameState) All(ctx context.Context, area names.Area) iter.Seq2[names.Item, error] {
	return func(yield func(names.Item, error) bool) {
		for item, err := range s.store.Space(spaceOf(area)).All(ctx, nil) {
			if !yield(names.Item{Key: item.Key, Value: item.Value}, err) {
				return
			}
		}
	}
}
